//! Nodes that choose without a common plan, for comparison: each takes what it likes of the queue as it sees it. They follow, propose and end
//! tasks as a node does, and have the same batches; only the choice differs.

use super::node::Setup;
use super::stand_in::duration_of;
use anyhow::{Result, bail};
use shoal_core::clock::Tick;
use shoal_core::event::Event;
use shoal_core::id::{NodeId, TaskId};
use shoal_core::lock::Lockable;
use shoal_core::task::{Exit, ExitHow, Task};
use shoal_core::transition::{Outcome, Transition};
use shoal_core::view::Fact;
use shoal_server::facts;
use shoal_server::propose::{Proposer, Settled};
use shoal_store::list_watch::{Follow, FollowItem};
use shoal_store::record::Stored;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Who chooses which task a node takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Shoal's plan.
    Plan,
    /// A free slot takes the first in the queue that is not known to be taken.
    First,
    /// One of the first 32 of these, any.
    RandomOf32,
}

const OF: usize = 32;

/// In the order of submission.
type Place = (i64, u32, TaskId);

enum Done {
    Refused,
    Ended(Box<Stored<Task>>),
    Finished,
}

/// The loop of such a node.
pub struct Strawman {
    setup: Setup,
    proposer: Proposer,
    ended: watch::Sender<u64>,
    knows: watch::Sender<usize>,
    won: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
    me: Option<NodeId>,
    nodes: BTreeSet<NodeId>,
    paused: bool,
    /// What is queued and not being taken by this node, nor lost to another.
    queue: BTreeSet<Place>,
    places: BTreeMap<TaskId, Place>,
    busy: usize,
    random: u64,
    work: JoinSet<Result<Done>>,
}

impl Strawman {
    /// One that counts won and lost steals, and tells how many nodes it knows.
    pub fn new(
        setup: Setup,
        proposer: Proposer,
        ended: watch::Sender<u64>,
        knows: watch::Sender<usize>,
        (won, lost): (Arc<AtomicU64>, Arc<AtomicU64>),
    ) -> Strawman {
        // Any seed will do, as long as no two nodes have the same.
        let random = setup.name.bytes().fold(0x9e37_79b9_7f4a_7c15, |sum: u64, byte| {
            (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Strawman {
            setup,
            proposer,
            ended,
            knows,
            won,
            lost,
            me: None,
            nodes: BTreeSet::new(),
            paused: false,
            queue: BTreeSet::new(),
            places: BTreeMap::new(),
            busy: 0,
            random,
            work: JoinSet::new(),
        }
    }

    /// Runs until stopped.
    pub async fn run(
        mut self,
        mut follow: Follow,
        mut events: mpsc::Receiver<Event>,
        stop: CancellationToken,
    ) -> Result<()> {
        loop {
            let (mut item, mut joined) = (None, None);
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                next = follow.next() => item = Some(next),
                Some(done) = self.work.join_next() => joined = Some(done?),
                event = events.recv() => match event {
                    Some(Event::Registered { node, .. }) => self.me = Some(node),
                    other => bail!("{}: {other:?}", self.setup.name),
                },
            }
            if let Some(item) = item {
                self.follow(item)?;
            }
            while let Some(done) = joined {
                self.done(done?);
                joined = self.work.try_join_next().transpose()?;
            }
            if let Some(me) = self.me.filter(|me| self.nodes.contains(me)) {
                self.knows.send_if_modified(|knows| std::mem::replace(knows, self.nodes.len()) != *knows);
                self.take(me);
            }
        }
    }

    fn follow(&mut self, item: FollowItem) -> Result<()> {
        let facts = match item {
            FollowItem::Snapshot { kvs, revision } => {
                (self.paused, self.queue, self.places) = Default::default();
                facts::snapshot(&kvs, revision).facts
            }
            FollowItem::Changes { changes, .. } => facts::changes(&facts::seen(&changes)),
            FollowItem::Progress(_) => Vec::new(),
            FollowItem::Interrupted(why) => bail!("{}: {why}", self.setup.name),
        };
        for fact in facts {
            match fact {
                Fact::Queued { task, entry, created } => {
                    let place = (entry.order.unwrap_or(created), entry.seq, task);
                    self.queue.insert(place);
                    self.places.insert(task, place);
                }
                Fact::NotQueued(task) => {
                    self.places.remove(&task).map(|place| self.queue.remove(&place));
                }
                Fact::NodeUp { node, .. } => drop(self.nodes.insert(node)),
                Fact::NodeDown(node) => drop(self.nodes.remove(&node)),
                Fact::Locked { what: Lockable::Queue, .. } => self.paused = true,
                Fact::Unlocked(Lockable::Queue) => self.paused = false,
                _ => {}
            }
        }
        Ok(())
    }

    fn take(&mut self, me: NodeId) {
        while !self.paused && self.busy < self.setup.slots {
            let Some(place) = self.choose() else { return };
            self.queue.remove(&place);
            self.busy += 1;
            let transition = Transition::Steal {
                node: me,
                node_name: self.setup.name.clone(),
                tick: Tick(0),
                members: Vec::new(),
            };
            let (proposer, mean_ms, task) = (self.proposer.clone(), self.setup.mean_ms, place.2);
            self.work.spawn(async move {
                match proposer.settle(task, transition, None, None).await? {
                    Settled::Refused { .. } => Ok(Done::Refused),
                    Settled::Committed(stored) => {
                        tokio::time::sleep(duration_of(task, mean_ms)).await;
                        Ok(Done::Ended(stored))
                    }
                }
            });
        }
    }

    fn choose(&mut self) -> Option<Place> {
        let among = match self.setup.choice {
            Choice::Plan | Choice::First => 1,
            Choice::RandomOf32 => self.queue.len().min(OF),
        };
        // xorshift64 (Marsaglia, 2003).
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.queue.iter().nth((self.random % among.max(1) as u64) as usize).copied()
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Refused => {
                self.busy -= 1;
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
            Done::Ended(stored) => {
                // As with a node, the slot is free from the end on, not only once that is recorded.
                self.busy -= 1;
                self.won.fetch_add(1, Ordering::Relaxed);
                self.finish(stored);
            }
            Done::Finished => self.ended.send_modify(|count| *count += 1),
        }
    }

    fn finish(&mut self, stored: Box<Stored<Task>>) {
        let Some(node) = self.me else { return };
        let exit = Exit { how: ExitHow::Code(0), oom_killed: false };
        let (task, attempt) = (stored.value.id, stored.value.attempt);
        let transition = Transition::Finish { node, attempt, outcome: Outcome::Exited(exit) };
        let proposer = self.proposer.clone();
        self.work.spawn(async move {
            match proposer.settle(task, transition, Some(stored), None).await? {
                Settled::Committed(_) => Ok(Done::Finished),
                Settled::Refused { why, .. } => bail!("the end of {task} was refused: {why}"),
            }
        });
    }
}
