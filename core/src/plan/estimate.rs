//! When a queued task probably starts: the queue before it played forward, strictly in order, with the durations that were learned.
//!
//! For people, not for decisions. It knows of nothing that comes later (an urgent task), and of no backfill (which starts small tasks sooner); where a
//! duration is not known it takes the usual one and says so. Bounded: a question about a far end of a long queue has no answer instead of a slow one.

use super::assign::assign;
use super::desk::{Desk, Place};
use super::{Exclusions, Free};
use crate::amount::Amount;
use crate::clock::Tick;
use crate::id::TaskId;
use crate::shape::Shape;
use crate::view::{Line, Order, View};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// No further back in the queue.
const AHEAD_MAX: usize = 2_000;
/// Looks at a node: some milliseconds.
const LOOKS_MAX: usize = 200_000;
/// What is taken for a duration that is not known.
const USUAL_S: u64 = 600;

/// A guess at a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guess {
    /// Seconds from now.
    pub seconds: u64,
    /// Whether the durations of some tasks before it are not known.
    pub is_rough: bool,
}

/// What a task probably takes, and whether that is only the usual.
fn takes(expected_s: u32, limit_s: Option<u64>) -> (u64, bool) {
    let within = |seconds: u64| limit_s.map_or(seconds, |limit| seconds.min(limit));
    if expected_s > 0 { (within(expected_s.into()), false) } else { (within(USUAL_S), true) }
}

/// How much longer what runs since `start` probably takes.
fn rest(now: Tick, start: Tick, takes_s: u64) -> u64 {
    let elapsed = now.seconds_since(start);
    // What takes longer than was thought takes, as far as anybody knows, some longer still.
    takes_s.checked_sub(elapsed).filter(|rest| *rest > 0).unwrap_or(elapsed / 4)
}

/// When this task probably starts; `None` where it cannot be said.
pub fn start_of(view: &View, task: TaskId) -> Option<Guess> {
    let queued = view.queued(task).filter(|_| view.is_settled())?;
    let last = queued.order(task);
    let free = Free::of(view);
    let mut play = Play::new(view, Desk::new(view, &free, &Exclusions::default()));
    let ahead = |line: &Line| line.orders.range(..last).take(AHEAD_MAX + 1).count();
    if view.lines().map(ahead).sum::<usize>() > AHEAD_MAX {
        return None;
    }
    let before = view.lines().flat_map(|line| line.orders.range(..last).map(move |order| (*order, line)));
    let own = view.lines().find(|line| line.orders.contains(&last))?;
    let mut all: Vec<(Order, &Line)> = before.chain([(last, own)]).collect();
    all.sort_by_key(|(order, _)| *order);
    for (order, line) in all {
        let at = play.start(order.task, line);
        if order.task == task {
            return at.map(|seconds| Guess { seconds, is_rough: play.is_rough });
        }
        if play.looks > LOOKS_MAX {
            return None;
        }
    }
    None
}

/// The cluster, some time from now.
struct Play<'v> {
    view: &'v View,
    desk: Desk<'v>,
    rooms: Vec<Option<Amount>>,
    /// What ends when, where, and what comes free.
    ends: BinaryHeap<Reverse<(u64, Place, Amount)>>,
    at_s: u64,
    is_rough: bool,
    looks: usize,
}

impl<'v> Play<'v> {
    fn new(view: &'v View, desk: Desk<'v>) -> Play<'v> {
        let places = 0..view.fleet().len() as Place;
        let rooms = places.clone().map(|place| desk.room(place).cloned()).collect();
        let mut play =
            Play { view, desk, rooms, ends: BinaryHeap::new(), at_s: 0, is_rough: false, looks: 0 };
        for place in places {
            for (_, run) in view.running_on(play.desk.node(place)) {
                let (takes_s, is_usual) =
                    takes(run.expected_s, (run.limit_s > 0).then_some(run.limit_s.into()));
                let amount = match run.exclusive {
                    true => play.desk.total(place).clone(),
                    false => Amount { resources: run.resources, counts: run.counts.clone() },
                };
                play.is_rough |= is_usual;
                play.ends.push(Reverse((rest(play.desk.now, run.tick, takes_s), place, amount)));
            }
        }
        play
    }

    /// Lets time pass until it starts; when that is, `None` if never.
    fn start(&mut self, task: TaskId, line: &Line) -> Option<u64> {
        let shape = &line.shape;
        loop {
            if let Some(places) = self.places(line) {
                let expected_s = self.view.queued(task).map_or(0, |queued| queued.expected_s);
                let (takes_s, is_usual) = takes(expected_s, shape.limit.upper_s());
                for place in places {
                    let amount = self.desk.amount(place, shape).clone();
                    let room = self.rooms[place as usize].take();
                    self.rooms[place as usize] = room.map(|room| room.minus(&amount));
                    self.ends.push(Reverse((self.at_s + takes_s, place, amount)));
                }
                let now = self.at_s;
                self.is_rough |= is_usual;
                return Some(now);
            }
            if self.looks > LOOKS_MAX || !self.could_ever(line) {
                return None;
            }
            let Reverse((at, place, back)) = self.ends.pop()?;
            self.at_s = self.at_s.max(at);
            let room = self.rooms[place as usize].take();
            self.rooms[place as usize] = room.map(|room| room.plus(&back));
        }
    }

    fn places(&mut self, line: &Line) -> Option<Vec<Place>> {
        let shape: &Shape = &line.shape;
        let has_room = |place: &Place| {
            let room = self.rooms[*place as usize].as_ref();
            room.is_some_and(|room| room.fits(self.desk.amount(*place, shape)))
        };
        let wanted = shape.nodes() as usize;
        self.looks += line.able.iter().map(|able| able.places.len()).sum::<usize>();
        if !shape.is_gang() {
            return line.able[0].places.iter().copied().find(has_room).map(|place| vec![place]);
        }
        let roomy = line.able.iter().map(|able| able.places.iter().copied().filter(has_room).collect());
        let roomy: Vec<Vec<Place>> = roomy.collect();
        if roomy.iter().map(Vec::len).sum::<usize>() < wanted { None } else { assign(&shape.parts, &roomy) }
    }

    fn could_ever(&self, line: &Line) -> bool {
        let open = |place: &Place| self.rooms[*place as usize].is_some();
        let able = line.able.iter().map(|able| able.places.iter().copied().filter(open).collect());
        assign(&line.shape.parts, &able.collect::<Vec<_>>()).is_some()
    }
}
