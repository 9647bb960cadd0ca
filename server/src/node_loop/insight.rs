//! Questions from outside, answered between two events, so that nobody shares the loop's state.

use super::departed::Departed;
use crate::index::Index;
use crate::membership::Membership;
use crate::seam::{Identity, Insight, NodeInfo, Waiting};
use async_trait::async_trait;
use shoal_core::clock::Tick;
use shoal_core::drain::{self, Drain};
use shoal_core::entry::NodeEntry;
use shoal_core::id::{NodeId, TaskId};
use shoal_core::lock::{LockEntry, Lockable};
use shoal_core::node::Node;
use shoal_core::place::Place;
use shoal_core::reserve::{ReserveEntry, kept_for_people};
use tokio::sync::{mpsc, oneshot, watch};

/// What the loop remembers beside the core.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// All tasks.
    pub index: Index,
    /// Nodes that were there.
    pub departed: Departed,
}

/// A question: runs on the loop with its state.
pub type Ask = Box<dyn FnOnce(&Node, &Known) + Send>;

/// Asks the loop.
pub struct LoopInsight {
    /// To the loop.
    pub asks: mpsc::Sender<Ask>,
    /// Who the node is.
    pub identity: watch::Receiver<Option<(NodeId, i64)>>,
    /// Its name.
    pub name: String,
    /// The store's members.
    pub membership: Membership,
    /// The revision of the view.
    pub folded: watch::Receiver<i64>,
}

impl LoopInsight {
    /// For the node of this name; the loop tells its view's revisions to what comes with it.
    pub fn new(
        name: &str,
        asks: mpsc::Sender<Ask>,
        identity: watch::Receiver<Option<(NodeId, i64)>>,
        membership: Membership,
    ) -> (LoopInsight, watch::Sender<i64>) {
        let (tell, folded) = watch::channel(0);
        (LoopInsight { asks, identity, name: name.to_owned(), membership, folded }, tell)
    }

    async fn ask<T: Send + Default + 'static>(
        &self,
        question: impl FnOnce(&Node, &Known) -> T + Send + 'static,
    ) -> T {
        let (reply, answer) = oneshot::channel();
        let ask: Ask = Box::new(move |node, known| {
            let _ = reply.send(question(node, known));
        });
        // The loop ends only with the server.
        if self.asks.send(ask).await.is_err() {
            return T::default();
        }
        answer.await.unwrap_or_default()
    }
}

#[async_trait]
impl Insight for LoopInsight {
    async fn nodes(&self) -> Vec<NodeInfo> {
        self.ask(|node, _| {
            let view = node.view();
            let kept = kept_for_people(view);
            let info = |(id, peer): (&NodeId, &shoal_core::view::Peer)| NodeInfo {
                id: *id,
                entry: peer.entry.clone(),
                free: view.free_on(*id),
                running: view.running_len(*id) as u32,
                lock: view.lock_on(peer).cloned(),
                is_kept: kept.contains(id),
            };
            view.nodes().iter().map(info).collect()
        })
        .await
    }

    async fn absent(&self) -> Vec<NodeEntry> {
        self.ask(|node, known| known.departed.absent(node.view(), crate::clock::boot())).await
    }

    async fn why(&self, task: TaskId) -> Option<Waiting> {
        self.ask(move |node, _| {
            let now = crate::clock::boot();
            shoal_core::why::why(node.view(), &node.plan(now), task, now)
        })
        .await
    }

    async fn tick(&self) -> Option<Tick> {
        self.ask(|node, _| node.is_synced().then(|| node.view().clock().0)).await
    }

    async fn pause(&self) -> Option<LockEntry> {
        self.ask(|node, _| node.view().lock(&Lockable::Queue).cloned()).await
    }

    async fn reserve(&self) -> Option<ReserveEntry> {
        self.ask(|node, _| node.view().reserve().cloned()).await
    }

    async fn drain(&self, node: &str) -> Drain {
        let name = node.to_owned();
        self.ask(move |node, _| Some(drain::of(node.view(), &name))).await.unwrap_or(Drain::Open)
    }

    async fn ends_of_queue(&self, without: TaskId) -> Option<(Place, Place)> {
        let ends = self.ask(move |node, _| node.view().ends_without(without)).await;
        ends.map(|(first, last)| (first.place(), last.place()))
    }

    async fn steps_beside(&self, place: Place, without: TaskId) -> Vec<i32> {
        self.ask(move |node, _| node.view().steps_beside(place, without)).await
    }

    fn folded(&self) -> watch::Receiver<i64> {
        self.folded.clone()
    }

    async fn queue_len(&self) -> u64 {
        self.ask(|node, _| node.view().queue_len() as u64).await
    }

    async fn running_len(&self) -> u64 {
        self.ask(|node, _| node.view().running_total() as u64).await
    }

    async fn resolve(&self, short_prefix: &str) -> Vec<TaskId> {
        let prefix = short_prefix.to_owned();
        self.ask(move |_, known| known.index.starting_with(&prefix, 3)).await
    }

    fn warning(&self) -> Option<String> {
        self.membership.warning()
    }

    fn voters(&self) -> (u32, u32) {
        self.membership.voters()
    }

    fn identity(&self) -> Identity {
        let id = self.identity.borrow().map_or(NodeId(uuid::Uuid::nil()), |(id, _)| id);
        Identity { id, name: self.name.clone() }
    }
}
