//! The images that the cluster knows, in the store.

use super::{ImageError, Images};
use shoal_core::image::{Digest, ImageEntry};
use shoal_store::key::{self, Key};
use shoal_store::port::{Compare, ListOptions, Op, StoreError, Txn};
use shoal_store::record::{self, Stored};

/// Tries to write a record that others write as well.
const TRIES_MAX: u32 = 5;

impl Images {
    /// All images. A record of a newer format is left out: its image cannot be used here.
    pub async fn all(&self) -> Result<Vec<(Digest, Stored<ImageEntry>)>, ImageError> {
        let listing = self.store.list(key::images(), ListOptions::default()).await?;
        let known = listing.kvs.iter().filter_map(|kv| {
            let Ok(Key::Image(digest)) = Key::parse(&kv.key) else { return None };
            let entry = record::decode_kv::<ImageEntry>(kv);
            entry.inspect_err(|error| tracing::warn!(%error, "image left out")).ok().map(|e| (digest, e))
        });
        Ok(known.collect())
    }

    /// One image by its digest.
    pub async fn by_digest(&self, digest: Digest) -> Result<Option<ImageEntry>, ImageError> {
        let (kv, _) = self.store.get(&Key::Image(digest).to_string()).await?;
        Ok(kv.map(|kv| record::decode_kv::<ImageEntry>(&kv)).transpose()?.map(|stored| stored.value))
    }

    /// One image by its name or digest. Of several with the name, the one whose record changed last has it.
    pub async fn find(&self, image: &str) -> Result<Option<(Digest, ImageEntry)>, ImageError> {
        if let Ok(digest) = image.parse() {
            return Ok(self.by_digest(digest).await?.map(|entry| (digest, entry)));
        }
        let named = self.all().await?.into_iter().filter(|(_, stored)| stored.value.name == image);
        let last = named.max_by_key(|(_, stored)| stored.mod_revision);
        Ok(last.map(|(digest, stored)| (digest, stored.value)))
    }

    /// Writes the record of an image that was imported. One that is there keeps when it was created, and its name if no new one is given.
    pub(super) async fn write(&self, digest: Digest, entry: &ImageEntry) -> Result<ImageEntry, ImageError> {
        let key = Key::Image(digest).to_string();
        let mut last = StoreError::Refused("the record changed again and again".to_owned());
        for _ in 0..TRIES_MAX {
            let (kv, _) = self.store.get(&key).await?;
            let revision = kv.as_ref().map_or(0, |kv| kv.mod_revision);
            let mut entry = entry.clone();
            if let Some(known) = kv.and_then(|kv| record::decode_kv::<ImageEntry>(&kv).ok()) {
                entry.created = known.value.created;
                if entry.name.is_empty() {
                    entry.name = known.value.name;
                }
            }
            let put = Op::Put { key: key.clone(), value: record::encode(&entry), lease: None };
            let compares = vec![Compare::ModRevision(key.clone(), revision)];
            match self.store.txn(Txn { compares, then: vec![put], or_else: Vec::new() }).await {
                Ok(reply) if reply.succeeded => return Ok(entry),
                Ok(_) => {}
                // Read back and written again with a new compare: to write the same twice changes nothing.
                Err(error @ StoreError::Unknown(_)) => last = error,
                Err(error) => return Err(error.into()),
            }
        }
        Err(last.into())
    }
}
