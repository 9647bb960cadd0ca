//! The reservation for the first task that cannot start, and what it forbids: EASY backfill, node by node (Lifka, "The ANL/IBM SP scheduling system", 1995).
//!
//! Invariant: what is placed after a reservation was made does not move its start: it ends before, or leaves the room that is kept. So as long as nothing
//! runs past its limit, the start that the next plan finds is the same or sooner (tests/backfill.rs).

use super::Reservation;
use super::assign::assign;
use super::desk::{Desk, Place};
use super::walk::Stream;
use crate::amount::Amount;
use crate::clock::Tick;
use crate::id::TaskId;
use crate::rendezvous::weight;
use crate::shape::Shape;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// When a node has room: by the cluster's clock, or after something that has no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum When {
    At(Tick),
    NotKnown,
}

/// What the plan has placed, by where.
type Placed<'a> = BTreeMap<Place, Vec<(&'a Amount, Option<Tick>)>>;

/// Nodes that are kept.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    start: When,
    /// For each place, what is free there at the start, and what is kept of it.
    rooms: BTreeMap<Place, (Amount, Amount)>,
}

impl Kept {
    fn is_over(&self, end: Option<Tick>) -> bool {
        match (self.start, end) {
            (When::At(start), Some(end)) => end <= start,
            (When::NotKnown, Some(_)) => true,
            (_, None) => false,
        }
    }

    /// Whether what ends then may start there now.
    pub(super) fn allows(&self, place: Place, amount: &Amount, end: Option<Tick>) -> bool {
        let Some((room, kept)) = self.rooms.get(&place) else { return true };
        self.is_over(end) || room.fits(&amount.plus(kept))
    }

    /// It has started there.
    pub(super) fn take(&mut self, place: Place, amount: &Amount, end: Option<Tick>) {
        let over = self.is_over(end);
        if let Some((room, _)) = self.rooms.get_mut(&place).filter(|_| !over) {
            *room = room.minus(amount);
        }
    }
}

/// Keeps nodes for this task, unless nodes are kept already or there are not enough that could ever be its nodes.
pub(super) fn reserve(desk: &mut Desk<'_>, task: TaskId, stream: &Stream<'_>) {
    if desk.kept.is_some() {
        return;
    }
    let shape = &stream.line.shape;
    let placed = desk.placed();
    let mut found: BTreeMap<Place, When> = BTreeMap::new();
    for place in stream.line.able.iter().flat_map(|able| &able.places) {
        if desk.room(*place).is_some() && !found.contains_key(place) {
            found.insert(*place, when(desk, &placed, *place, task, shape));
        }
    }
    let Some((places, start)) = soonest(desk, task, stream, &found) else { return };
    let rooms = places.iter().map(|place| {
        let kept = desk.amount(*place, shape).clone();
        (*place, (room_at(desk, &placed, *place, task, start), kept))
    });
    desk.kept = Some(Kept { start, rooms: rooms.collect() });
    let start = match start {
        When::At(tick) => Some(tick),
        When::NotKnown => None,
    };
    let nodes = places.iter().map(|place| desk.node(*place)).collect();
    desk.plan.reservation = Some(Reservation { task, nodes, start });
}

/// The assignment that can start soonest.
fn soonest(
    desk: &Desk<'_>,
    task: TaskId,
    stream: &Stream<'_>,
    found: &BTreeMap<Place, When>,
) -> Option<(Vec<Place>, When)> {
    let mut times: Vec<When> = found.values().copied().collect();
    times.sort_unstable();
    times.dedup();
    let by = |limit: When| {
        let candidates = stream.line.able.iter().map(|able| {
            let in_time = |place: &Place| found.get(place).filter(|at| **at <= limit).map(|at| (*at, *place));
            let mut able: Vec<(When, Place)> = able.places.iter().filter_map(in_time).collect();
            able.sort_by_key(|(at, place)| (*at, Reverse(weight(task.0, desk.node(*place)))));
            // Of more than it takes, those that come free last are kept: what is free now is left to others. Without a time for its start, the first.
            if limit != When::NotKnown {
                able.reverse();
            }
            able.into_iter().map(|(_, place)| place).collect()
        });
        assign(&stream.line.shape.parts, &candidates.collect::<Vec<_>>())
    };
    let first = times.partition_point(|limit| by(*limit).is_none());
    let limit = times.get(first)?;
    let places = by(*limit)?;
    let start = places.iter().filter_map(|place| found.get(place)).max().copied().unwrap_or(*limit);
    Some((places, start))
}

/// What runs there, as the store says.
fn running<'a>(desk: &'a Desk<'_>, place: Place) -> impl Iterator<Item = (Option<Tick>, Amount)> + 'a {
    desk.view.running_on(desk.node(place)).map(move |(_, entry)| {
        let amount = match entry.exclusive {
            true => desk.total(place).clone(),
            false => Amount { resources: entry.resources, counts: entry.counts.clone() },
        };
        (entry.end(), amount)
    })
}

/// What runs there, or was just placed there, and until when; the soonest end first.
fn ends(desk: &Desk<'_>, placed: &Placed<'_>, place: Place) -> Vec<(When, Amount)> {
    let when = |end: Option<Tick>| match end {
        // What is past its limit is about to end.
        Some(end) => When::At(end.max(desk.now.next())),
        None => When::NotKnown,
    };
    let mut all: Vec<_> = match desk.own(place) {
        // What it has begun to take is not in the store yet. (What it keeps has no end: who waits for that waits for another task's start.)
        Some(own) => own.held.iter().map(|(amount, end)| (when(*end), amount.clone())).collect(),
        None => running(desk, place).map(|(end, amount)| (when(end), amount)).collect(),
    };
    let placed = placed.get(&place).into_iter().flatten();
    all.extend(placed.map(|(amount, end)| (when(*end), (*amount).clone())));
    all.sort_by_key(|(end, _)| *end);
    all
}

/// When a task of this shape has room there.
fn when(desk: &Desk<'_>, placed: &Placed<'_>, place: Place, task: TaskId, shape: &Shape) -> When {
    let amount = desk.amount(place, shape);
    let mut room = desk.room_for(place, task).unwrap_or_default();
    if room.fits(amount) {
        return When::At(desk.now);
    }
    for (end, back) in ends(desk, placed, place) {
        room = room.plus(&back);
        if room.fits(amount) {
            return end;
        }
    }
    // What else holds it back (another task's offer, this node's own steals) has no end that is known.
    When::NotKnown
}

/// What is free there at that time.
fn room_at(desk: &Desk<'_>, placed: &Placed<'_>, place: Place, task: TaskId, at: When) -> Amount {
    let room = desk.room_for(place, task).unwrap_or_default();
    let over = ends(desk, placed, place).into_iter().filter(|(end, _)| *end <= at);
    let sum = over.fold(room, |room, (_, back)| room.plus(&back));
    // This node knows of ends that the store has not heard of: those would count twice.
    if desk.total(place).fits(&sum) { sum } else { desk.total(place).clone() }
}
