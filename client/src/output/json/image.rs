//! Images as machines read them.

use serde::Serialize;
use shoal_proto::v1;
use std::collections::BTreeMap;

/// The images.
#[derive(Clone, Debug, Serialize)]
pub struct Images {
    /// By name.
    pub images: Vec<Image>,
}

/// An image.
#[derive(Clone, Debug, Serialize)]
pub struct Image {
    /// `sha256:…`.
    pub digest: String,
    /// Empty when it has none.
    pub name: String,
    /// The digest of the archive as it was imported.
    pub archive: String,
    /// Its bytes.
    pub archive_bytes: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Files, directories and links.
    pub inodes: u64,
    /// `tar`, `oci` or `docker`.
    pub format: String,
    /// When it was imported first, wall clock.
    pub created_ms: i64,
    /// The command of a task that gives none.
    pub command: Vec<String>,
    /// Environment that its tasks get.
    pub env: BTreeMap<String, String>,
    /// Where they start.
    pub workdir: String,
    /// Who they are, inside.
    pub run_as: RunAs,
    /// Names of the nodes that have its archive.
    pub nodes: Vec<String>,
}

/// A user and a group inside of a container.
#[derive(Clone, Debug, Serialize)]
pub struct RunAs {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl From<&v1::Image> for Image {
    fn from(image: &v1::Image) -> Image {
        let v1::RunAs { uid, gid } = image.run_as.unwrap_or_default();
        Image {
            digest: image.digest.clone(),
            name: image.name.clone(),
            archive: image.archive.clone(),
            archive_bytes: image.archive_bytes,
            bytes: image.bytes,
            inodes: image.inodes,
            format: image.format.clone(),
            created_ms: image.created_ms,
            command: image.command.clone(),
            env: image.env.clone().into_iter().collect(),
            workdir: image.workdir.clone(),
            run_as: RunAs { uid, gid },
            nodes: image.nodes.clone(),
        }
    }
}
