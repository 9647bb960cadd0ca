//! The files inside of an archive that holds an image: found by name, checked by digest, read where they lie.

use super::archive::{self, Kind};
use super::error::UnpackError;
use super::name::Name;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use shoal_container::image::{Caps, is_digest};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// Files of an image's archive: layers and a few documents.
const FILES_MAX: usize = 10_000;
/// Bytes of a document, as the OCI distribution specification has it for manifests.
const DOCUMENT_BYTES_MAX: u64 = 4 << 20;
const BUFFER_BYTES: usize = 128 << 10;

/// A plain tar file and where its members lie.
pub struct Blobs {
    file: File,
    members: BTreeMap<Vec<u8>, (u64, u64)>,
}

impl Blobs {
    /// Lists the members. Of two with one name the last counts.
    pub fn list(file: File, caps: &Caps) -> Result<Blobs, UnpackError> {
        let mut members = BTreeMap::new();
        let mut reader = file.try_clone().map_err(UnpackError::Read)?;
        reader.seek(SeekFrom::Start(0)).map_err(UnpackError::Read)?;
        archive::each(reader, caps, |entry, _| {
            if entry.kind == Kind::File {
                members.insert(entry.name.bytes().to_vec(), (entry.offset, entry.size));
            }
            super::meter::within("files of the archive", FILES_MAX as u64, members.len() as u64)
        })?;
        Ok(Blobs { file, members })
    }

    /// The bytes of a member.
    pub fn open(&self, name: &Name) -> Result<impl Read + use<>, UnpackError> {
        let Some((offset, size)) = self.members.get(name.bytes()).copied() else {
            return Err(UnpackError::Nonsense(format!(
                "it names {} and does not hold it",
                super::error::shown(name.bytes())
            )));
        };
        let mut file = self.file.try_clone().map_err(UnpackError::Read)?;
        file.seek(SeekFrom::Start(offset)).map_err(UnpackError::Read)?;
        Ok(file.take(size))
    }

    /// A small member, read as JSON; its digest is returned with it.
    pub fn document<T: DeserializeOwned>(&self, name: &Name) -> Result<(T, String), UnpackError> {
        let document = || String::from_utf8_lossy(name.bytes()).into_owned();
        let mut bytes = Vec::new();
        let reader = self.open(name)?;
        reader.take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(UnpackError::Read)?;
        super::meter::within("bytes of a document", DOCUMENT_BYTES_MAX, bytes.len() as u64)?;
        let value = serde_json::from_slice(&bytes)
            .map_err(|source| UnpackError::Document { document: document(), source })?;
        Ok((value, hex(&Sha256::digest(&bytes))))
    }

    /// Checks a member against a digest.
    pub fn check(&self, name: &Name, digest: &str) -> Result<(), UnpackError> {
        must_be(&String::from_utf8_lossy(name.bytes()), digest, &sha256(self.open(name)?)?)
    }
}

/// Where an OCI layout keeps the blob of a digest `sha256:…`; also its hexadecimal digits.
pub fn place(digest: &str, caps: &Caps) -> Result<(Name, String), UnpackError> {
    match digest.strip_prefix("sha256:") {
        Some(digits) if is_digest(digits) => {
            Ok((Name::parse(format!("blobs/sha256/{digits}").as_bytes(), caps)?, digits.to_owned()))
        }
        _ => Err(UnpackError::Nonsense(format!(
            "digests must be sha256:… with 64 hexadecimal digits, one was {}",
            super::error::shown(digest.as_bytes())
        ))),
    }
}

/// Compares digests.
pub fn must_be(what: &str, expected: &str, found: &str) -> Result<(), UnpackError> {
    if expected == found {
        return Ok(());
    }
    let what = super::error::shown(what.as_bytes());
    Err(UnpackError::Digest { what, expected: expected.to_owned(), found: found.to_owned() })
}

/// The digest of all that is read.
pub fn sha256(mut reader: impl Read) -> Result<String, UnpackError> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match reader.read(&mut buffer).map_err(UnpackError::Read)? {
            0 => return Ok(hex(&hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
