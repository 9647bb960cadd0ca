//! What goes into a queue and what comes out.

use crate::time::Time;

/// The cost of a request, in units: how much of the resource it takes against the smallest. Never 0, so that every request moves the tags.
pub type Cost = u32;

/// What a client tells a server about its service elsewhere (dmClock, section 3.2 of the paper).
///
/// Here as in the reference, the request's own cost is added by the server: what the paper calls delta is `delta` plus the cost. The default, nothing
/// elsewhere, is mClock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReqParams {
    /// Cost units of this client that other servers have completed since its previous request to this one.
    pub delta: u32,
    /// The part of `delta` that was served by reservation.
    pub rho: u32,
}

impl ReqParams {
    /// Both at once.
    pub const fn new(delta: u32, rho: u32) -> ReqParams {
        ReqParams { delta, rho }
    }
}

/// Why a request was served. The client's tracker wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Its reservation was due.
    Reservation,
    /// By weight, from what the reservations left.
    Priority,
}

/// What [`crate::Queue::pull`] finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pull<C, R> {
    /// Serve this.
    Request(Pulled<C, R>),
    /// Nothing may be served before then, if nothing is added. Always later than now; only at [`Time::MAX`] there is nothing later.
    Future(Time),
    /// Nothing waits.
    None,
}

impl<C, R> Pull<C, R> {
    /// The request, if there is one.
    pub fn request(self) -> Option<Pulled<C, R>> {
        match self {
            Pull::Request(pulled) => Some(pulled),
            Pull::Future(_) | Pull::None => None,
        }
    }
}

/// A request to be served now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled<C, R> {
    /// Whose it is.
    pub client: C,
    /// The request as it was added.
    pub request: R,
    /// Why it is served.
    pub phase: Phase,
    /// As it was added.
    pub cost: Cost,
}

/// A request that was not taken, and why. It is handed back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refused<R> {
    /// The request.
    pub request: R,
    /// Why.
    pub reason: Reason,
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// [`crate::AtLimit::Reject`]: the client has as much waiting as it may.
    #[error("limit reached: the request may be served from {at}, which is more than the threshold ahead")]
    AtLimit {
        /// When the limit would have let it be served.
        at: Time,
    },
    /// A cost of zero.
    #[error("cost must be at least 1, was 0")]
    ZeroCost,
    /// The source of parameters does not know the client.
    #[error("the client has no parameters")]
    UnknownClient,
}

/// The order in which a removal looks at the requests of each client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Visit {
    /// The oldest first.
    #[default]
    Forwards,
    /// The newest first.
    Backwards,
}

/// How many requests were served, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By reservation.
    pub reservation: u64,
    /// By weight.
    pub priority: u64,
    /// Beyond limits, under [`crate::AtLimit::Allow`]; also counted in one of the others.
    pub limit_break: u64,
}

/// The tags of a client's first request, for people who ask why it waits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadTags {
    /// From when it is served before all that is not reserved; `None` without a reservation.
    pub reservation: Option<Time>,
    /// From when its weight counts; `None` without a limit.
    pub limit: Option<Time>,
    /// Its place among the weights, in seconds of virtual time; `None` without a weight.
    pub proportion: Option<f64>,
}
