//! Placing tasks of one node of which none need be before another.

use super::Placement;
use super::desk::{Desk, Place};
use super::walk::{Stream, Waiting};
use crate::id::TaskId;
use crate::rendezvous::pick;
use crate::view::Order;

/// Whether more tasks wait than nodes have room: then nodes must not all want the same.
pub(super) fn is_crowded(desk: &Desk<'_>) -> bool {
    desk.view.ripe_len() > desk.roomy()
}

/// Places what it can; the first for which there is no room.
pub(super) fn place(
    desk: &mut Desk<'_>,
    streams: &mut [Stream<'_>],
    equals: &[Waiting],
    crowded: bool,
) -> Option<Waiting> {
    let mut rest = Vec::new();
    for (order, index) in equals {
        let stream = &streams[*index];
        let owner = pick(order.task.0, &stream.line.able[0].places).copied().filter(|_| crowded);
        match owner {
            Some(owner) if desk.may(owner, &stream.line.shape) => start(desk, order, stream, owner, true),
            Some(_) | None => rest.push((*order, *index)),
        }
    }
    let mut left = None;
    for (order, index) in rest {
        let stream = &mut streams[index];
        if stream.full {
            continue;
        }
        match best(desk, order.task, stream) {
            Some(place) => start(desk, &order, stream, place, false),
            None => {
                stream.full = true;
                left = left.or(Some((order, index)));
            }
        }
    }
    left
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
