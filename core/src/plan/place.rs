//! Placing tasks of one node of which none need be before another.

use super::Placement;
use super::desk::{Desk, Place};
use super::walk::{Stream, Waiting};
use crate::id::TaskId;
use crate::rendezvous::{pick, weight};
use crate::view::Order;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Among so many at most a node chooses that takes what its owner has no room for.
const CHOICE_MAX: usize = 256;

/// Whether more tasks wait than nodes have room: then nodes must not all want the same.
pub(super) fn is_crowded(desk: &Desk<'_>) -> bool {
    desk.view.ripe_len() > desk.roomy()
}

/// Places what it can; the first for which there is no room.
///
/// What is not placed on its owner goes shape by shape, in order, to where that shape fits best. Which of the alike goes there, of the first as many as there are
/// nodes, is a matter of chance: nodes that have heard different things of each other would else all begin with the first. So the first is passed by about as
/// often as there are nodes, and by nothing that is not its equal.
pub(super) fn place(
    desk: &mut Desk<'_>,
    streams: &mut [Stream<'_>],
    equals: &[Waiting],
    crowded: bool,
) -> Option<Waiting> {
    let mut turns = Vec::new();
    let mut alike: BTreeMap<usize, Vec<Order>> = BTreeMap::new();
    for (order, index) in equals {
        let stream = &streams[*index];
        let owner = pick(order.task.0, &stream.line.able[0].places).copied().filter(|_| crowded);
        match owner {
            Some(owner) if desk.may(owner, &stream.line.shape) => start(desk, order, stream, owner, true),
            Some(_) | None => {
                turns.push((order.task, *index));
                alike.entry(*index).or_default().push(*order);
            }
        }
    }
    let mut left = None;
    for (task, index) in turns {
        let stream = &mut streams[index];
        let Some(waiting) = alike.get_mut(&index).filter(|_| !stream.full) else { continue };
        match best(desk, task, stream) {
            Some(place) => {
                let among = stream.line.able[0].places.len().min(CHOICE_MAX);
                let chosen =
                    if crowded { chance(desk, place, &waiting[..among.min(waiting.len())]) } else { 0 };
                start(desk, &waiting.remove(chosen), stream, place, false);
            }
            None => {
                stream.full = true;
                left = left.into_iter().chain(waiting.first().map(|first| (*first, index))).min();
            }
        }
    }
    left
}

/// Which of these the node there takes, alike for all who know as much: by a hash of the task, the node and the revision, so that no task is unlucky for long.
fn chance(desk: &Desk<'_>, place: Place, among: &[Order]) -> usize {
    let salted = |order: &Order| Uuid::from_u128(order.task.0.as_u128() ^ desk.view.revision as u128);
    let weight = |(_, order): &(usize, &Order)| weight(salted(order), desk.node(place));
    among.iter().enumerate().max_by_key(weight).map_or(0, |(index, _)| index)
}

fn best(desk: &Desk<'_>, task: TaskId, stream: &Stream<'_>) -> Option<Place> {
    let shape = &stream.line.shape;
    let fit =
        |place: Place| Some((desk.fit(place, task, desk.amount(place, shape), desk.room(place)?), place));
    desk.places(&stream.line.able[0], shape)
        .filter_map(fit)
        .min_by(|(one, _), (other, _)| one.cmp(other))
        .map(|(_, place)| place)
}

fn start(desk: &mut Desk<'_>, order: &Order, stream: &Stream<'_>, place: Place, by_owner: bool) {
    desk.take(place, order.task, &stream.line.shape);
    desk.plan.placements.push(Placement { task: order.task, node: desk.node(place), by_owner });
}
