//! Remove: the cluster forgets an image; the nodes' keepers then let go of archive and tree.

use super::records::TRIES_MAX;
use super::{ImageError, Images};
use shoal_core::id::TaskId;
use shoal_core::image::{Digest, ImageEntry};
use shoal_core::task::Task;
use shoal_store::key::{self, Key};
use shoal_store::port::{Compare, KeyRange, ListOptions, Op, Projection, StoreError, Txn};
use shoal_store::record;
use std::collections::BTreeSet;

/// Records read in one call.
const BATCH: usize = 500;

/// Images that are used; all of them where a root is not known.
#[derive(Debug, Default)]
pub(super) struct Used {
    images: BTreeSet<Digest>,
    unknown: bool,
}

impl Used {
    fn of(roots: impl Iterator<Item = Option<String>>) -> Used {
        let mut used = Used::default();
        for root in roots {
            match root {
                Some(root) => used.images.extend(root.parse::<Digest>()),
                None => used.unknown = true,
            }
        }
        used
    }

    /// Whether this one is, or may be.
    pub fn contains(&self, image: &Digest) -> bool {
        self.unknown || self.images.contains(image)
    }
}

impl Images {
    /// Removes an image by name or digest. Refused while tasks that have not ended name it, unless `force` says so. Who imports it again meanwhile keeps it:
    /// what goes is the record that was looked at.
    pub async fn remove(&self, image: &str, force: bool) -> Result<(Digest, ImageEntry), ImageError> {
        for _ in 0..TRIES_MAX {
            let found = self.find(image).await?;
            let (digest, stored) = found.ok_or_else(|| ImageError::Unknown(image.to_owned()))?;
            if !force {
                let users = self.users(&[key::queued(), key::running()], digest).await?;
                if let Some(task) = users.first() {
                    return Err(ImageError::Used {
                        image: image.to_owned(),
                        count: users.len(),
                        task: *task,
                    });
                }
            }
            let key = Key::Image(digest).to_string();
            let compares = vec![Compare::ModRevision(key.clone(), stored.mod_revision)];
            let txn = Txn { compares, then: vec![Op::Delete(key)], or_else: Vec::new() };
            if self.store.txn(txn).await?.succeeded {
                return Ok((digest, stored.value));
            }
        }
        Err(StoreError::Refused("the record changed again and again".to_owned()).into())
    }

    /// The tasks with a status key in one of these ranges whose root is this image, or may be.
    async fn users(&self, ranges: &[KeyRange], digest: Digest) -> Result<Vec<TaskId>, ImageError> {
        let image = digest.to_string();
        let roots = self.roots(ranges).await?.into_iter();
        let mut users: Vec<TaskId> = roots
            .filter(|(_, root)| root.as_ref().is_none_or(|root| *root == image))
            .map(|(id, _)| id)
            .collect();
        // One of several nodes has a key for each.
        users.sort_unstable();
        users.dedup();
        Ok(users)
    }

    /// The images that attempts of this node use.
    pub(super) async fn used_here(&self) -> Result<Used, ImageError> {
        let me = self.insight.identity().id;
        Ok(Used::of(self.roots(&[key::running_of(me)]).await?.into_iter().map(|(_, root)| root)))
    }

    /// The tasks of these status keys with their roots, as far as those can be read: a newer node may have written a record, or this node's replica may
    /// not have it yet.
    async fn roots(&self, ranges: &[KeyRange]) -> Result<Vec<(TaskId, Option<String>)>, ImageError> {
        let mut roots = Vec::new();
        for range in ranges {
            let options = ListOptions { projection: Projection::KeysOnly, ..ListOptions::default() };
            let listing = self.store.list(range.clone(), options).await?;
            let tasks = listing.kvs.iter().filter_map(|kv| Key::parse(&kv.key).ok()?.task());
            let tasks: Vec<TaskId> = tasks.collect();
            for batch in tasks.chunks(BATCH) {
                let keys: Vec<String> = batch.iter().map(|task| Key::Task(*task).to_string()).collect();
                let found = self.store.get_many_stale(&keys).await?.into_iter();
                let read = found.map(|kv| Some(record::decode_kv::<Task>(&kv?).ok()?.value.spec.root));
                roots.extend(batch.iter().copied().zip(read));
            }
        }
        Ok(roots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_cannot_be_read_may_be_any_image() {
        let [one, other] = [1, 2].map(|byte| Digest::new([byte; 32]));
        let known = || [Some(one.to_string()), Some("host".to_owned())].into_iter();
        let used = Used::of(known());
        assert!(used.contains(&one) && !used.contains(&other));
        assert!(Used::of(known().chain([None])).contains(&other));
    }
}
