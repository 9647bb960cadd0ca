//! What is being planned: rooms that shrink as tasks are placed, and what is kept for whom.

use super::reserve::Kept;
use super::{Exclusions, Free, Own, Plan};
use crate::amount::Amount;
use crate::clock::Tick;
use crate::id::{NodeId, TaskId};
use crate::limit::LimitClass;
use crate::rendezvous::weight;
use crate::shape::Shape;
use crate::view::{Able, Peer, View};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// A place in the list of nodes.
pub(super) type Place = u32;

/// The state of a plan that is being made.
pub(super) struct Desk<'v> {
    pub(super) view: &'v View,
    own: Option<&'v (NodeId, Own)>,
    peers: Vec<&'v Peer>,
    rooms: Vec<Option<Amount>>,
    /// Places that may have room for something: under a backlog few, and most questions are about them alone.
    roomy: Vec<Place>,
    /// What this plan has placed so far: where, how much, until when at most.
    placed: Vec<(Place, Amount, Option<Tick>)>,
    pub(super) kept: Option<Kept>,
    pub(super) now: Tick,
    pub(super) plan: Plan,
}

fn has_some(room: &Amount) -> bool {
    room.resources.cpu_milli > 0 && room.resources.memory_bytes > 0
}

impl<'v> Desk<'v> {
    pub(super) fn new(view: &'v View, free: &'v Free, exclude: &Exclusions) -> Desk<'v> {
        let mut rooms = free.rooms.clone();
        for node in &exclude.nodes {
            if let Some(room) = view.fleet().binary_search(node).ok().and_then(|place| rooms.get_mut(place)) {
                *room = None;
            }
        }
        let peers: Vec<&Peer> = view.nodes().values().collect();
        let roomy = (0..).zip(&rooms).filter(|(_, room)| room.as_ref().is_some_and(has_some));
        let roomy = roomy.map(|(place, _)| place).collect();
        let (now, _) = view.clock();
        let own = free.own.as_ref();
        Desk { view, own, peers, rooms, roomy, placed: Vec::new(), kept: None, now, plan: Plan::default() }
    }

    pub(super) fn node(&self, place: Place) -> NodeId {
        self.view.fleet()[place as usize]
    }

    /// What a task of this shape takes there.
    pub(super) fn amount<'a>(&'a self, place: Place, shape: &'a Shape) -> &'a Amount {
        shape.amount_on(self.peers[place as usize])
    }

    /// All that the node there has.
    pub(super) fn total(&self, place: Place) -> &'v Amount {
        &self.peers[place as usize].amount
    }

    pub(super) fn room(&self, place: Place) -> Option<&Amount> {
        self.rooms[place as usize].as_ref()
    }

    /// How many nodes have room for something.
    pub(super) fn roomy(&self) -> usize {
        self.roomy.len()
    }

    /// What is free on these.
    pub(super) fn rooms(&self) -> impl Iterator<Item = &Amount> {
        self.roomy.iter().filter_map(|place| self.room(*place))
    }

    /// What is free on the node that plans.
    pub(super) fn own_room(&self) -> Option<&Amount> {
        let place = self.view.fleet().binary_search(&self.own?.0).ok()?;
        self.rooms[place].as_ref()
    }

    /// Where among these a task of one node may start now.
    pub(super) fn places<'a>(&'a self, able: &'a Able, shape: &'a Shape) -> impl Iterator<Item = Place> + 'a {
        self.roomy.iter().copied().filter(|place| able.contains(*place) && self.may(*place, shape))
    }

    /// Whether a task of one node may start there now: it has room, and what is kept is not touched.
    pub(super) fn may(&self, place: Place, shape: &Shape) -> bool {
        let amount = self.amount(place, shape);
        self.room(place).is_some_and(|room| room.fits(amount)) && self.leaves_kept(place, amount, shape.limit)
    }

    pub(super) fn leaves_kept(&self, place: Place, amount: &Amount, limit: LimitClass) -> bool {
        self.kept.as_ref().is_none_or(|kept| kept.allows(place, amount, limit.end_from(self.now)))
    }

    /// A task of this shape takes its room there; what the node has kept for it was that room already.
    pub(super) fn take(&mut self, place: Place, task: TaskId, shape: &Shape) {
        let (amount, end) = (self.amount(place, shape).clone(), shape.limit.end_from(self.now));
        let room = self.room_for(place, task).map(|room| room.minus(&amount));
        if !room.as_ref().is_some_and(has_some) {
            self.roomy.retain(|roomy| *roomy != place);
        }
        self.rooms[place as usize] = room;
        if let Some(kept) = &mut self.kept {
            kept.take(place, &amount, end);
        }
        self.placed.push((place, amount, end));
    }

    /// What this plan has placed so far, by where.
    pub(super) fn placed(&self) -> BTreeMap<Place, Vec<(&Amount, Option<Tick>)>> {
        let mut by_place: BTreeMap<Place, Vec<_>> = BTreeMap::new();
        for (place, amount, end) in &self.placed {
            by_place.entry(*place).or_default().push((amount, *end));
        }
        by_place
    }

    /// What the node that plans knows of itself, if it is the one there.
    pub(super) fn own(&self, place: Place) -> Option<&'v Own> {
        self.own.filter(|(me, _)| *me == self.node(place)).map(|(_, own)| own)
    }

    /// What the node there keeps for this task, which is taken from everybody's room.
    pub(super) fn offer(&self, place: Place, task: TaskId) -> Option<Amount> {
        let node = self.node(place);
        if let Some(own) = self.own(place) {
            return own.keeps.get(&task).cloned();
        }
        let offer = self.view.offers(task)?.get(&node)?;
        Some(Amount { resources: offer.resources, counts: offer.counts.clone() })
    }

    /// Who keeps room for this task; nothing, where nobody does.
    pub(super) fn offers_to(&self, task: TaskId) -> Option<impl Iterator<Item = Place> + '_> {
        let own = self.own.filter(|(_, own)| own.keeps.contains_key(&task)).map(|(me, _)| *me);
        let others = self.view.offers(task);
        if own.is_none() && others.is_none() {
            return None;
        }
        let nodes = others.into_iter().flat_map(|offers| offers.keys().copied()).chain(own);
        Some(nodes.filter_map(|node| self.view.fleet().binary_search(&node).ok()).map(|place| place as Place))
    }

    /// What is free there for this task.
    pub(super) fn room_for(&self, place: Place, task: TaskId) -> Option<Amount> {
        let room = self.room(place)?;
        Some(self.offer(place, task).map_or_else(|| room.clone(), |offer| room.plus(&offer)))
    }

    /// How well a task fits there: the lower the better. First that no scarce thing lies idle, then that little is left; ties by a hash of both.
    pub(super) fn fit(&self, place: Place, task: TaskId, amount: &Amount, room: &Amount) -> impl Ord + use<> {
        let total = &self.total(place).resources;
        let left = room.resources.minus(&amount.resources);
        let left_of = |(name, count): (&String, &u32)| count.saturating_sub(amount.counts.of(name));
        let idle = room.counts.0.iter().map(left_of).fold(0, u32::saturating_add);
        let share = |left: u64, total: u64| left.saturating_mul(1_000) / total.max(1);
        let shares = share(left.cpu_milli.into(), total.cpu_milli.into())
            + share(left.memory_bytes, total.memory_bytes);
        (idle, shares, Reverse(weight(task.0, self.node(place))), place)
    }
}
