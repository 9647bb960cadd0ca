//! Whether a locked node is empty, and stays so: it has seen the lock with nothing under way ([`crate::entry::NodeEntry::lock_seen`]), and nothing runs there.

use crate::lock::Lockable;
use crate::view::{Peer, View};

/// How far a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// Nothing keeps it from taking tasks.
    Open,
    /// Something may run there.
    Busy {
        /// What the store says that runs there.
        running: u64,
        /// It has seen the lock: nothing more will start.
        has_seen: bool,
    },
    /// Nothing runs there, and nothing will start while it is locked.
    Empty,
}

/// How far the node of this name is.
///
/// Of one that is not live nobody knows the identity that it had, so it is empty when no lost node has anything any more: then all that ran on any of them is
/// dead, and nothing starts under an identity that is gone.
pub fn of(view: &View, name: &str) -> Drain {
    if view.lock(&Lockable::Node(name.to_owned())).is_none() {
        return Drain::Open;
    }
    let live: Vec<_> = view.nodes().iter().filter(|(_, peer)| peer.entry.name == name).collect();
    let has_seen =
        |peer: &Peer| peer.entry.lock_seen.is_some() && peer.entry.lock_seen == view.lock_revision_on(peer);
    let has_seen = live.iter().all(|(_, peer)| has_seen(peer));
    let running: usize = match live.as_slice() {
        [] => view.lost_nodes().map(|node| view.running_len(node)).sum(),
        live => live.iter().map(|(node, _)| view.running_len(**node)).sum(),
    };
    if has_seen && running == 0 { Drain::Empty } else { Drain::Busy { running: running as u64, has_seen } }
}
