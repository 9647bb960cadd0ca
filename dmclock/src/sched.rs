//! The scheduler itself, which knows clients by slot numbers only: [`crate::Queue`] puts names, parameters and ages around it.
//!
//! # Lazy heaps
//! Each client's current tags stand in [`Head`]; a heap may hold an older, lower key, or a client that has nothing waiting. Whoever takes the top of a heap
//! first brings it up to date. Since tags mostly rise, a pull then sifts in the one heap that it serves from, and adding to a client that has requests
//! touches no heap. The invariant: **no key in a heap is above the tag it stands for, and every client with requests is in each heap where it belongs**:
//! in `reservation` if it has a reservation tag; in one of `ready` and `limit` if it has a proportion tag, and in `over` whenever it is in `limit`
//! and limits may be broken.

mod active;
mod add;
mod change;
mod choose;
mod client;
mod remove;
mod serve;

use crate::config::{AtLimit, Config, Corrections, Tagging};
use crate::heap::Heap;
use crate::request::{Counts, HeadTags};
use crate::tag::{NEVER, Tag};
use crate::time::nanos;
pub(crate) use choose::Choice;
use client::Clocks;
pub(crate) use client::{Client, Entry};

/// Children a heap node. Four keys of reservation or limit fill a cache line.
const ARITY: usize = 4;

/// A [`Config`], in the terms of the scheduler.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Tags are computed when a request becomes the first of its client. Otherwise when it is added, and kept.
    at_head: bool,
    /// With a request's own delta and rho, not with the client's latest.
    own_params: bool,
    allow: bool,
    reject_ns: Option<i64>,
    anticipation_ns: i64,
    credit_ns: Option<i64>,
    virtual_time: bool,
    refund: bool,
    corrected: bool,
}

impl Rules {
    pub(crate) fn new(config: &Config) -> Rules {
        let corrected = config.corrections != Corrections::NONE;
        Rules {
            // Corrections move tags of single requests, which a chain of tags computed in advance could not follow.
            at_head: corrected || config.tagging == Tagging::Delayed,
            own_params: config.tagging == Tagging::Immediate,
            allow: config.at_limit == AtLimit::Allow,
            reject_ns: match config.at_limit {
                AtLimit::Reject { threshold } => Some(nanos(threshold)),
                AtLimit::Wait | AtLimit::Allow => None,
            },
            anticipation_ns: nanos(config.anticipation),
            credit_ns: config.corrections.credit.map(nanos),
            virtual_time: config.corrections.virtual_time,
            refund: config.corrections.refund,
            corrected,
        }
    }
}

/// What the heaps need to know of a client's first request. Apart from the clients, so that a thousand of them fit the first cache.
#[derive(Clone, Copy, Debug)]
struct Head {
    /// In nanoseconds; [`Head::NONE`] without one.
    reservation: i64,
    /// In nanoseconds.
    limit: i64,
    /// [`NEVER`] without one.
    proportion: Tag,
}

impl Head {
    const NONE: i64 = i64::MAX;
    /// Of a client that has nothing waiting.
    const EMPTY: Head = Head { reservation: Head::NONE, limit: Head::NONE, proportion: NEVER };
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Scheduler<R> {
    rules: Rules,
    clients: Vec<Client<R>>,
    heads: Vec<Head>,
    /// By reservation tag.
    reservation: Heap<i64, ARITY>,
    /// By proportion tag: those within their limits, as far as is known.
    ready: Heap<Tag, ARITY>,
    /// By limit tag: those that were seen beyond it.
    limit: Heap<i64, ARITY>,
    /// By proportion tag: those in `limit`. Only if limits may be broken.
    over: Heap<Tag, ARITY>,
    /// How far the reservation clock, which reservation tags are compared with, is behind the caller's. It is held back where the most overdue reservation would
    /// be further behind it than the credit: then the reservations exceed what there is, and all of them are owed less, in proportion.
    lag_ns: i64,
    /// When the last pull was; `i64::MIN` before.
    pulled_ns: i64,
    /// The lowest proportion tag of the clients that compete, as far as it was looked at; it never falls.
    virtual_now: Tag,
    /// The highest proportion tag served.
    served_max: Tag,
    /// Counts requests, so that ages need no time of each.
    tick: u64,
    waiting: usize,
    counts: Counts,
}

impl<R> Scheduler<R> {
    pub(crate) fn new(rules: Rules) -> Scheduler<R> {
        Scheduler {
            rules,
            clients: Vec::new(),
            heads: Vec::new(),
            reservation: Heap::new(),
            ready: Heap::new(),
            limit: Heap::new(),
            over: Heap::new(),
            lag_ns: 0,
            pulled_ns: i64::MIN,
            virtual_now: 0,
            served_max: 0,
            tick: 0,
            waiting: 0,
            counts: Counts::default(),
        }
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    pub(crate) fn head_tags(&self, slot: u32) -> Option<HeadTags> {
        self.client(slot).head_tags(self.lag_ns)
    }

    pub(crate) fn tick(&self) -> u64 {
        self.tick
    }

    pub(crate) fn client(&self, slot: u32) -> &Client<R> {
        &self.clients[slot as usize]
    }

    pub(crate) fn client_mut(&mut self, slot: u32) -> &mut Client<R> {
        &mut self.clients[slot as usize]
    }

    pub(crate) fn client_count(&self) -> usize {
        self.clients.len()
    }

    /// Where tags of a request begin that becomes the first of its client between two pulls. Had there been a pull when it came, the reservation clock
    /// might have been held back: its tag must not be later than what that would have shown, or it would wait for all that the server was away.
    fn clocks_between_pulls(&mut self, arrival_ns: i64) -> Clocks {
        let clocks = self.clocks();
        let Some(credit_ns) = self.rules.credit_ns else { return clocks };
        let Some(most_overdue) = self.due_reservation(arrival_ns.saturating_sub(clocks.lag_ns)) else {
            return clocks;
        };
        let shown_ns = self.heads[most_overdue as usize].reservation.saturating_add(credit_ns);
        Clocks { lag_ns: clocks.lag_ns.max(arrival_ns.saturating_sub(shown_ns)), ..clocks }
    }

    /// Where tags begin at a pull.
    #[inline]
    fn clocks(&self) -> Clocks {
        let oldest_ns = match self.rules.credit_ns {
            Some(credit_ns) => self.pulled_ns.saturating_sub(self.lag_ns).saturating_sub(credit_ns),
            None => i64::MIN,
        };
        Clocks {
            lag_ns: self.lag_ns,
            oldest_ns,
            virtual_now: self.rules.virtual_time.then_some(self.virtual_now),
        }
    }

    /// Makes the heaps see the client's first request, whatever it was before.
    #[inline]
    fn publish(&mut self, slot: u32) {
        let head = self.clients[slot as usize].head_keys();
        self.heads[slot as usize] = head;
        if head.reservation != Head::NONE {
            self.reservation.lower(slot, head.reservation);
        }
        if head.proportion == NEVER {
            return;
        }
        if self.limit.key(slot).is_none() {
            self.ready.lower(slot, head.proportion);
        } else {
            self.limit.lower(slot, head.limit);
            if self.rules.allow {
                self.over.lower(slot, head.proportion);
            }
        }
    }
}
