//! Import: an archive comes in, is unpacked, copied to a second node, and only then known to the cluster.

use super::archives::Incoming;
use super::{ImageError, Images};
use shoal_container::image::{Format, Unpacked};
use shoal_core::image::{Digest, ImageEntry};
use shoal_core::spec::{RunAs, Unknown};

impl Images {
    /// A place for an archive whose size nobody knows yet.
    pub fn upload(&self) -> Result<Incoming<'_>, ImageError> {
        self.archives.incoming(None)
    }

    /// Imports what was uploaded. `said` is told in words what is being done.
    pub async fn import(
        &self,
        uploaded: Incoming<'_>,
        name: String,
        mut said: impl FnMut(&str),
    ) -> Result<(Digest, ImageEntry), ImageError> {
        let blob_bytes = uploaded.bytes();
        let blob = tokio::task::block_in_place(|| uploaded.keep(None))?;
        self.state().importing.insert(blob);
        let _importing = Importing { images: self, blob };
        self.import_kept(blob, blob_bytes, name, &mut said).await
    }

    /// The rest of it, with the archive on the disk. What fails leaves an archive that nobody knows, which goes with time.
    async fn import_kept(
        &self,
        blob: Digest,
        blob_bytes: u64,
        name: String,
        said: &mut impl FnMut(&str),
    ) -> Result<(Digest, ImageEntry), ImageError> {
        said("unpacking");
        let unpacked = self.runner.unpack(self.archives.path(blob), None).await?;
        let digest = Digest::from_hex(&unpacked.digest)
            .map_err(|bad| ImageError::Refused(format!("the runner named an image so that {bad}")))?;
        said("copying to a second node");
        let copied = self.copy_out(blob, blob_bytes).await;
        // Also where nobody took a copy: the tree is there, and a tree without a mark is never removed. Not `ready`, which only who has the
        // digest's turn may say: the tree may be on its way out, for the sake of an earlier removal.
        self.archives.mark_unpacked(digest, true)?;
        if !copied? {
            tracing::warn!(%digest, "this is the only node: the image has no second copy");
        }
        let entry = entry(unpacked, name, blob, blob_bytes, (self.wall)());
        Ok((digest, self.write(digest, &entry).await?))
    }
}

/// Ends with the import, also where the client has gone in the middle of it.
struct Importing<'a> {
    images: &'a Images,
    blob: Digest,
}

impl Drop for Importing<'_> {
    fn drop(&mut self) {
        self.images.state().importing.remove(&self.blob);
    }
}

/// What the cluster knows of it from now on. Without a word of the image about it, its tasks are root inside: who owns the files that it holds.
fn entry(
    unpacked: Unpacked,
    name: String,
    blob: Digest,
    blob_bytes: u64,
    created: shoal_core::time::WallMs,
) -> ImageEntry {
    let format = match unpacked.format {
        Format::Tar => "tar",
        Format::Oci => "oci",
        Format::Docker => "docker",
    };
    let config = unpacked.config;
    let ids = config.ids.unwrap_or(shoal_container::protocol::User::ROOT);
    ImageEntry {
        name,
        blob,
        blob_bytes,
        bytes: unpacked.bytes,
        inodes: unpacked.inodes,
        format: format.to_owned(),
        created,
        env: config.env,
        command: config.entrypoint.into_iter().chain(config.cmd).collect(),
        workdir: if config.workdir.is_empty() { "/".to_owned() } else { config.workdir },
        run_as: RunAs { uid: ids.uid, gid: ids.gid },
        unknown: Unknown::new(),
    }
}
