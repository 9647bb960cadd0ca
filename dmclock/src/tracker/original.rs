//! Delta and rho as the paper has them.

use super::{Totals, Tracker, narrow};
use crate::request::{Cost, Phase, ReqParams};

/// What *other* servers served since the last request to this one (section 3.2 of the paper; there the request itself is counted too, here its cost is added by
/// the server). May be 0.
#[derive(Clone, Copy, Debug)]
pub struct OriginalTracker {
    at_last_request: Totals,
    /// This server's own part of what came since.
    own: Totals,
}

const NOTHING: Totals = Totals { delta: 0, rho: 0 };

impl Tracker for OriginalTracker {
    fn new(totals: Totals) -> OriginalTracker {
        OriginalTracker { at_last_request: totals, own: NOTHING }
    }

    fn prepare(&mut self, totals: Totals) -> ReqParams {
        let elsewhere = |now: u64, before: u64, own| now.saturating_sub(before).saturating_sub(own);
        let params = ReqParams {
            delta: narrow(elsewhere(totals.delta, self.at_last_request.delta, self.own.delta)),
            rho: narrow(elsewhere(totals.rho, self.at_last_request.rho, self.own.rho)),
        };
        *self = OriginalTracker::new(totals);
        params
    }

    fn respond(&mut self, phase: Phase, cost: Cost) {
        self.own.delta = self.own.delta.saturating_add(u64::from(cost));
        if phase == Phase::Reservation {
            self.own.rho = self.own.rho.saturating_add(u64::from(cost));
        }
    }
}
