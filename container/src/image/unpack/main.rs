//! `shoal-unpack CAPS IDS`: unpacks the archive at standard input into the present directory and prints what came of it as one line of JSON.
//!
//! A program of its own, because what it reads was written by strangers: nothing that parses an archive is linked into the runner. It is executed
//! by the runner in namespaces of its own, and puts up the rest of its walls itself ([`jail`]). What it can reach then is the archive, the tree
//! that it makes, and the pipe that it prints to.

mod archive;
mod blobs;
mod config;
mod decompress;
mod error;
mod jail;
mod layer;
mod meter;
mod name;
mod oci;
mod tree;

use blobs::Blobs;
use decompress::Packing;
use error::UnpackError;
use meter::Meter;
use rustix::fs::{Mode, OFlags};
use shoal_container::image::{Caps, Format, ImageConfig, Outcome, Unpacked};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use tree::Tree;

fn main() -> ExitCode {
    let outcome = match run() {
        Ok(unpacked) => Outcome::Unpacked(unpacked),
        Err(error) => Outcome::Failed(error.to_string()),
    };
    let code = match &outcome {
        Outcome::Unpacked(_) => ExitCode::SUCCESS,
        Outcome::Failed(_) | Outcome::Done => ExitCode::FAILURE,
    };
    let printed = serde_json::to_writer(std::io::stdout(), &outcome).map_err(std::io::Error::from);
    match printed.and_then(|()| std::io::stdout().flush()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run() -> Result<Unpacked, UnpackError> {
    let usage = || UnpackError::Nonsense("usage: shoal-unpack CAPS IDS".to_owned());
    let mut arguments = std::env::args().skip(1);
    let caps = arguments.next().and_then(|text| serde_json::from_str::<Caps>(&text).ok());
    let ids = arguments.next().and_then(|text| text.parse().ok());
    let (caps, ids) = caps.zip(ids).ok_or_else(usage)?;
    let tree = Tree::at(jail::enter(&caps)?, ids);
    let mut meter = Meter::new(caps);
    let mut file = File::from(std::io::stdin().as_fd().try_clone_to_owned().map_err(UnpackError::Read)?);
    let image = match format_of(&mut file, &caps)? {
        Format::Tar => {
            let digest = blobs::sha256(rewound(&mut file)?)?;
            let (_, reader) = decompress::open(rewound(&mut file)?, caps.stream_bytes_max())?;
            layer::root(reader, &tree, &mut meter)?;
            (Format::Tar, oci::Image { digest, config: ImageConfig::default(), layers: 1 })
        }
        format => {
            let blobs = Blobs::list(plain(file, &tree, &caps)?, &caps)?;
            let unpack = if format == Format::Oci { oci::unpack } else { oci::unpack_saved };
            (format, unpack(&blobs, &tree, &mut meter)?)
        }
    };
    let (format, oci::Image { digest, config, layers }) = image;
    let Meter { bytes, inodes, skipped, .. } = meter;
    Ok(Unpacked { digest, format, config, bytes, inodes, layers, skipped })
}

/// Reads all headers once: what marks an image may stand anywhere in the archive.
fn format_of(file: &mut File, caps: &Caps) -> Result<Format, UnpackError> {
    let (_, reader) = decompress::open(rewound(file)?, caps.stream_bytes_max())?;
    let mut found = Vec::new();
    let mut entries = 0;
    archive::each(reader, caps, |entry, _| {
        entries += 1;
        for mark in ["oci-layout", "index.json", "manifest.json"] {
            if entry.name.bytes() == mark.as_bytes() {
                found.push(mark);
            }
        }
        Ok(())
    })?;
    if entries == 0 {
        return Err(UnpackError::Nonsense("the archive is empty".to_owned()));
    }
    Ok(oci::format_of(|name| found.contains(&name)))
}

/// The archive as a plain tar, whose members can be read in any order: a packed one is unpacked into a file without a name.
fn plain(mut file: File, tree: &Tree, caps: &Caps) -> Result<File, UnpackError> {
    let (packing, mut reader) = decompress::open(rewound(&mut file)?, caps.stream_bytes_max())?;
    if packing == Packing::Plain {
        drop(reader);
        return Ok(file);
    }
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    let spool = rustix::fs::openat(tree.top(), ".", flags, Mode::RUSR | Mode::WUSR)
        .map_err(|error| UnpackError::file(b"", "make a temporary file", error))?;
    let mut spool = File::from(spool);
    std::io::copy(&mut reader, &mut spool).map_err(UnpackError::Read)?;
    Ok(spool)
}

fn rewound(file: &mut File) -> Result<&mut File, UnpackError> {
    file.seek(SeekFrom::Start(0)).map_err(UnpackError::Read)?;
    Ok(file)
}
