//! Images: root file systems that were imported, named in tasks by the digest of their content, so that every attempt of a task has the same.

use crate::spec::{RunAs, Unknown};
use crate::time::WallMs;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// How a digest begins, as the name of a root.
pub const PREFIX: &str = "sha256:";

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// The text is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest is sha256: and 64 lower-case hexadecimal digits")]
pub struct BadDigest;

impl Digest {
    /// Of these bytes.
    pub fn new(bytes: [u8; 32]) -> Digest {
        Digest(bytes)
    }

    /// Its 64 hexadecimal digits alone.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads 64 lower-case hexadecimal digits.
    pub fn from_hex(text: &str) -> Result<Digest, BadDigest> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(BadDigest),
        };
        let pairs = text.as_bytes().chunks_exact(2);
        let rest = pairs.remainder().len();
        let bytes: Vec<u8> =
            pairs.map(|pair| Ok(digit(pair[0])? << 4 | digit(pair[1])?)).collect::<Result<_, _>>()?;
        match (bytes.try_into(), rest) {
            (Ok(bytes), 0) => Ok(Digest(bytes)),
            (Ok(_) | Err(_), _) => Err(BadDigest),
        }
    }

    /// What nodes are ranked by for it ([`crate::rendezvous`]).
    pub fn subject(&self) -> Uuid {
        let mut half = [0; 16];
        half.copy_from_slice(&self.0[..16]);
        Uuid::from_bytes(half)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = BadDigest;
    fn from_str(text: &str) -> Result<Digest, BadDigest> {
        Digest::from_hex(text.strip_prefix(PREFIX).ok_or(BadDigest)?)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Whether the name of a root is an image's digest. No directory has such a name.
pub fn is_image(root: &str) -> bool {
    root.starts_with(PREFIX)
}

/// Under `/image/DIGEST`: what the cluster knows of an image. Persisted: only add fields, with a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageEntry {
    /// What people call it. Of several images with one name, the one whose record changed last has it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The digest of the archive, as nodes keep it and fetch it from each other.
    pub blob: Digest,
    /// Bytes of the archive.
    pub blob_bytes: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Its files, directories and links.
    pub inodes: u64,
    /// What the archive was: `tar`, `oci`, `docker`.
    pub format: String,
    /// When it was imported first, for people.
    pub created: WallMs,
    /// Environment that its tasks get.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The command of a task that gives none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Where it starts.
    pub workdir: String,
    /// Who runs it.
    pub run_as: RunAs,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_has_one_text() {
        let text = format!("sha256:{}", "0f".repeat(32));
        assert_eq!(text.parse::<Digest>().unwrap().to_string(), text);
        for bad in [
            "0f".repeat(32),
            format!("sha256:{}", "0F".repeat(32)),
            format!("sha256:{}", "0f".repeat(31)),
            format!("sha256:{}0", "0f".repeat(32)),
            format!("sha512:{}", "0f".repeat(32)),
            "sha256:".to_owned(),
        ] {
            assert_eq!(bad.parse::<Digest>(), Err(BadDigest), "{bad}");
        }
    }
}
