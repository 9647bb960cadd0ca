//! Remove: the cluster forgets an image; the nodes' keepers then let go of archive and tree.

use super::{ImageError, Images};
use shoal_core::id::TaskId;
use shoal_core::image::{Digest, ImageEntry};
use shoal_core::task::Task;
use shoal_store::key::{self, Key};
use shoal_store::port::{KeyRange, ListOptions, Op, Projection, Txn};
use shoal_store::record;
use std::collections::BTreeSet;

/// Records read in one call.
const BATCH: usize = 500;

impl Images {
    /// Removes an image by name or digest. Refused while tasks that have not ended name it, unless `force` says so.
    pub async fn remove(&self, image: &str, force: bool) -> Result<(Digest, ImageEntry), ImageError> {
        let found = self.find(image).await?;
        let (digest, entry) = found.ok_or_else(|| ImageError::Unknown(image.to_owned()))?;
        if !force {
            let users = self.users(&[key::queued(), key::running()], digest).await?;
            if let Some(task) = users.first() {
                return Err(ImageError::Used { image: image.to_owned(), count: users.len(), task: *task });
            }
        }
        let delete = Op::Delete(Key::Image(digest).to_string());
        self.store.txn(Txn { compares: Vec::new(), then: vec![delete], or_else: Vec::new() }).await?;
        Ok((digest, entry))
    }

    /// The tasks with a status key in one of these ranges whose root is this image.
    pub(super) async fn users(&self, ranges: &[KeyRange], digest: Digest) -> Result<Vec<TaskId>, ImageError> {
        let root = digest.to_string();
        let mut users = Vec::new();
        for (task, its_root) in self.roots(ranges).await? {
            if its_root == root {
                users.push(task);
            }
        }
        Ok(users)
    }

    /// The images that attempts of this node use.
    pub(super) async fn used_here(&self) -> Result<BTreeSet<Digest>, ImageError> {
        let me = self.insight.identity().id;
        let roots = self.roots(&[key::running_of(me)]).await?;
        Ok(roots.iter().filter_map(|(_, root)| root.parse().ok()).collect())
    }

    async fn roots(&self, ranges: &[KeyRange]) -> Result<Vec<(TaskId, String)>, ImageError> {
        let mut roots = Vec::new();
        for range in ranges {
            let options = ListOptions { projection: Projection::KeysOnly, ..ListOptions::default() };
            let listing = self.store.list(range.clone(), options).await?;
            let tasks = listing.kvs.iter().filter_map(|kv| Key::parse(&kv.key).ok()?.task());
            let keys: Vec<String> = tasks.map(|task| Key::Task(task).to_string()).collect();
            for batch in keys.chunks(BATCH) {
                let found = self.store.get_many_stale(batch).await?.into_iter().flatten();
                let records = found.filter_map(|kv| record::decode_kv::<Task>(&kv).ok());
                roots.extend(records.map(|stored| (stored.value.id, stored.value.spec.root)));
            }
        }
        Ok(roots)
    }
}
