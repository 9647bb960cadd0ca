//! Starting a task of several nodes: all of its nodes have room now, or it does not start.

use super::Gathering;
use super::assign::assign;
use super::desk::{Desk, Place};
use super::walk::Stream;
use crate::id::TaskId;
use crate::shape::Shape;
use crate::view::Able;

/// Places it if all of its nodes have room; whether it did.
pub(super) fn start(desk: &mut Desk<'_>, task: TaskId, stream: &Stream<'_>) -> bool {
    let shape = &stream.line.shape;
    let mut candidates: Vec<Vec<Place>> = Vec::new();
    for (part, able) in shape.parts.iter().zip(&stream.line.able) {
        let roomy = roomy(desk, task, shape, able);
        // Under a backlog mostly so: then nothing needs to be sorted.
        if roomy.len() < part.nodes as usize {
            return false;
        }
        candidates.push(in_order(desk, task, shape, roomy));
    }
    let Some(places) = assign(&shape.parts, &candidates) else { return false };
    for place in &places {
        desk.take(*place, task, shape);
    }
    let nodes = places.iter().map(|place| desk.node(*place)).collect();
    desk.plan.gangs.push(Gathering { task, nodes });
    true
}

/// Those that have room for this task, or keep it already.
fn roomy(desk: &Desk<'_>, task: TaskId, shape: &Shape, able: &Able) -> Vec<Place> {
    let mut places: Vec<Place> = desk.places(able, shape).collect();
    if let Some(offers) = desk.offers_to(task) {
        let fits = |place: &Place| {
            let amount = desk.amount(*place, shape);
            let room = desk.room_for(*place, task);
            able.contains(*place)
                && room.is_some_and(|room| room.fits(amount))
                && desk.leaves_kept(*place, amount, shape.limit)
        };
        places.extend(offers.filter(fits));
        places.sort_unstable();
        places.dedup();
    }
    places
}

/// First who keeps room already, so that a plan stands once it is begun; then where it fits best.
fn in_order(desk: &Desk<'_>, task: TaskId, shape: &Shape, places: Vec<Place>) -> Vec<Place> {
    let key = |place: Place| {
        let room = desk.room_for(place, task).unwrap_or_default();
        let has_offered = desk.offer(place, task).is_some();
        ((!has_offered, desk.fit(place, task, desk.amount(place, shape), &room)), place)
    };
    let mut keyed: Vec<_> = places.into_iter().map(key).collect();
    keyed.sort_by(|(one, _), (other, _)| one.cmp(other));
    keyed.into_iter().map(|(_, place)| place).collect()
}
