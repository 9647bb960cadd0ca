//! The client's side of dmClock: what it tells each server about its service at the others.

mod borrowing;
mod original;

pub use borrowing::BorrowingTracker;
pub use original::OriginalTracker;

use crate::request::{Cost, Phase, ReqParams};
use crate::time::Time;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

/// What a client has been served so far, at all servers, in cost units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// In any phase.
    pub delta: u64,
    /// By reservation.
    pub rho: u64,
}

/// How delta and rho follow from the totals; one for each server.
pub trait Tracker {
    /// Of a server to which the first request is sent now.
    fn new(totals: Totals) -> Self;
    /// For the next request to it.
    fn prepare(&mut self, totals: Totals) -> ReqParams;
    /// It served this much; the totals do not have it yet.
    fn respond(&mut self, phase: Phase, cost: Cost);
}

/// A client's book of its service: fed with every response, asked before every request.
///
/// ```
/// use dmclock::{OriginalTracker, Phase, ReqParams, ServiceTracker, Time};
///
/// let mut tracker = ServiceTracker::<&str, OriginalTracker>::new();
/// assert_eq!(tracker.request_params("a", Time::ZERO), ReqParams::new(1, 1));
/// tracker.track_response("b", Phase::Reservation, 1, Time::ZERO);
/// assert_eq!(tracker.request_params("a", Time::ZERO), ReqParams::new(1, 1), "one elsewhere, by reservation");
/// assert_eq!(tracker.request_params("a", Time::ZERO), ReqParams::new(0, 0), "nothing since");
/// ```
#[derive(Clone, Debug)]
pub struct ServiceTracker<S, T = OriginalTracker> {
    totals: Totals,
    servers: HashMap<S, Known<T>>,
    clean_every: Duration,
    clean_age: Duration,
    /// Which request was the last one at each of the looks so far.
    marks: VecDeque<(Time, u64)>,
    next_clean: Option<Time>,
    tick: u64,
}

#[derive(Clone, Debug)]
struct Known<T> {
    tracker: T,
    last_tick: u64,
}

impl<S: Eq + Hash, T: Tracker> ServiceTracker<S, T> {
    /// Forgets servers that were not used for ten minutes, and looks for them every five.
    pub fn new() -> ServiceTracker<S, T> {
        ServiceTracker::with_ages(Duration::from_secs(300), Duration::from_secs(600))
    }

    /// Forgets servers that were not used for `clean_age`, counted from the first look after the last use, and looks every `clean_every`.
    pub fn with_ages(clean_every: Duration, clean_age: Duration) -> ServiceTracker<S, T> {
        ServiceTracker {
            // As in the reference; only differences are ever told.
            totals: Totals { delta: 1, rho: 1 },
            servers: HashMap::new(),
            clean_every,
            clean_age,
            marks: VecDeque::new(),
            next_clean: None,
            tick: 0,
        }
    }

    /// What to send along with the next request to this server. The first time, and after it was forgotten, that is (1, 1).
    pub fn request_params(&mut self, server: S, now: Time) -> ReqParams {
        self.clean_if_due(now);
        self.tick += 1;
        if let Some(known) = self.servers.get_mut(&server) {
            known.last_tick = self.tick;
            return known.tracker.prepare(self.totals);
        }
        self.servers.insert(server, Known { tracker: T::new(self.totals), last_tick: self.tick });
        ReqParams::new(1, 1)
    }

    /// A response of this server, with the phase that it was served in and the cost that it was sent with.
    pub fn track_response(&mut self, server: S, phase: Phase, cost: Cost, now: Time) {
        self.clean_if_due(now);
        self.tick += 1;
        let totals = self.totals;
        let known =
            self.servers.entry(server).or_insert_with(|| Known { tracker: T::new(totals), last_tick: 0 });
        known.last_tick = self.tick;
        known.tracker.respond(phase, cost);
        self.totals.delta = self.totals.delta.saturating_add(u64::from(cost));
        if phase == Phase::Reservation {
            self.totals.rho = self.totals.rho.saturating_add(u64::from(cost));
        }
    }

    /// Servers that it remembers.
    pub fn server_count(&self) -> usize {
        self.servers.len()
    }

    /// Forgets servers that were not used for long, if it is time. The other calls do so by themselves.
    pub fn clean_if_due(&mut self, now: Time) {
        if now >= *self.next_clean.get_or_insert(now + self.clean_every) {
            self.clean(now);
        }
    }

    /// Forgets servers that were not used for long.
    pub fn clean(&mut self, now: Time) {
        self.next_clean = Some(now + self.clean_every);
        self.marks.push_back((now, self.tick));
        let mut unused_since = None;
        while let Some((_, tick)) =
            self.marks.front().copied().filter(|(at, _)| now.since(*at) >= self.clean_age)
        {
            unused_since = Some(tick);
            self.marks.pop_front();
        }
        if let Some(tick) = unused_since {
            self.servers.retain(|_, known| known.last_tick > tick);
        }
    }
}

impl<S: Eq + Hash, T: Tracker> Default for ServiceTracker<S, T> {
    fn default() -> ServiceTracker<S, T> {
        ServiceTracker::new()
    }
}

/// A difference of totals, as it is sent.
fn narrow(units: u64) -> u32 {
    u32::try_from(units).unwrap_or(u32::MAX)
}
