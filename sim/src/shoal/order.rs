//! Who is first: the urgent band, then all others; inside of a band by a *virtual submit time*.
//!
//! v = submit - priority × `ms_per_point` + charge. A point of priority is worth a fixed time of waiting: that is linear aging, but static,
//! because all who wait age alike: nothing is sorted anew, no clock is read, every node sorts alike. The urgent are a band of their
//! own, so aging never reaches them (naive aging was simulated to wreck urgent latency: reference/teuthology.md §3).
//!
//! The charge puts cheap jobs before dear ones (Smith's rule: what takes least goes first), with bounds that keep it fair:
//! it is capped, so nobody falls behind more than `charge_ms_max`; wide jobs pay a flat charge, since they need their nodes at once and would
//! else always be last; the longest pay none, since what is started last decides when all is done. The urgent pay for their
//! nodes alone, and little: the wide ones of a run let the narrow ones pass that would else stand behind their reservation.
//!
//! Invariant: a job is overtaken only by the urgent, and by what was submitted at most its charge plus the other's additional points' worth later.

use crate::job::{HOUR_MS, Job, URGENT};
use crate::queue::Rank;

/// What the order can be set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// From this priority on a job is urgent.
    pub urgent: i32,
    /// Milliseconds of waiting that one point of priority is worth.
    pub ms_per_point: i64,
    /// Hours of waiting that an hour of one node costs.
    pub charge_per_node_hour: u64,
    /// What every node above two adds to a job's cost, in node-milliseconds: more nodes are harder to find at once.
    pub node_ms_extra: u64,
    /// No charge is higher.
    pub charge_ms_max: u64,
    /// From this many nodes on a job is wide, and pays `wide_charge_ms` whatever it takes.
    pub wide_nodes: u32,
    /// What a wide job pays.
    pub wide_charge_ms: u64,
    /// What is believed to take so long pays nothing.
    pub long_ms: u64,
    /// What an urgent job pays for each of its nodes, and nothing else.
    pub urgent_charge_ms_per_node: u64,
}

impl Default for Params {
    /// Found by simulation: docs/scheduling.md says what each was tried against.
    fn default() -> Params {
        Params {
            urgent: URGENT,
            ms_per_point: 60_000,
            charge_per_node_hour: 3,
            node_ms_extra: 3 * HOUR_MS / 2,
            charge_ms_max: 15 * HOUR_MS,
            wide_nodes: 9,
            wide_charge_ms: 5 * HOUR_MS,
            long_ms: 5 * HOUR_MS,
            urgent_charge_ms_per_node: 60_000,
        }
    }
}

impl Params {
    /// Without charges: priority and submission alone.
    pub fn without_charge() -> Params {
        Params { charge_ms_max: 0, wide_charge_ms: 0, urgent_charge_ms_per_node: 0, ..Params::default() }
    }
}

/// The job's place.
pub fn rank(job: &Job, params: &Params) -> Rank {
    let points_ms = i64::from(job.priority).saturating_mul(params.ms_per_point);
    let value =
        signed(job.arrival_ms).saturating_sub(points_ms).saturating_add(signed(charge_ms(job, params)));
    Rank { band: u8::from(job.priority < params.urgent), value, id: job.id }
}

/// How far behind its submission a job is put for what it costs.
fn charge_ms(job: &Job, params: &Params) -> u64 {
    if job.priority >= params.urgent {
        return params.urgent_charge_ms_per_node.saturating_mul(job.nodes.into());
    }
    if job.estimate_ms >= params.long_ms {
        return 0;
    }
    if job.nodes >= params.wide_nodes {
        return params.wide_charge_ms;
    }
    let used = job.estimate_ms.saturating_mul(job.nodes.into());
    let extra = params.node_ms_extra.saturating_mul(job.nodes.saturating_sub(2).into());
    used.saturating_add(extra).saturating_mul(params.charge_per_node_hour).min(params.charge_ms_max)
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: u32, arrival_ms: u64, priority: i32, nodes: u32, estimate_ms: u64) -> Job {
        Job { id, arrival_ms, priority, nodes, service_ms: estimate_ms, estimate_ms, limit_ms: estimate_ms }
    }

    fn first_of(jobs: &[Job], params: &Params) -> u32 {
        jobs.iter().min_by_key(|job| rank(job, params)).map(|job| job.id).unwrap()
    }

    #[test]
    fn urgent_is_first_however_long_others_have_waited() {
        let old = job(0, 0, URGENT - 1, 1, 1);
        let urgent = job(1, 1_000 * HOUR_MS, URGENT, 51, HOUR_MS);
        assert_eq!(first_of(&[old, urgent], &Params::default()), 1);
    }

    #[test]
    fn a_point_is_worth_a_minute_of_waiting() {
        let params = Params::without_charge();
        let old = job(0, 0, 0, 1, 1);
        assert_eq!(first_of(&[old, job(1, 99 * 60_000, 100, 1, 1)], &params), 1);
        assert_eq!(first_of(&[old, job(1, 101 * 60_000, 100, 1, 1)], &params), 0);
    }

    #[test]
    fn equal_jobs_are_in_order_of_submission() {
        assert_eq!(first_of(&[job(1, 5, 0, 1, 1), job(0, 5, 0, 1, 1)], &Params::default()), 0);
    }

    #[test]
    fn cheap_before_dear_but_never_by_more_than_the_cap() {
        let params = Params::default();
        let dear = job(0, 0, 0, 8, 4 * HOUR_MS);
        assert_eq!(first_of(&[dear, job(1, HOUR_MS, 0, 1, HOUR_MS)], &params), 1);
        assert_eq!(first_of(&[dear, job(1, params.charge_ms_max + 1, 0, 1, 0)], &params), 0);
    }

    #[test]
    fn wide_jobs_pay_the_same_and_the_longest_nothing() {
        let params = Params::default();
        assert_eq!(
            charge_ms(&job(0, 0, 0, 9, 1), &params),
            charge_ms(&job(0, 0, 0, 51, 4 * HOUR_MS), &params)
        );
        assert_eq!(charge_ms(&job(0, 0, 0, 2, 5 * HOUR_MS), &params), 0);
    }
}
