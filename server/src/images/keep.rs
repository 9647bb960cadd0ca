//! Keeps this node's part of the images: fetches archives that it should keep, lets go of those that are removed, and holds the whole below its cap.

use super::peers::COPIES;
use super::records::Listed;
use super::{ImageError, Images, Work};
use shoal_core::image::{Digest, ImageEntry};
use shoal_store::record::Stored;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// Between rounds.
const ROUND: Duration = Duration::from_secs(10);
/// A copy comes to this node just before the record of its image is written; one that has no record so long after is of no use.
const ORPHAN_AGE: Duration = Duration::from_secs(30);

/// Runs until stopped. A store that is away costs a round. `cap_bytes` is for archives and trees together.
pub async fn run(images: Arc<Images>, cap_bytes: u64) -> anyhow::Result<()> {
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = images.stop.cancelled() => return Ok(()),
            _ = rounds.tick() => {}
        }
        tokio::select! {
            () = images.stop.cancelled() => return Ok(()),
            done = images.round(cap_bytes) => match done {
                Ok(()) => {}
                // At the start, and while the store elects: the next round comes soon.
                Err(error @ ImageError::Store(_)) => tracing::debug!(%error, "images not looked after in this round"),
                Err(error) => tracing::warn!(%error, "images not looked after in this round"),
            }
        }
    }
}

impl Images {
    async fn round(&self, cap_bytes: u64) -> Result<(), ImageError> {
        // Who keeps what, and which attempts run here, is known only to a node that sees itself among the others.
        let me = self.insight.identity().id;
        if !self.insight.nodes().await.iter().any(|node| node.id == me) {
            return Ok(());
        }
        let listed = self.listed().await?;
        self.let_go(&listed).await?;
        let all = listed.images;
        self.make_room(&all, cap_bytes).await?;
        for (digest, stored) in &all {
            self.keep(*digest, &stored.value).await;
        }
        Ok(())
    }

    /// Fetches one that this node is to keep.
    async fn keep(&self, digest: Digest, entry: &ImageEntry) {
        if self.archives.has(entry.blob) || !self.is_keeper(entry.blob).await {
            return;
        }
        let from = self.others(entry.blob).await;
        if let Err(error) = self.fetch(entry.blob, entry.blob_bytes, &from, digest, Some(&self.fetches)).await
        {
            tracing::warn!(%digest, %error, "archive that this node should keep not fetched");
        }
    }

    async fn is_keeper(&self, archive: Digest) -> bool {
        let me = self.insight.identity().name;
        self.ranked(archive).await.iter().take(COPIES).any(|peer| peer.name == me)
    }

    /// Whether those that should keep it, this node not among them, really have it: one that has just joined may be about to fetch it from here.
    async fn is_kept_elsewhere(&self, archive: Digest, holders: &[(String, Vec<Digest>)]) -> bool {
        let (me, peers) = (self.insight.identity().name, self.ranked(archive).await);
        let has = |name: &str| holders.iter().any(|(holder, held)| holder == name && held.contains(&archive));
        peers.len() > COPIES && peers.iter().take(COPIES).all(|peer| peer.name != me && has(&peer.name))
    }

    /// Lets go of what the cluster has forgotten. Trees go when nothing here uses them any more.
    async fn let_go(&self, listed: &Listed) -> Result<(), ImageError> {
        let here = self.archives.list()?;
        let forgotten = listed.forgotten_archives(here.iter().map(|(archive, ..)| *archive).collect());
        for (archive, _, age) in here {
            let unwanted = forgotten.contains(&archive) && !self.state().importing.contains(&archive);
            if unwanted && age > ORPHAN_AGE {
                self.archives.remove(archive)?;
                tracing::info!(%archive, "archive of a removed image let go");
            }
        }
        let gone = listed.forgotten_images(self.archives.unpacked()?);
        if gone.is_empty() {
            return Ok(());
        }
        let used = self.used_here().await?;
        for digest in gone.into_iter().filter(|digest| !used.contains(digest)) {
            // One that cannot go must not stand in the way of the rest of the round.
            if let Err(error) = self.drop_tree(digest).await {
                tracing::warn!(%digest, %error, "image not removed from this node");
            }
        }
        Ok(())
    }

    /// `false` when it is used after all.
    async fn drop_tree(&self, digest: Digest) -> Result<bool, ImageError> {
        // Whoever prepares it at this moment waits, and then unpacks it again.
        let turn = self.turn(Work::Tree, digest);
        let _mine = turn.lock().await;
        self.state().ready.remove(&digest);
        // Whoever was let through before that had its key in the store by then.
        if self.used_here().await?.contains(&digest) {
            return Ok(false);
        }
        self.runner.remove_image(digest.hex()).await?;
        self.archives.mark_unpacked(digest, false)?;
        tracing::info!(%digest, "image removed from this node");
        Ok(true)
    }

    /// Above the cap, the images that were not needed for longest go: their trees, and their archives where two others keep them.
    async fn make_room(
        &self,
        all: &[(Digest, Stored<ImageEntry>)],
        cap_bytes: u64,
    ) -> Result<(), ImageError> {
        let here: BTreeMap<Digest, (u64, Duration)> =
            self.archives.list()?.into_iter().map(|(digest, bytes, age)| (digest, (bytes, age))).collect();
        let unpacked = self.archives.unpacked()?;
        let trees: u64 = all.iter().filter(|(d, _)| unpacked.contains(d)).map(|(_, s)| s.value.bytes).sum();
        let mut total = trees + here.values().map(|(bytes, _)| bytes).sum::<u64>();
        if total <= cap_bytes {
            return Ok(());
        }
        let (used, holders) = (self.used_here().await?, self.holders().await);
        let mut oldest: Vec<_> = all.iter().filter(|(digest, _)| !used.contains(digest)).collect();
        oldest
            .sort_by_key(|(_, s)| std::cmp::Reverse(here.get(&s.value.blob).map_or(Duration::ZERO, |h| h.1)));
        for (digest, stored) in oldest {
            if total <= cap_bytes {
                break;
            }
            if unpacked.contains(digest) {
                match self.drop_tree(*digest).await {
                    Ok(true) => total = total.saturating_sub(stored.value.bytes),
                    Ok(false) => continue,
                    Err(error) => tracing::warn!(%digest, %error, "image not removed from this node"),
                }
            }
            let archive = stored.value.blob;
            if let Some((bytes, _)) = here.get(&archive)
                && self.is_kept_elsewhere(archive, &holders).await
            {
                self.archives.remove(archive)?;
                total = total.saturating_sub(*bytes);
            }
        }
        if total > cap_bytes {
            tracing::warn!(total, cap_bytes, "images that are needed take more than --image-cache");
        }
        Ok(())
    }
}
