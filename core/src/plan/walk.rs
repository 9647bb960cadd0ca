//! The walk through the queue, group of equals after group of equals, no further than there is anything to fill.

use super::desk::Desk;
use super::{Exclusions, gang, place, reserve};
use crate::amount::Amount;
use crate::batch::MOVES_MAX;
use crate::resources::Resources;
use crate::view::{Line, Order, View};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, btree_set};

/// How many tasks at least are looked at: several times what a small cluster starts at once.
pub const WINDOW_MIN: usize = 256;
/// How many for each node: then hardly any node that has room owns none of them (one in e⁴, which then takes the first of the others').
pub const WINDOW_PER_NODE: usize = 4;
/// So many times the tasks that a node has room for are its own in the mean, since shares differ by chance.
const SPARE: usize = 2;
/// How many at most where nodes have room for more.
const WINDOW_MAX: usize = 16_384;
/// How many tasks of several nodes are started or found not to fit: each may cost a look at all nodes.
const GANGS_MAX: usize = 256;

/// A line of the queue, as far as it has been walked.
pub(super) struct Stream<'v> {
    pub(super) line: &'v Line,
    rest: btree_set::Iter<'v, Order>,
    /// Fits nowhere: its first task may be who is kept for, and no other is looked at.
    is_stuck: bool,
    /// Nothing of it fits anywhere any more.
    pub(super) full: bool,
}

/// A task in the group at hand: its place in the queue and its stream.
pub(super) type Waiting = (Order, usize);

/// What is walked, in order: the head of each stream.
type Heads = BinaryHeap<Reverse<Waiting>>;

/// Which tasks are served together: those of the group of the first, up to the next that somebody has moved. What was moved is served alone, so that
/// its place holds among equals too.
struct Together {
    group: i64,
    /// The only one, if it was moved.
    alone: Option<Order>,
    /// Who comes after all of them, having been moved.
    before: Option<Order>,
}

impl Together {
    fn with(first: Order, view: &View) -> Together {
        let (alone, before) = match view.moved_from(first) {
            Some(moved) if moved == first => (Some(first), None),
            moved => (None, moved),
        };
        Together { group: first.rank.group(), alone, before }
    }

    fn has(&self, order: Order) -> bool {
        let in_bounds = self.alone.is_none_or(|alone| order == alone);
        in_bounds && self.before.is_none_or(|before| order < before) && order.rank.group() == self.group
    }
}

/// All lines but those of which no live node could ever be a part: what is impossible stops nobody.
fn streams<'v>(desk: &Desk<'v>) -> Vec<Stream<'v>> {
    let possible = desk.view.lines().filter(|line| !line.able.iter().any(|able| able.places.is_empty()));
    let stream = |line: &'v Line| {
        let fits = || desk.places(&line.able[0], &line.shape).next().is_some();
        Stream { line, rest: line.orders.iter(), is_stuck: !line.shape.is_gang() && !fits(), full: false }
    };
    possible.map(stream).collect()
}

/// How many tasks of one node are looked at: where all nodes have room for many, as many as they start, up to one transaction each; and so many that
/// this node hardly ever has room for more than are its own. (To others' it would go because it believes those to be full, while they end and start tasks faster than it
/// hears of: both would want the same.)
fn window(desk: &Desk<'_>, streams: &[Stream<'_>]) -> usize {
    let shapes = || streams.iter().map(|stream| &stream.line.shape.amount.resources);
    let least = Resources {
        cpu_milli: shapes().map(|least| least.cpu_milli).min().unwrap_or(0),
        memory_bytes: shapes().map(|least| least.memory_bytes).min().unwrap_or(0),
    };
    let starts = |room: &Amount| room.resources.times(&least).min(MOVES_MAX);
    let nodes = desk.view.fleet().len();
    let all: usize = desk.rooms().map(starts).sum();
    let own = desk.own_room().map_or(0, starts) * nodes * SPARE;
    (WINDOW_PER_NODE * nodes).max(all.max(own).min(WINDOW_MAX)).max(WINDOW_MIN)
}

/// Plans group after group.
pub(super) fn walk(desk: &mut Desk<'_>, exclude: &Exclusions) {
    let mut streams = streams(desk);
    let (mut gangs, mut singles) = (Heads::new(), Heads::new());
    for (index, stream) in streams.iter_mut().enumerate() {
        let heads = if stream.line.shape.is_gang() { &mut gangs } else { &mut singles };
        heads.extend(stream.rest.next().map(|order| Reverse((*order, index))));
    }
    let offered = offered(desk, &streams);
    let mut budget = window(desk, &streams);
    let mut gangs_left = GANGS_MAX;
    let crowded = place::is_crowded(desk);
    let mut tried = BTreeSet::new();
    while let Some(first) = [first(&gangs), first(&singles)].into_iter().flatten().min()
        && budget > 0
    {
        let together = Together::with(first, desk.view);
        while let Some((order, index)) = next_of(&mut gangs, &together) {
            let stream = &mut streams[index];
            if !stream.full {
                gangs.extend(stream.rest.next().map(|next| Reverse((*next, index))));
            }
            let may_fit = !stream.full || desk.view.offers(order.task).is_some();
            let is_new = may_fit && tried.insert(order.task);
            if gangs_left == 0 || !is_new || exclude.tasks.contains(&order.task) {
                continue;
            }
            gangs_left -= 1;
            if !gang::start(desk, order.task, stream) {
                reserve::reserve(desk, order.task, stream);
                if !stream.full {
                    // Those behind it are alike, and fit as little; but for who has been offered room.
                    stream.full = true;
                    let others = offered.iter().filter(|(other, at)| *at == index && *other > order);
                    gangs.extend(others.map(|waiting| Reverse(*waiting)));
                }
            }
        }
        let mut equals = Vec::new();
        while budget > 0
            && let Some((order, index)) = next_of(&mut singles, &together)
        {
            let stream = &mut streams[index];
            let is_excluded = exclude.tasks.contains(&order.task);
            if !stream.full && (!stream.is_stuck || is_excluded) {
                singles.extend(stream.rest.next().map(|next| Reverse((*next, index))));
            }
            if !stream.full && !is_excluded {
                budget -= 1;
                equals.push((order, index));
            }
        }
        place_equals(desk, &mut streams, &equals, crowded);
    }
}

/// The place of the first.
fn first(heads: &Heads) -> Option<Order> {
    heads.peek().map(|Reverse((order, _))| *order)
}

/// Takes the first out, if it is one of these.
fn next_of(heads: &mut Heads, together: &Together) -> Option<Waiting> {
    let first = first(heads)?;
    if together.has(first) { heads.pop().map(|Reverse(waiting)| waiting) } else { None }
}

/// The tasks of several nodes that somebody keeps room for.
fn offered(desk: &Desk<'_>, streams: &[Stream<'_>]) -> Vec<Waiting> {
    let in_queue = |task| Some(desk.view.queued(task)?.order(task));
    let of = |order: Order| Some((order, streams.iter().position(|s| s.line.orders.contains(&order))?));
    desk.view.offered_tasks().filter_map(in_queue).filter_map(of).collect()
}

fn place_equals(desk: &mut Desk<'_>, streams: &mut [Stream<'_>], equals: &[Waiting], crowded: bool) {
    // Of shapes that fit nowhere, the first is who is kept for, before anything else is placed.
    if let Some((order, index)) = first_stuck(desk, streams, equals) {
        reserve::reserve(desk, order.task, &streams[index]);
    }
    if let Some((order, index)) = place::place(desk, streams, equals, crowded) {
        reserve::reserve(desk, order.task, &streams[index]);
    }
}

fn first_stuck(desk: &Desk<'_>, streams: &[Stream<'_>], equals: &[Waiting]) -> Option<Waiting> {
    let mut fits = BTreeMap::new();
    let stuck = |(_, index): &&Waiting| {
        let stream = &streams[*index];
        let mut places = desk.places(&stream.line.able[0], &stream.line.shape);
        stream.is_stuck || !*fits.entry(*index).or_insert_with(|| places.next().is_some())
    };
    if desk.kept.is_some() { None } else { equals.iter().find(stuck).copied() }
}
