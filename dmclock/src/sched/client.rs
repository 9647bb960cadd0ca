//! One client: its requests and its tags.

use super::{Head, Rules};
use crate::params::Spacings;
use crate::request::{HeadTags, ReqParams};
use crate::tag::{self, ALWAYS, NEVER, Tag, Tags};
use std::collections::VecDeque;
use std::time::Duration;

/// A waiting request.
#[derive(Debug)]
pub(crate) struct Entry<R> {
    pub(crate) request: R,
    pub(crate) arrival_ns: i64,
    pub(crate) cost: u32,
    pub(crate) params: ReqParams,
}

impl<R> Entry<R> {
    #[inline]
    pub(super) fn job(&self) -> Job {
        Job { arrival_ns: self.arrival_ns, cost: self.cost, params: self.params }
    }
}

/// What its tags are computed from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    pub(super) arrival_ns: i64,
    pub(super) cost: u32,
    pub(super) params: ReqParams,
}

/// Where tags begin, beside the arrival of the request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    /// How far the reservation clock is behind; see [`super::Scheduler::lag_ns`].
    pub(super) lag_ns: i64,
    /// Reservation tags are not before this.
    pub(super) oldest_ns: i64,
    /// Proportion tags are not before this, instead of the arrival.
    pub(super) virtual_now: Option<Tag>,
}

/// Tags, and the arrival of the request whose they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) tags: Tags,
    /// `i64::MIN` before the first.
    pub(super) arrival_ns: i64,
}

impl Link {
    const FIRST: Link = Link { tags: Tags::LONG_AGO, arrival_ns: i64::MIN };

    /// The link that follows. A parameter of zero hands on what was before.
    #[inline]
    pub(super) fn then(self, tags: Tags, arrival_ns: i64) -> Link {
        Link { tags: tags.pinned_to(self.tags), arrival_ns }
    }
}

/// In cache lines: adding behind other requests touches the first, and so does finding out that nothing waits.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Client<R> {
    pub(super) queue: VecDeque<Entry<R>>,
    pub(super) latest: ReqParams,
    /// When it last had a request that got tags; see [`super::Scheduler::tick`].
    pub(crate) last_tick: u64,
    pub(super) tagged: Box<Tagged>,
    pub(crate) idle: bool,
    /// The rho that the tags of the first request were computed with.
    pub(super) head_rho: u32,
    /// Tags of the first request.
    pub(super) head: Tags,
    /// How far joining moved its proportion tags against the others' (the reference's `prop_delta`).
    pub(super) ahead: Tag,
    pub(super) spacings: Spacings,
    /// The request served last: what the tags of the first one follow.
    pub(super) base: Link,
}

/// What is needed only where tags are computed on adding.
#[derive(Debug)]
pub(super) struct Tagged {
    /// The request added last: what the tags of the next one follow.
    pub(super) last: Link,
    /// Tags of the queue, one for one, their reservation tags higher by `reduced`. Empty where limits reject and tags are computed once more at the head.
    pub(super) tags: VecDeque<Tags>,
    /// What service by weight has taken from the reservation tags. Kept here, so that such a service costs the same however deep the queue is.
    pub(super) reduced: Tag,
}

impl<R> Client<R> {
    pub(super) fn new(spacings: Spacings, tick: u64) -> Client<R> {
        Client {
            queue: VecDeque::new(),
            latest: ReqParams::default(),
            last_tick: tick,
            tagged: Box::new(Tagged { last: Link::FIRST, tags: VecDeque::new(), reduced: 0 }),
            idle: true,
            head_rho: 0,
            head: Tags::LONG_AGO,
            ahead: 0,
            spacings,
            base: Link::FIRST,
        }
    }

    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// The tags of a request that follows another: `max(t', X' + (d + cost)/x)` with delta or rho as d.
    #[inline]
    pub(super) fn tags_after(&self, before: Link, job: Job, rules: &Rules, clocks: Clocks) -> Tags {
        let anticipated = job.arrival_ns.saturating_sub(rules.anticipation_ns);
        let from_ns = if anticipated < before.arrival_ns { anticipated } else { job.arrival_ns };
        let from = tag::of_nanos(from_ns);
        let reserved_from = tag::of_nanos(from_ns.saturating_sub(clocks.lag_ns).max(clocks.oldest_ns));
        let after = |previous, spacing, from: Tag, elsewhere: u32| {
            from.max(tag::after(previous, tag::span(spacing, elsewhere, job.cost)))
        };
        let (s, previous, p) = (&self.spacings, before.tags, job.params);
        Tags {
            reservation: match s.reservation {
                0 => NEVER,
                spacing => after(previous.reservation, spacing, reserved_from, p.rho),
            },
            limit: match s.limit {
                0 => ALWAYS,
                spacing => after(previous.limit, spacing, from, p.delta),
            },
            proportion: match s.weight {
                0 => NEVER,
                spacing => after(previous.proportion, spacing, clocks.virtual_now.unwrap_or(from), p.delta),
            },
        }
    }

    /// Computes the tags of the first request, if there is one, from those of the request served last.
    #[inline]
    pub(super) fn tag_head(&mut self, rules: &Rules, clocks: Clocks) {
        if let Some(first) = self.queue.front() {
            let params = if rules.own_params { first.params } else { self.latest };
            let job = Job { params, ..first.job() };
            self.head = self.tags_after(self.base, job, rules, clocks);
            self.head_rho = params.rho;
        }
    }

    /// Takes the tags of the first request, if there is one, from where they were kept.
    pub(super) fn restore_head(&mut self) {
        if let Some(tags) = self.tagged.tags.front() {
            self.head = Tags { reservation: tag::moved(tags.reservation, -self.tagged.reduced), ..*tags };
        }
    }

    /// The last proportion tag that it was given, also if nothing waits; `None` if none ever was.
    pub(super) fn proportion(&self, rules: &Rules) -> Option<Tag> {
        let tag = if !self.queue.is_empty() {
            self.head.proportion
        } else if rules.at_head {
            self.base.tags.proportion
        } else {
            self.tagged.last.tags.proportion
        };
        (tag != NEVER && tag != tag::LONG_AGO).then(|| tag::moved(tag, self.ahead))
    }

    #[inline]
    pub(super) fn head_keys(&self) -> Head {
        if self.queue.is_empty() {
            return Head::EMPTY;
        }
        Head {
            reservation: tag::nanos_up(self.head.reservation),
            limit: tag::nanos_up(self.head.limit),
            proportion: match self.ahead {
                0 => self.head.proportion,
                ahead => tag::moved(self.head.proportion, ahead),
            },
        }
    }

    /// For people.
    pub(super) fn head_tags(&self, lag_ns: i64) -> Option<HeadTags> {
        self.queue.front()?;
        let time = |tag| (tag != NEVER && tag != ALWAYS).then(|| tag::time(tag::nanos_up(tag)));
        let lag = Duration::from_nanos(lag_ns.unsigned_abs());
        let proportion = self.head_keys().proportion;
        Some(HeadTags {
            reservation: time(self.head.reservation).map(|at| at + lag),
            limit: time(self.head.limit),
            proportion: (proportion != NEVER).then(|| tag::seconds(proportion)),
        })
    }
}
