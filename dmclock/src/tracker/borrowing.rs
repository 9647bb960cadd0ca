//! Delta and rho that are never 0.

use super::{Totals, Tracker, narrow};
use crate::request::{Cost, Phase, ReqParams};

/// What *all* servers served since the last request to this one, but at least 1: where nothing came, one is borrowed from what will come, and paid back.
///
/// Since the server adds the request's own cost, a client of one server alone is charged twice by this. Use [`super::OriginalTracker`] unless a server of yours
/// cannot stand zeros.
#[derive(Clone, Copy, Debug)]
pub struct BorrowingTracker {
    at_last_request: Totals,
    borrowed: Totals,
}

impl Tracker for BorrowingTracker {
    fn new(totals: Totals) -> BorrowingTracker {
        BorrowingTracker { at_last_request: totals, borrowed: Totals { delta: 0, rho: 0 } }
    }

    fn prepare(&mut self, totals: Totals) -> ReqParams {
        let before = self.at_last_request;
        self.at_last_request = totals;
        ReqParams {
            delta: borrow(totals.delta.saturating_sub(before.delta), &mut self.borrowed.delta),
            rho: borrow(totals.rho.saturating_sub(before.rho), &mut self.borrowed.rho),
        }
    }

    fn respond(&mut self, _phase: Phase, _cost: Cost) {}
}

/// `came` less what is owed, at least 1; what could not be paid is owed on.
fn borrow(came: u64, owed: &mut u64) -> u32 {
    let told = came.saturating_sub(*owed).max(1);
    *owed = owed.saturating_add(told).saturating_sub(came);
    narrow(told)
}
