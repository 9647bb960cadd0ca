//! Advancing the cluster's clock ([`crate::clock`]): who does it when.

use super::Node;
use crate::clock::TICK_S;
use crate::event::Action;
use crate::id::NodeId;
use crate::rendezvous::rank;
use crate::time::BootMs;
use uuid::Uuid;

/// Each next node in rank waits so much longer.
const STAGGER_MS: u64 = 500;
/// But no longer than this: of many nodes the last ones may try together.
const STAGGER_MS_MAX: u64 = 5_000;
/// A step that was proposed and is not seen after this is proposed again.
const RETRY_MS: u64 = 5_000;

/// Locks that are removed with one step: each takes a compare and an operation of its transaction, which may have 128.
const LOCKS_MAX: usize = 50;

/// Where the clock stood when this node last saw it move.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Advance {
    /// The revision that last wrote it, and when this node saw that.
    seen: Option<(i64, BootMs)>,
    /// When a step was proposed on top of it.
    proposed: Option<BootMs>,
}

impl Advance {
    fn due_at(&self, rank: u64) -> Option<BootMs> {
        let (_, seen) = self.seen?;
        let first = seen.plus(TICK_S * 1_000 + (rank * STAGGER_MS).min(STAGGER_MS_MAX));
        Some(self.proposed.map_or(first, |at| first.max(at.plus(RETRY_MS))))
    }
}

impl Node {
    /// Proposes the next step when it is this node's turn; when to look again.
    pub(super) fn advance_clock(
        &mut self,
        me: NodeId,
        now: BootMs,
        actions: &mut Vec<Action>,
    ) -> Option<BootMs> {
        let (tick, revision) = self.view.clock();
        if self.advance.seen.is_none_or(|(seen, _)| seen != revision) {
            self.advance = Advance { seen: Some((revision, now)), proposed: None };
        }
        let subject = Uuid::from_u64_pair(0, tick.0);
        let rank = rank(subject, me, self.view.nodes().keys().copied()) as u64;
        let due_at = self.advance.due_at(rank)?;
        if due_at > now {
            return Some(due_at);
        }
        self.advance.proposed = Some(now);
        let to = tick.next();
        let over = self.view.over_at(to).take(LOCKS_MAX).map(|(what, revision)| (what.clone(), revision));
        actions.push(Action::Advance { to, after: revision, over: over.collect() });
        self.advance.due_at(rank)
    }
}
