//! The images that the cluster knows, in the store.

use super::{ImageError, Images};
use shoal_core::image::{Digest, ImageEntry};
use shoal_store::key::{self, Key};
use shoal_store::port::{Compare, KeyValue, ListOptions, Op, StoreError, Txn};
use shoal_store::record::{self, Stored};
use std::collections::BTreeSet;

/// Tries to write a record that others write as well.
pub(super) const TRIES_MAX: u32 = 5;

/// The images in the store, as far as this program can read them.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// Those whose records it reads.
    pub images: Vec<(Digest, Stored<ImageEntry>)>,
    /// A newer program wrote others, or somebody else did.
    pub incomplete: bool,
}

impl Listed {
    fn read(kvs: &[KeyValue]) -> Listed {
        let mut listed = Listed::default();
        for kv in kvs {
            match (Key::parse(&kv.key), record::decode_kv::<ImageEntry>(kv)) {
                (Ok(Key::Image(digest)), Ok(entry)) => listed.images.push((digest, entry)),
                (_, entry) => {
                    let error = entry.err().map(|error| error.to_string());
                    tracing::warn!(key = kv.key, error, "image left out");
                    listed.incomplete = true;
                }
            }
        }
        listed
    }

    /// Archives that are no image's any more. None while the list is incomplete: any may be that of an image whose record is not understood here.
    pub fn forgotten_archives(&self, mut archives: BTreeSet<Digest>) -> BTreeSet<Digest> {
        archives.retain(|archive| {
            !self.incomplete && !self.images.iter().any(|(_, stored)| stored.value.blob == *archive)
        });
        archives
    }

    /// Images that the cluster has forgotten. None while the list is incomplete.
    pub fn forgotten_images(&self, mut images: BTreeSet<Digest>) -> BTreeSet<Digest> {
        images.retain(|image| !self.incomplete && !self.images.iter().any(|(digest, _)| digest == image));
        images
    }
}

impl Images {
    /// All images. A record of a newer format is left out: its image cannot be used here.
    pub async fn all(&self) -> Result<Vec<(Digest, Stored<ImageEntry>)>, ImageError> {
        Ok(self.listed().await?.images)
    }

    /// All images, and whether those are really all.
    pub(super) async fn listed(&self) -> Result<Listed, ImageError> {
        Ok(Listed::read(&self.store.list(key::images(), ListOptions::default()).await?.kvs))
    }

    /// One image by its digest.
    pub async fn by_digest(&self, digest: Digest) -> Result<Option<ImageEntry>, ImageError> {
        Ok(self.stored(digest).await?.map(|stored| stored.value))
    }

    async fn stored(&self, digest: Digest) -> Result<Option<Stored<ImageEntry>>, ImageError> {
        let (kv, _) = self.store.get(&Key::Image(digest).to_string()).await?;
        Ok(kv.map(|kv| record::decode_kv::<ImageEntry>(&kv)).transpose()?)
    }

    /// One image by its name or digest. Of several with the name, the one whose record changed last has it.
    pub async fn find(&self, image: &str) -> Result<Option<(Digest, Stored<ImageEntry>)>, ImageError> {
        if let Ok(digest) = image.parse() {
            return Ok(self.stored(digest).await?.map(|stored| (digest, stored)));
        }
        let named = self.all().await?.into_iter().filter(|(_, stored)| stored.value.name == image);
        Ok(named.max_by_key(|(_, stored)| stored.mod_revision))
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

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_core::spec::{RunAs, Unknown};
    use shoal_core::time::WallMs;

    fn digest(byte: u8) -> Digest {
        Digest::new([byte; 32])
    }

    fn kv(image: u8, archive: u8) -> KeyValue {
        let entry = ImageEntry {
            name: String::new(),
            blob: digest(archive),
            blob_bytes: 1,
            bytes: 1,
            inodes: 1,
            format: "tar".to_owned(),
            created: WallMs(0),
            env: Default::default(),
            command: Vec::new(),
            workdir: "/".to_owned(),
            run_as: RunAs { uid: 0, gid: 0 },
            unknown: Unknown::new(),
        };
        let key = Key::Image(digest(image)).to_string();
        KeyValue { key, value: record::encode(&entry), create_revision: 1, mod_revision: 1, lease: None }
    }

    #[test]
    fn nothing_counts_as_forgotten_while_a_record_is_of_a_newer_format() {
        let listed = Listed::read(&[kv(1, 11)]);
        let (images, archives) = ([1, 2].map(digest), [11, 12].map(digest));
        assert_eq!(listed.forgotten_images(images.into()), [digest(2)].into());
        assert_eq!(listed.forgotten_archives(archives.into()), [digest(12)].into());
        let mut newer = kv(2, 12);
        let text = String::from_utf8(newer.value).unwrap();
        newer.value = text.replacen("\"v\":1", "\"v\":999", 1).into_bytes();
        let listed = Listed::read(&[kv(1, 11), newer]);
        assert!(listed.incomplete);
        assert_eq!(listed.images.len(), 1, "what is understood is used as ever");
        assert_eq!(listed.forgotten_images(images.into()), BTreeSet::new());
        assert_eq!(listed.forgotten_archives(archives.into()), BTreeSet::new());
    }
}
