//! What the node's state machine hears and what it wants done.

use crate::amount::Amount;
use crate::clock::Tick;
use crate::id::{AttemptId, NodeId, TaskId};
use crate::lock::Lockable;
use crate::task::Task;
use crate::time::BootMs;
use crate::transition::{Outcome, Transition};
use crate::view::{Fact, Snapshot};

/// What the runner says of an attempt when the server comes (back) to it.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// It is alive.
    Alive,
    /// It has ended and that is not recorded yet.
    Ended(Outcome),
}

/// Input of [`crate::node::Node::step`].
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The node's key is written under this identity; a fresh identity has nothing running.
    Registered {
        /// The identity.
        node: NodeId,
        /// The revision that created the node's key: its fencing token.
        created: i64,
    },
    /// Everything the store says, at the start, after a lost watch, and from time to time.
    Synced(SnapshotBox),
    /// Changes, in revision order.
    Changed {
        /// What changed.
        facts: Vec<Fact>,
        /// The revision of the last of them.
        revision: i64,
    },
    /// A runner that outlived the server has this attempt.
    Adopted {
        /// Which.
        attempt: AttemptId,
        /// Its state.
        found: Found,
    },
    /// A proposed transition was decided.
    Decided {
        /// The task.
        task: TaskId,
        /// What was proposed.
        transition: Transition,
        /// What became of it.
        decision: Decision,
    },
    /// The record of a task that the store says runs here, and this node does not know: as it is now.
    Claimed {
        /// The task.
        task: TaskId,
        /// Its record, if it still runs here.
        record: Option<Box<Task>>,
        /// The revision of the record.
        revision: i64,
    },
    /// The offer that was asked for is in the store.
    Offered {
        /// For which task.
        task: TaskId,
        /// The identity that asked.
        node: NodeId,
        /// As of this revision.
        revision: i64,
    },
    /// No offer of this identity for this task is in the store or on its way there, nor has the task started here by one.
    OfferGone {
        /// For which task.
        task: TaskId,
        /// The identity that asked.
        node: NodeId,
    },
    /// The attempt's program has been executed.
    Started(AttemptId),
    /// The attempt has ended, started or not; its outcome is safe on this node's disk.
    Ended {
        /// Which.
        attempt: AttemptId,
        /// How.
        outcome: Outcome,
    },
    /// The attempt was killed and does not die: as alive as any, until its end.
    Stuck {
        /// Which.
        attempt: AttemptId,
        /// What it waits for, in words.
        why: String,
    },
    /// The lease is lost, or cannot be trusted any more.
    LeaseLost,
    /// Take no more tasks, or take them again.
    Drain(bool),
    /// A timer that was asked for, or any other reason to look again.
    Tick,
}

/// Boxed, since it is by far the largest event.
pub type SnapshotBox = Box<Snapshot>;

/// What became of a proposed transition.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// It is in the store.
    Committed {
        /// The task after it.
        task: Box<Task>,
        /// The revision that wrote it.
        revision: i64,
    },
    /// Somebody else was first, or its guard did not hold: it will never be in the store.
    Refused {
        /// A steal: the task runs on its node all the same, since a server before this one had proposed that as well.
        runs_here: bool,
    },
}

/// Output of [`crate::node::Node::step`].
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Bring this transition into the store and say what became of it. Guarded by the node's own key for `Steal` and `Finish`, by
    /// the absence of the lost node's key for `Lose`.
    Propose {
        /// The task.
        task: TaskId,
        /// The transition.
        transition: Transition,
    },
    /// Advance the cluster's clock, unless somebody has since it was seen. Nothing is answered: the view shows what came of it.
    Advance {
        /// What it is to show.
        to: Tick,
        /// The revision that last wrote it; 0 where it was never written.
        after: i64,
        /// Locks that are over with that step, as the view has them: removed with it.
        over: Vec<(Lockable, i64)>,
    },
    /// Write that this node keeps room for a task of several nodes, and answer with [`Event::Offered`] or [`Event::OfferGone`]. Guarded by the
    /// identity's own key and by the task's being queued still.
    Offer {
        /// Which task.
        task: TaskId,
        /// Which attempt of it.
        attempt: u32,
        /// What is kept.
        amount: Amount,
        /// The revision that created its queue key.
        created: i64,
        /// The identity that keeps it.
        node: NodeId,
    },
    /// Take an offer back. Answered by the view when there was one; else with [`Event::OfferGone`], unless the task has started here.
    Withdraw {
        /// Which.
        task: TaskId,
        /// The identity that offered.
        node: NodeId,
    },
    /// Read the task's record and answer with [`Event::Claimed`].
    Claim(TaskId),
    /// Start the attempt of this task.
    Start(Box<Task>),
    /// End the attempt: SIGTERM, then SIGKILL after the grace.
    Stop {
        /// Which.
        attempt: AttemptId,
        /// From SIGTERM to SIGKILL; 0 is SIGKILL at once.
        grace_ms: u64,
    },
    /// The attempt's end is recorded: the runner may forget it.
    Release(AttemptId),
    /// Let everybody see why this node takes no tasks; empty once it takes them again.
    Unfit(String),
    /// Let everybody see that this node has seen the lock on it that this revision wrote, and that nothing more will start here while it holds.
    LockSeen(i64),
    /// This identity is lost: kill every container, then register anew.
    Fence(NodeId),
    /// Send [`Event::Tick`] at this time.
    WakeAt(BootMs),
}
