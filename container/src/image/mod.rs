//! Images: root file systems that came from outside, in the words that the runner, the server and the unpacker share.
//!
//! Whatever reads an archive is in a program of its own, `shoal-unpack` (`unpack/`), which the runner executes behind walls: this module, and
//! with it the runner, parses nothing but the JSON that the unpacker prints.
//!
//! On disk: `IMAGES/DIGEST/tree` is the root file system, owned by the ids that containers have; `IMAGES/DIGEST/image.json` is an
//! [`Unpacked`]. Both appear at once, by a rename, when they are whole and on the disk.

mod confine;
mod store;
pub(crate) mod work;

use crate::protocol::User;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Ids that the files of an image may have: those of one container but for the last, which is the stub's.
pub const IDS: u32 = 65535;
/// Ids set apart for images, the first of the policy's range.
pub const IDS_RESERVED: u32 = 65536;
/// The tree's name in an image's directory.
pub const TREE: &str = "tree";
/// The name of an image's [`Unpacked`] in its directory.
pub const DESCRIPTION: &str = "image.json";
/// Of what the unpacker prints, no more is read.
pub const RESULT_BYTES_MAX: usize = 512 << 10;
/// Bytes of an image's environment, command and the like: they go into each task's record.
pub const CONFIG_BYTES_MAX: usize = 128 << 10;

/// What an image may cost at most. The runner allows no more than [`Caps::default`], whatever it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Caps {
    /// Bytes of all files together, those that a later layer removes again included.
    pub bytes_max: u64,
    /// Files, directories and links, counted in the same way.
    pub inodes_max: u64,
    /// Bytes of a name with its directories.
    pub path_bytes_max: u64,
    /// Directories within each other.
    pub depth_max: u64,
    /// Layers.
    pub layers_max: u64,
}

impl Default for Caps {
    fn default() -> Caps {
        // Below the paths that the kernel takes (4095 bytes), deeper than what package managers nest, and as many layers as other tools build.
        Caps {
            bytes_max: 16 << 30,
            inodes_max: 1_000_000,
            path_bytes_max: 2048,
            depth_max: 128,
            layers_max: 128,
        }
    }
}

impl Caps {
    /// The stricter of both, cap by cap.
    pub fn at_most(self, other: Caps) -> Caps {
        Caps {
            bytes_max: self.bytes_max.min(other.bytes_max),
            inodes_max: self.inodes_max.min(other.inodes_max),
            path_bytes_max: self.path_bytes_max.min(other.path_bytes_max),
            depth_max: self.depth_max.min(other.depth_max),
            layers_max: self.layers_max.min(other.layers_max),
        }
    }

    /// Bytes of the archive itself, unpacked: what the files may have, and a generous part for each one's header. Bounds what a small archive
    /// can make us read.
    pub fn stream_bytes_max(&self) -> u64 {
        const HEADER_BYTES: u64 = 4096;
        self.bytes_max.saturating_add(self.inodes_max.saturating_mul(HEADER_BYTES)).saturating_add(1 << 20)
    }
}

/// What an archive was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A tar of a root file system; its digest is that of the file.
    Tar,
    /// An OCI image layout; its digest is that of the manifest.
    Oci,
    /// An archive of `docker save` before version 25; its digest is that of the configuration (the image's id there).
    Docker,
}

/// How an image wants to be run. A plain tar has the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// First words of the command.
    pub entrypoint: Vec<String>,
    /// The words behind them when the task gives none.
    pub cmd: Vec<String>,
    /// The user as the image names it, for people; empty where it does not.
    pub user: String,
    /// That user, looked up in the image's own files; `None` where it names none.
    pub ids: Option<User>,
    /// Where the command starts; empty is `/`.
    pub workdir: String,
}

/// An image that was unpacked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpacked {
    /// SHA-256 as 64 hexadecimal digits: of the file, or the manifest.
    pub digest: String,
    /// What the archive was.
    pub format: Format,
    /// How it wants to be run.
    pub config: ImageConfig,
    /// Bytes of its files.
    pub bytes: u64,
    /// Its files, directories and links.
    pub inodes: u64,
    /// Its layers.
    pub layers: u64,
    /// Devices, pipes and sockets that were left out.
    pub skipped: u64,
}

/// What the unpacker prints, and a worker leaves: one line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is unpacked.
    Unpacked(Unpacked),
    /// It is not; why.
    Failed(String),
    /// Something else was done that has no result.
    Done,
}

/// Whether `text` is a digest as directories are named: 64 lower-case hexadecimal digits.
pub fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The tree of an image in the store `images_dir`.
pub fn tree_path(images_dir: &Path, digest: &str) -> PathBuf {
    images_dir.join(digest).join(TREE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_no_path() {
        assert!(is_digest(&"0a".repeat(32)));
        for bad in ["", "..", &"0A".repeat(32), &"0a/".repeat(21), &"0a".repeat(33)] {
            assert!(!is_digest(bad), "{bad}");
        }
    }

    #[test]
    fn nobody_raises_a_cap() {
        let asked = Caps { bytes_max: u64::MAX, inodes_max: 7, ..Caps::default() };
        let caps = asked.at_most(Caps::default());
        assert_eq!((caps.bytes_max, caps.inodes_max), (Caps::default().bytes_max, 7));
    }
}
