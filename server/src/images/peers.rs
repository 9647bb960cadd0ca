//! What nodes ask each other: archives, and to keep them.

use super::{ImageError, Images, Work};
use shoal_core::id::NodeId;
use shoal_core::image::Digest;
use shoal_core::{features, rendezvous};
use shoal_proto::v1::{self, images_client::ImagesClient};
use std::cmp::Reverse;
use std::time::Duration;
use tokio::sync::Semaphore;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use uuid::Uuid;

/// A node that is alive answers a connect long before this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A silent connection is asked for a sign of life this often, and given this long for it.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// For a question that costs no disk.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// A peer that sends nothing of an archive for so long has a disk that hangs: another is asked.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Live nodes that keep each archive.
pub(super) const COPIES: usize = 2;
/// Bytes of one chunk on the wire.
pub const CHUNK_BYTES: usize = 256 << 10;

/// Another node.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Where its API answers.
    pub address: String,
}

impl Images {
    /// The live nodes that have images, the keepers of `archive` first, this one included. Ranked by name: an identity changes with each lease, and the
    /// archives must not move for that.
    pub(super) async fn ranked(&self, archive: Digest) -> Vec<Peer> {
        let weight = |name: &str| {
            let named = NodeId(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()));
            (rendezvous::weight(archive.subject(), named), named)
        };
        let nodes = self.insight.nodes().await.into_iter();
        let able = nodes.filter(|node| node.entry.offers.has.contains(features::IMAGES));
        let mut peers: Vec<Peer> =
            able.map(|node| Peer { name: node.entry.name, address: node.entry.address }).collect();
        peers.sort_by_key(|peer| Reverse(weight(&peer.name)));
        peers
    }

    /// The others.
    pub(super) async fn others(&self, archive: Digest) -> Vec<Peer> {
        let me = self.insight.identity().name;
        let mut peers = self.ranked(archive).await;
        peers.retain(|peer| peer.name != me);
        peers
    }

    /// Makes this node have an archive: from the first peer that has it. One fetch at a time for each archive; `progress` is kept under `image`.
    /// Of `places`, if any, it waits for one.
    pub async fn fetch(
        &self,
        archive: Digest,
        bytes: u64,
        from: &[Peer],
        image: Digest,
        places: Option<&Semaphore>,
    ) -> Result<(), ImageError> {
        let turn = self.turn(Work::Archive, archive);
        let _mine = turn.lock().await;
        if self.archives.has(archive) {
            // It may have been forgotten, and be about to go.
            self.archives.touch(archive);
            return Ok(());
        }
        // Only now: who waits for a turn that somebody else has keeps no place from others.
        let _place = match places {
            Some(places) => Some(places.acquire().await.map_err(|_| ImageError::Stopping)?),
            None => None,
        };
        let mut why = Vec::new();
        for peer in from {
            let fetched = self.fetch_from(archive, bytes, peer, image).await;
            self.state().progress.remove(&image);
            match fetched {
                Ok(()) => return Ok(()),
                Err(error @ ImageError::DiskFull { .. }) => return Err(error),
                Err(error) => why.push(format!("{}: {error}", peer.name)),
            }
        }
        if why.is_empty() {
            why.push("there is no other node".to_owned());
        }
        Err(ImageError::Nowhere { digest: image, why: why.join("; ") })
    }

    async fn fetch_from(
        &self,
        archive: Digest,
        bytes: u64,
        peer: &Peer,
        image: Digest,
    ) -> Result<(), ImageError> {
        let said = |status: Status| ImageError::Upload(status.message().to_owned());
        // Before a peer is asked: where there is no room here, none of them can help.
        let mut incoming = self.archives.incoming(Some(bytes))?;
        let mut client = connect(&peer.address).await.map_err(said)?;
        let request = v1::FetchArchiveRequest { archive: archive.to_string() };
        let silent = |_| ImageError::Upload(format!("sent nothing for {SILENCE_MAX:?}"));
        let answer =
            tokio::time::timeout(SILENCE_MAX, client.fetch_archive(request)).await.map_err(silent)?;
        let mut chunks = answer.map_err(said)?.into_inner();
        loop {
            let next = tokio::time::timeout(SILENCE_MAX, chunks.message()).await.map_err(silent)?;
            let Some(chunk) = next.map_err(said)? else { break };
            incoming.write(&chunk.data)?;
            let progress = super::Progress { bytes: incoming.bytes(), total: bytes };
            self.state().progress.insert(image, progress);
        }
        let kept = tokio::task::block_in_place(|| incoming.keep(Some(archive)))?;
        tracing::info!(archive = %kept, bytes, from = peer.name, "archive fetched");
        Ok(())
    }

    /// Asks other nodes, in rank, until one more has the archive. `Ok(false)` when there is no other node.
    pub(super) async fn copy_out(&self, archive: Digest, bytes: u64) -> Result<bool, ImageError> {
        let mut why = Vec::new();
        for peer in self.others(archive).await {
            match self.ask_to_keep(&peer, archive, bytes).await {
                Ok(()) => return Ok(true),
                Err(status) => why.push(format!("{}: {}", peer.name, status.message())),
            }
        }
        if why.is_empty() { Ok(false) } else { Err(ImageError::NoCopy(why.join("; "))) }
    }

    async fn ask_to_keep(&self, peer: &Peer, archive: Digest, bytes: u64) -> Result<(), Status> {
        let request = v1::KeepArchiveRequest {
            archive: archive.to_string(),
            archive_bytes: bytes,
            from_address: self.address.clone(),
        };
        let mut events = connect(&peer.address).await?.keep_archive(request).await?.into_inner();
        while let Some(event) = events.message().await? {
            if event.kept {
                return Ok(());
            }
        }
        Err(Status::unavailable("it ended before it had the archive"))
    }

    /// Names of the nodes that have each archive, as far as they answer.
    pub async fn holders(&self) -> Vec<(String, Vec<Digest>)> {
        let me = self.insight.identity().name;
        let asks = self.insight.nodes().await.into_iter().map(|node| {
            let own = node.entry.name == me;
            async move {
                let held = if own { self.held() } else { ask_held(&node.entry.address).await };
                (node.entry.name, held)
            }
        });
        futures::future::join_all(asks).await
    }

    /// The archives of this node.
    pub fn held(&self) -> Vec<Digest> {
        let list = self.archives.list().unwrap_or_default();
        list.into_iter().map(|(digest, _, _)| digest).collect()
    }
}

async fn ask_held(address: &str) -> Vec<Digest> {
    let ask = async {
        let answer = connect(address).await?.held_archives(v1::HeldArchivesRequest {}).await?.into_inner();
        Ok::<_, Status>(answer.archives.iter().filter_map(|text| text.parse().ok()).collect())
    };
    // A node that does not answer is shown with nothing.
    tokio::time::timeout(ANSWER_TIMEOUT, ask).await.ok().and_then(Result::ok).unwrap_or_default()
}

async fn connect(address: &str) -> Result<ImagesClient<Channel>, Status> {
    let uri = if address.starts_with("unix:") { address.to_owned() } else { format!("http://{address}") };
    let endpoint =
        Endpoint::from_shared(uri).map_err(|error| Status::new(Code::Internal, error.to_string()))?;
    let channel = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .connect()
        .await
        .map_err(|error| Status::unavailable(format!("does not answer at {address}: {error}")))?;
    Ok(ImagesClient::new(channel))
}
