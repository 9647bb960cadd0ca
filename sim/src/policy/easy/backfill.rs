//! What starts now under EASY: greedily in order; the first job that cannot start gets a reservation, and backfill goes around it.
//!
//! Of a pool of nodes that are all alike, so a reservation is of a number of them. (Shoal's, of nodes that differ, is `core/src/plan/reserve.rs`.)
//! Invariant: what is started moves the reservation to no later time, as long as nothing runs longer than its limit.

use super::profile::Profile;
use crate::queue::{Queue, Rank, Waiting};

/// What there is to fill.
#[derive(Clone, Debug)]
pub struct Room<E> {
    /// Now.
    pub now_ms: u64,
    /// Nodes that jobs may take now; those kept for people are not among them.
    pub free: u32,
    /// Latest ends of what runs, with the nodes each frees; the soonest first.
    pub ends: E,
}

/// A promise: not later than this, if what runs keeps to its limits and nobody comes before it in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// For whom.
    pub job: Waiting,
    /// When it can start.
    pub start_ms: u64,
}

/// What starts now, and for whom nodes are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In order of decision.
    pub starts: Vec<(Rank, Waiting)>,
    /// Of the first that could not start.
    pub reservation: Option<Reservation>,
}

/// Plans; the queue is not changed. A job that is wider than the pool ever is gets no reservation and stops nobody.
pub fn plan<E: Iterator<Item = (u64, u32)>>(queue: &Queue, room: Room<E>) -> Plan {
    let mut plan = Plan::default();
    let mut free = room.free;
    let mut waiting = queue.iter().peekable();
    // In order, as long as the next fits: that needs no look into the future.
    while let Some((rank, job)) = waiting.next_if(|(_, job)| job.nodes <= free) {
        free -= job.nodes;
        plan.starts.push((rank, job));
    }
    if free == 0 || waiting.peek().is_none() {
        return plan;
    }
    let mut profile = Profile::new(room.now_ms, room.free, room.ends);
    for (_, job) in &plan.starts {
        profile.take(room.now_ms, job.limit_ms, job.nodes);
    }
    let mut start = |profile: &mut Profile, free: &mut u32, (rank, job): (Rank, Waiting)| {
        profile.take(room.now_ms, job.limit_ms, job.nodes);
        *free -= job.nodes;
        plan.starts.push((rank, job));
    };
    // Still in order: the first that cannot start gets the reservation.
    let mut after = None;
    for (rank, job) in waiting {
        after = Some(rank);
        match profile.soonest(job.nodes, job.limit_ms) {
            Some(start_ms) if start_ms == room.now_ms => start(&mut profile, &mut free, (rank, job)),
            Some(start_ms) => {
                profile.take(start_ms, job.limit_ms, job.nodes);
                plan.reservation = Some(Reservation { job, start_ms });
                break;
            }
            None => {}
        }
    }
    // Backfill: the first, in order, that is in nobody's way.
    while free > 0
        && let Some(found) = queue.first_fitting(after, free, |nodes| profile.window_ms(nodes))
    {
        after = Some(found.0);
        start(&mut profile, &mut free, found);
    }
    plan
}
