//! A node that somebody has locked says so in its own entry once it has seen the lock and has no start under way that began before: from then on nothing new
//! starts there, so whoever waits for it to be empty need only wait for what runs ([`crate::drain`]).

use super::{Node, Phase};
use crate::event::Action;
use crate::id::NodeId;

/// The lock that was said to be seen, by its revision.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LockSeen(Option<i64>);

impl Node {
    /// Once for each lock. Before it, everything that was asked for without knowing of the lock is decided.
    pub(super) fn say_lock_seen(&mut self, me: NodeId, actions: &mut Vec<Action>) {
        let Some(lock) = self.view.nodes().get(&me).and_then(|peer| self.view.lock_revision_on(peer)) else {
            return;
        };
        let is_open = |phase: Phase| phase == Phase::Stealing || phase.is_offer();
        if self.lock_seen.0 != Some(lock) && !self.local.values().any(|local| is_open(local.phase)) {
            self.lock_seen.0 = Some(lock);
            actions.push(Action::LockSeen(lock));
        }
    }
}
