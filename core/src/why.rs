//! Why a task waits: what the plan found, node by node, in words.

use crate::entry::NodeState;
use crate::features::{COUNTS, Features, GANGS};
use crate::id::{NodeId, TaskId};
use crate::lock::{LockEntry, Lockable};
use crate::plan::estimate::{self, Guess};
use crate::plan::{Plan, Reservation};
use crate::reserve::{ReserveEntry, kept_for_people};
use crate::shape::Shape;
use crate::time::BootMs;
use crate::view::{Peer, Queued, View};
use std::collections::BTreeSet;
use std::fmt;

/// The answer for a queued task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// One sentence.
    pub summary: String,
    /// Queued tasks before it.
    pub ahead: u64,
    /// Each live node's name and what keeps the task from it.
    pub nodes: Vec<(String, String)>,
    /// Seconds until it starts at the latest, where nodes are kept for it and what runs there has limits.
    pub latest_s: Option<u64>,
    /// When it probably starts, where that can be said.
    pub guess: Option<Guess>,
}

/// Explains why `task` waits; `None` when it is not queued. `plan` is what this node plans now.
pub fn why(view: &View, plan: &Plan, task: TaskId, now: BootMs) -> Option<Waiting> {
    let queued = view.queued(task)?;
    let place = queued.order(task);
    let ahead = view.all_queued().filter(|(other, queued)| queued.order(*other) < place).count() as u64;
    let kept = plan.reservation.as_ref();
    let shape = view.shape(queued);
    let for_people = kept_for_people(view);
    let against = |(id, peer): (&NodeId, &Peer)| {
        let has_room = view.free_on(*id).fits(shape.amount_on(peer));
        let reserve = view.reserve().filter(|_| for_people.contains(id));
        against(peer, view.lock_on(peer), reserve, shape, has_room)
    };
    let nodes: Vec<(String, String)> = view
        .nodes()
        .iter()
        .map(|(id, peer)| {
            let kept = kept.filter(|kept| kept.nodes.contains(id));
            (peer.entry.name.clone(), against((id, peer)).unwrap_or_else(|| room(kept, task)))
        })
        .collect();
    let ready = view.nodes().iter().filter(|live| against(*live).is_none());
    let reserved = kept.filter(|kept| kept.task == task);
    let (summary, guess) = match summary(view, queued, &for_people, ahead, now) {
        Some(other_reason) => (other_reason, None),
        None => {
            let guess = estimate::start_of(view, task);
            (waits_for_room(view, shape, ready.count(), ahead, reserved, guess), guess)
        }
    };
    let latest_s = reserved.and_then(|kept| kept.start).map(|start| start.seconds_since(view.clock().0));
    Some(Waiting { summary, ahead, nodes, latest_s, guess })
}

/// What keeps a task of this shape from the node; nothing, when it has room.
fn against(
    peer: &Peer,
    lock: Option<&LockEntry>,
    reserve: Option<&ReserveEntry>,
    shape: &Shape,
    has_room: bool,
) -> Option<String> {
    let entry = &peer.entry;
    let lacks = |part: &crate::shape::Part| entry.offers.lacks(&part.needs).next();
    Some(if let Some(lock) = lock {
        format!("{} {lock}", if lock.until.is_some() { "locked" } else { "drained" })
    } else if entry.state == NodeState::Draining {
        match entry.reason.as_str() {
            "" => "draining: takes no tasks".to_owned(),
            reason => format!("takes no tasks: {reason}"),
        }
    } else if let Some(reserve) = reserve {
        format!("kept for people: {reserve}")
    } else if !entry.has_root(&shape.root) {
        format!("has no root \"{}\"", shape.root)
    } else if let Some(lack) = shape.parts.iter().map(lacks).min_by_key(Option::is_some).flatten() {
        lack.to_string()
    } else if let Some((name, asked, there)) = peer.amount.counts.lacking(&shape.amount.counts) {
        format!("too small: has {there} {name}, not {asked}")
    } else if !peer.amount.fits(&shape.amount) {
        format!("too small: offers {} in all", peer.amount)
    } else if !has_room && shape.exclusive {
        "in use: waits for all tasks there to end".to_owned()
    } else if !has_room {
        "full: waits for a task there to end".to_owned()
    } else {
        return None;
    })
}

fn room(kept: Option<&Reservation>, task: TaskId) -> String {
    match kept {
        Some(kept) if kept.task != task => format!("has room, kept for {}", kept.task.short()),
        Some(_) | None => "has room".to_owned(),
    }
}

/// Reasons that have nothing to do with room.
fn summary(
    view: &View,
    queued: &Queued,
    for_people: &BTreeSet<NodeId>,
    ahead: u64,
    now: BootMs,
) -> Option<String> {
    let shape = view.shape(queued);
    let able = view.nodes().iter().filter(|(_, peer)| peer.could_hold(shape));
    let closed = if able.clone().any(|(id, _)| for_people.contains(id)) {
        "locked, drained or kept for people"
    } else {
        "locked or drained"
    };
    let open = able.clone().filter(|(id, peer)| view.lock_on(peer).is_none() && !for_people.contains(id));
    let (able, open, wanted) = (able.count() as u32, open.count() as u32, shape.nodes());
    if queued.ripe_at() > now {
        let left = queued.ripe_at().since(now);
        return Some(format!("attempt {} waits {left} ms more after the last one was lost", queued.attempt));
    }
    if queued.held {
        return Some("somebody holds it: it starts once it is released (shoal release)".to_owned());
    }
    if let Some(lock) = view.lock(&Lockable::Queue) {
        return Some(format!("the queue is paused {lock}"));
    }
    match (able, open) {
        (0, _) => Some(nobody_holds(view, shape)),
        (_, 0) => Some(format!("every node that could hold it is {closed}")),
        (able, _) if able < wanted => {
            Some(format!("it takes {wanted} nodes at once, and only {able} live ones could be among them"))
        }
        (_, open) if open < wanted => {
            let shut = able - open;
            Some(format!(
                "it takes {wanted} nodes at once; of the {able} that could be among them {shut} are {closed}; {ahead} queued before it"
            ))
        }
        _ => None,
    }
}

fn waits_for_room(
    view: &View,
    shape: &Shape,
    ready: usize,
    ahead: u64,
    reserved: Option<&Reservation>,
    guess: Option<Guess>,
) -> String {
    let mut text = match (shape.is_gang(), ready) {
        (false, 0) => format!("every node that could hold it is full; {ahead} queued before it"),
        (false, _) if ahead == 0 || reserved.is_some() => {
            "next in line: a node is about to take it".to_owned()
        }
        (false, _) => format!("{ahead} queued before it"),
        (true, ready) if ready >= shape.nodes() as usize && ahead == 0 => {
            format!("next in line: its {} nodes are about to take it", shape.nodes())
        }
        (true, ready) => {
            format!("it takes {} nodes at once, {ready} have room; {ahead} queued before it", shape.nodes())
        }
    };
    if let Some(reserved) = reserved {
        let name = |node| view.nodes().get(node).map_or("?", |peer| peer.entry.name.as_str());
        let names: Vec<&str> = reserved.nodes.iter().map(name).collect();
        text.push_str(&format!("; kept for it: {}", names.join(", ")));
        match reserved.start {
            Some(start) => {
                let left = start.seconds_since(view.clock().0);
                text.push_str(&format!("; it starts in at most {}", Seconds(left)));
            }
            None => text.push_str("; it waits for tasks without a time limit"),
        }
    }
    // What starts at once needs no guess.
    if let Some(Guess { seconds, is_rough }) = guess.filter(|guess| guess.seconds > 0) {
        text.push_str(&format!("; probably in about {}", Seconds(seconds)));
        if is_rough {
            text.push_str(" (how long some of the tasks before it take is not known)");
        }
    }
    text
}

/// `2 h 5 min`.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 3_600, self.0 % 3_600 / 60) {
            (0, 0) => write!(f, "{} s", self.0),
            (0, minutes) => write!(f, "{minutes} min"),
            (hours, 0) => write!(f, "{hours} h"),
            (hours, minutes) => write!(f, "{hours} h {minutes} min"),
        }
    }
}

fn nobody_holds(view: &View, shape: &Shape) -> String {
    let offered = Features::of_any(view.nodes().values().map(|peer| &peer.entry.offers));
    let needs = Features::of_any(shape.parts.iter().map(|part| &part.needs));
    match offered.lacks(&needs).next() {
        Some(lack) if !view.nodes().is_empty() => format!("it can start nowhere: {}", lack.nowhere()),
        Some(_) | None => {
            let mut all = vec![shape.amount.to_string(), format!("root {:?}", shape.root)];
            // That nodes know of such tasks at all is no news where it is not what is missing.
            let own = [GANGS, COUNTS];
            all.extend(needs.has.iter().filter(|word| !own.contains(&word.as_str())).cloned());
            all.extend(needs.up_to.iter().map(|(what, asked)| format!("{asked} {what}")));
            let last = all.pop().unwrap_or_default();
            let each =
                if shape.is_gang() { format!(" on each of {} nodes", shape.nodes()) } else { String::new() };
            format!("no live node can ever hold it: it needs {} and {last}{each}", all.join(", "))
        }
    }
}
