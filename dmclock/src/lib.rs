//! The mClock and dmClock schedulers: who is served next, where every client is promised a least, a most, and a part of the rest.
//!
//! Time is an argument, and so is chance. There are no threads, no locks, no clock, no I/O and no `unsafe`; no input panics; once warm, a request allocates
//! nothing. A decision (one request added and one pulled) costs 100 to 180 ns among 1,000 clients.
//!
//! - [`Queue`]: mClock, and with [`ReqParams`] dmClock.
//! - [`ServiceTracker`]: the client's side of dmClock.
//! - [`WeightedPriorityQueue`]: the simple alternative, without promises.
//!
//! # The problem
//! Clients share a device, or a cluster. Each is promised three numbers ([`Params`]):
//!
//! - the **reservation** r: so much a second whenever it has work;
//! - the **limit** l: so much a second at most;
//! - the **weight** w: its part of what the reservations leave, against the weights of the others.
//!
//! A client with a backlog is then entitled to `min(l, max(r, λw))`, with the one λ at which all of these sum up to the capacity.
//!
//! # The algorithm
//! mClock (Gulati, Merchant and Varman, "mClock: handling throughput variability for hypervisor IO scheduling", OSDI 2010) gives every request three *tags*,
//! moments that are spaced by the inverse of each number. With t the arrival, X' the tag of the client's request before and c the request's cost:
//!
//! ```text
//! R = max(t, R' + c/r)      when the reservation wants it served
//! L = max(t, L' + c/l)      from when on the limit allows it
//! P = max(t, P' + c/w)      its place among the weights
//! ```
//!
//! A pull at `now` looks at the first request of each client:
//!
//! 1. *Reservation phase.* If some R ≤ now, the lowest R is served.
//! 2. *Weight phase.* Else, of those with L ≤ now, the lowest P is served; and R moves back by c/r for what follows, so that what came by weight is not
//!    counted against the reservation.
//! 3. Else the next moment at which there is something to do is said: the lowest R or L.
//!
//! **dmClock** spreads this over many servers that never talk to each other. With each request the client says what it was served elsewhere since its
//! last request to this server: delta, and rho, the part of it by reservation. The server moves R by (rho + c)/r, and L and P by (delta + c)/l and
//! (delta + c)/w, as if it had served that, too.
//!
//! # A worked example
//! Three classes of a storage server have 8 requests each at once, and the server does 60 a second. (The example is known from articles with several
//! errors; this is what follows from the algorithm.)
//!
//! ```
//! use dmclock::{Config, Params, Phase, Queue, Time};
//!
//! let classes = |class: &&str| match *class {
//!     //                      r     w     l
//!     "I/O" => Params::new(10.0, 30.0, 50.0).ok(),
//!     "Rec" => Params::new(5.0, 20.0, 40.0).ok(),
//!     "BE" => Params::new(8.0, 25.0, 60.0).ok(),
//!     _ => None,
//! };
//! let mut queue = Queue::new(Config::faithful(), classes)?;
//! for n in 1..=8 {
//!     for class in ["I/O", "Rec", "BE"] {
//!         queue.add(&class, n, Time::ZERO)?;
//!     }
//! }
//!
//! // The first tags of all are 0: whoever comes to an idle server is served at once.
//! let tags = queue.head_tags(&"I/O").ok_or("it waits")?;
//! assert_eq!((tags.reservation, tags.limit, tags.proportion), (Some(Time::ZERO), Some(Time::ZERO), Some(0.0)));
//!
//! let mut served = Vec::new();
//! for step in 0..10 {
//!     let now = Time::from_nanos(step * 16_666_666);
//!     let pulled = queue.pull(now).request().ok_or("nothing is served")?;
//!     let phase = if pulled.phase == Phase::Reservation { 'R' } else { 'P' };
//!     served.push(format!("{}{}{phase}", pulled.client, pulled.request));
//!     if step == 0 {
//!         // Its second request: 1/r, 1/l and 1/w later.
//!         let tags = queue.head_tags(&"I/O").ok_or("it waits")?;
//!         assert_eq!(tags.reservation, Some(Time::from_millis(100)));
//!         assert_eq!(tags.limit, Some(Time::from_millis(20)));
//!     }
//! }
//! // First each by its reservation; then by weight; at 0.117 s I/O's fourth by reservation: its tag was 0.3, and two services by weight made 0.1 of it.
//! let expected = ["I/O1R", "Rec1R", "BE1R", "I/O2P", "BE2P", "Rec2P", "I/O3P", "I/O4R", "BE3R", "Rec3P"];
//! assert_eq!(served, expected);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Two modes
//! [`Config::faithful`] behaves as the reference implementation (ceph/dmclock) does, so that its published cases hold and results can be compared.
//! [`Config::corrected`], the default, leaves it where it is unfair; each correction can be had alone ([`Corrections`]):
//!
//! | Flaw | Correction |
//! |---|---|
//! | Who waited long behind others has tags far in the past, and then no limit for as long; reservations that exceed the capacity starve who joins last | `credit`: limit tags lag by the credit at most; when reservations cannot all be kept, the clock that they are compared with is held back for all alike, so that they share in proportion |
//! | P follows the wall clock: where capacity is below the sum of the weights, shares drift to equal; who paused, or was stopped by its limit, hoards | `virtual_time`: P is never behind the lowest P of those that compete now, and never ahead for having run alone (start-time fair queueing) |
//! | A cancelled or rejected request is paid for | `refund`: tags are as if it had never come |
//!
//! ```
//! use dmclock::{Config, Params, Pull, Queue, Time};
//!
//! /// What a client of weight 30 gets of 3,000 requests in 100 seconds, beside one of weight 20.
//! fn heavier(config: Config) -> Result<u32, Box<dyn std::error::Error>> {
//!     let weights = |client: &u32| Params::new(0.0, f64::from(*client), 0.0).ok();
//!     let (mut queue, mut served) = (Queue::new(config, weights)?, 0);
//!     for n in 0..3_000 {
//!         let now = Time::from_secs_f64(n as f64 / 30.0);
//!         for client in [30, 20] {
//!             if queue.request_count_of(&client) < 6 {
//!                 queue.add(&client, n, now)?;
//!             }
//!         }
//!         if let Pull::Request(pulled) = queue.pull(now) {
//!             served += u32::from(pulled.client == 30);
//!         }
//!     }
//!     Ok(served)
//! }
//! assert!((1_798..=1_802).contains(&heavier(Config::corrected())?), "three fifths");
//! assert!((1_490..=1_510).contains(&heavier(Config::faithful())?), "half: 30 a second are less than the weights' sum of 50");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it does not do
//! - It shares *rates*. A limit of eight requests a second is not a limit of eight requests at a time: how many are under way varies with how long they take.
//! - Across servers, delta arrives after the fact: the first burst of a client to many servers is several times its limit.
//! - Neither mode can keep reservations that exceed the capacity. Check that they do not, before you promise them.
//!
//! # Exactness
//! Tags are fixed-point numbers of 2^-32 ns that cannot overflow: rates from [`RATE_MIN`] to [`RATE_MAX`] may be mixed, and nothing drifts. The same calls give
//! the same results everywhere, hashers included: no decision depends on the order of a hash map.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod config;
mod heap;
mod params;
mod queue;
mod request;
mod sched;
mod tag;
mod time;
mod tracker;
mod wpq;

pub use config::{AtLimit, Config, ConfigError, Corrections, Tagging};
pub use params::{Params, ParamsError, ParamsSource, RATE_MAX, RATE_MIN};
pub use queue::Queue;
pub use request::{Cost, Counts, HeadTags, Phase, Pull, Pulled, Reason, Refused, ReqParams, Visit};
pub use time::Time;
pub use tracker::{BorrowingTracker, OriginalTracker, ServiceTracker, Totals, Tracker};
pub use wpq::WeightedPriorityQueue;
