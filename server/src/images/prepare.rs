//! Before a task starts: its image is unpacked on this node, its archive fetched if need be. The task waits in its launch phase meanwhile; a failure is
//! tried again as one of the launch is, on any node, but is not held against this one; an image that the cluster has forgotten ends the task.

use super::{ImageError, Images, Work};
use shoal_core::image::Digest;

impl Images {
    /// Makes the image ready on this node.
    pub async fn prepare(&self, digest: Digest) -> Result<(), ImageError> {
        if self.state().ready.contains(&digest) {
            return Ok(());
        }
        let entry = self.by_digest(digest).await?;
        let Some(entry) = entry else { return Err(ImageError::Unknown(digest.to_string())) };
        let turn = self.turn(Work::Tree, digest);
        let _mine = turn.lock().await;
        if self.state().ready.contains(&digest) {
            return Ok(());
        }
        if !self.archives.has(entry.blob) {
            let from = self.others(entry.blob).await;
            self.fetch(entry.blob, entry.blob_bytes, &from, digest, Some(&self.fetches)).await?;
        }
        self.archives.touch(entry.blob);
        self.archives.mark_unpacked(digest, true)?;
        self.runner.unpack(self.archives.path(entry.blob), Some(digest.hex())).await?;
        self.state().ready.insert(digest);
        Ok(())
    }
}
