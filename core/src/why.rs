//! Why a task waits: what the plan found, node by node, in words.

use crate::entry::NodeState;
use crate::features::Features;
use crate::id::TaskId;
use crate::lock::{LockEntry, Lockable};
use crate::time::BootMs;
use crate::view::{Peer, Queued, Shape, View};

/// The answer for a queued task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// One sentence.
    pub summary: String,
    /// Queued tasks before it.
    pub ahead: u64,
    /// Each live node's name and what keeps the task from it.
    pub nodes: Vec<(String, String)>,
}

/// Explains why `task` waits; `None` when it is not queued.
pub fn why(view: &View, task: TaskId, now: BootMs) -> Option<Waiting> {
    let queued = view.queued(task)?;
    let shape = queued.shape();
    let ahead = view.all_queued().filter(|other| other.order < queued.order).count() as u64;
    let nodes: Vec<(String, String)> = view
        .nodes()
        .iter()
        .map(|(id, peer)| {
            let has_room = view.free_on(*id).fits(&shape.resources);
            (peer.entry.name.clone(), against(peer, view.lock_on(peer), &shape, has_room))
        })
        .collect();
    Some(Waiting { summary: summary(view, queued, &shape, ahead, now), ahead, nodes })
}

fn against(peer: &Peer, lock: Option<&LockEntry>, shape: &Shape, has_room: bool) -> String {
    let entry = &peer.entry;
    if let Some(lock) = lock {
        format!("{} {lock}", if lock.until.is_some() { "locked" } else { "drained" })
    } else if entry.state == NodeState::Draining {
        match entry.reason.as_str() {
            "" => "draining: takes no tasks".to_owned(),
            reason => format!("takes no tasks: {reason}"),
        }
    } else if !entry.has_root(&shape.root) {
        format!("has no root \"{}\"", shape.root)
    } else if let Some(lack) = entry.offers.lacks(&shape.needs).next() {
        lack.to_string()
    } else if !entry.resources.fits(&shape.resources) {
        format!("too small: offers {} in all", entry.resources)
    } else if !has_room {
        "full: waits for a task there to end".to_owned()
    } else {
        "has room".to_owned()
    }
}

fn summary(view: &View, queued: &Queued, shape: &Shape, ahead: u64, now: BootMs) -> String {
    let able = view.nodes().iter().filter(|(_, peer)| peer.could_hold(shape));
    let unlocked = able.clone().filter(|(_, peer)| view.lock_on(peer).is_none());
    let with_room = unlocked.clone().filter(|(id, _)| view.free_on(**id).fits(&shape.resources)).count();
    if queued.ripe_at() > now {
        let left = queued.ripe_at().since(now);
        return format!("attempt {} waits {left} ms more after the last one was lost", queued.entry.attempt);
    }
    if queued.entry.held {
        return "somebody holds it: it starts once it is released (shoal release)".to_owned();
    }
    if let Some(lock) = view.lock(&Lockable::Queue) {
        return format!("the queue is paused {lock}");
    }
    match (able.count(), with_room) {
        (0, _) => nobody_holds(view, shape),
        _ if unlocked.clone().next().is_none() => {
            "every node that could hold it is locked or drained".to_owned()
        }
        (_, 0) => format!("every node that could hold it is full; {ahead} queued before it"),
        _ => "next in line: a node is about to take it".to_owned(),
    }
}

fn nobody_holds(view: &View, shape: &Shape) -> String {
    let offered = Features::of_any(view.nodes().values().map(|peer| &peer.entry.offers));
    match offered.lacks(&shape.needs).next() {
        Some(lack) if !view.nodes().is_empty() => format!("it can start nowhere: {}", lack.nowhere()),
        Some(_) | None => {
            let mut needs = vec![shape.resources.to_string(), format!("root {:?}", shape.root)];
            needs.extend(shape.needs.has.iter().cloned());
            needs.extend(shape.needs.up_to.iter().map(|(what, asked)| format!("{asked} {what}")));
            let last = needs.pop().unwrap_or_default();
            format!("no live node can ever hold it: it needs {} and {last}", needs.join(", "))
        }
    }
}
