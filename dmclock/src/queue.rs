//! The queue that a server pulls its next request from.

mod clean;
mod remove;
mod update;

use crate::config::{Config, ConfigError};
use crate::params::ParamsSource;
use crate::request::{Cost, Counts, HeadTags, Pull, Pulled, Reason, Refused, ReqParams};
use crate::sched::{Choice, Entry, Rules, Scheduler};
use crate::time::Time;
use clean::Cleaner;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};

/// An mClock or dmClock queue: requests of many clients, of which it gives out the one whose turn it is.
///
/// `C` names a client and should be cheap to clone (a number, an `Arc<str>`); `R` is a request, of which the queue knows nothing; `P` says what each client
/// is promised. See the [crate's page](crate) for how it decides.
///
/// ```
/// use dmclock::{Config, Params, Pull, Queue, Time};
///
/// let of = |client: &u32| match client {
///     1 => Params::new(100.0, 1.0, 0.0).ok(),   // at least 100 a second, then one part of the rest
///     2 => Params::new(0.0, 3.0, 50.0).ok(),    // three parts of the rest, at most 50 a second
///     _ => None,
/// };
/// let mut queue = Queue::new(Config::corrected(), of)?;
/// queue.add(&1, "read", Time::ZERO)?;
/// queue.add(&2, "write", Time::ZERO)?;
/// assert!(queue.add(&3, "stray", Time::ZERO).is_err());
///
/// let Pull::Request(first) = queue.pull(Time::ZERO) else { panic!("something waits") };
/// assert_eq!((first.client, first.request), (1, "read"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Queue<C, R, P, S = RandomState> {
    config: Config,
    source: P,
    /// The slot of each client.
    index: HashMap<C, u32, S>,
    /// The client of each slot.
    ids: Vec<C>,
    sched: Scheduler<R>,
    cleaner: Cleaner,
}

impl<C: Clone + Eq + Hash, R, P: ParamsSource<C>> Queue<C, R, P> {
    /// An empty queue.
    ///
    /// # Errors
    /// If the configuration contradicts itself.
    pub fn new(config: Config, source: P) -> Result<Queue<C, R, P>, ConfigError> {
        Queue::with_hasher(config, source, RandomState::new())
    }
}

impl<C: Clone + Eq + Hash, R, P: ParamsSource<C>, S: BuildHasher> Queue<C, R, P, S> {
    /// An empty queue that looks clients up with this hasher. The default one stands names that somebody chose to collide; where the names are your own, a
    /// faster one is worth some 5 ns a request.
    ///
    /// # Errors
    /// If the configuration contradicts itself.
    pub fn with_hasher(config: Config, source: P, hasher: S) -> Result<Queue<C, R, P, S>, ConfigError> {
        config.check()?;
        Ok(Queue {
            config,
            source,
            index: HashMap::with_hasher(hasher),
            ids: Vec::new(),
            sched: Scheduler::new(Rules::new(&config)),
            cleaner: Cleaner::default(),
        })
    }

    /// Adds a request of cost 1 that arrives `now`, with nothing served elsewhere.
    ///
    /// # Errors
    /// See [`Reason`]; the request is handed back.
    pub fn add(&mut self, client: &C, request: R, now: Time) -> Result<(), Refused<R>> {
        self.add_with(client, request, now, 1, ReqParams::default())
    }

    /// Adds a request behind the client's others. `params` are what the client's [`crate::ServiceTracker`] says for this server.
    ///
    /// # Errors
    /// See [`Reason`]; the request is handed back.
    pub fn add_with(
        &mut self,
        client: &C,
        request: R,
        now: Time,
        cost: Cost,
        params: ReqParams,
    ) -> Result<(), Refused<R>> {
        if cost == 0 {
            return Err(Refused { request, reason: Reason::ZeroCost });
        }
        self.clean_if_due(now);
        let Some(slot) = self.slot(client) else {
            return Err(Refused { request, reason: Reason::UnknownClient });
        };
        self.sched.add(slot, Entry { request, arrival_ns: now.signed(), cost, params })
    }

    /// Takes the request whose turn it is. `now` should not be before that of earlier calls; if it is, nothing worse happens than that it is believed.
    pub fn pull(&mut self, now: Time) -> Pull<C, R> {
        self.clean_if_due(now);
        let (slot, phase) = match self.sched.choose(now.signed()) {
            Choice::Serve { slot, phase } => (slot, phase),
            Choice::Future(at) => return Pull::Future(at),
            Choice::None => return Pull::None,
        };
        if self.config.reread_params {
            self.reread(slot);
        }
        let client = self.ids[slot as usize].clone();
        match self.sched.serve(slot, phase, now.signed()) {
            Some(Entry { request, cost, .. }) => Pull::Request(Pulled { client, request, phase, cost }),
            None => Pull::None,
        }
    }

    /// How it was made.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Requests that wait.
    pub fn request_count(&self) -> usize {
        self.sched.waiting()
    }

    /// Requests of one client that wait.
    pub fn request_count_of(&self, client: &C) -> usize {
        self.index.get(client).map_or(0, |slot| self.sched.client(*slot).waiting())
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.sched.waiting() == 0
    }

    /// Clients that it remembers, with requests or without.
    pub fn client_count(&self) -> usize {
        self.ids.len()
    }

    /// Whether a client that it remembers has been without requests for the idle age; `None` if it does not remember it.
    pub fn is_idle(&self, client: &C) -> Option<bool> {
        self.index.get(client).map(|slot| self.sched.client(*slot).idle)
    }

    /// The tags of the client's first request; `None` if nothing waits.
    pub fn head_tags(&self, client: &C) -> Option<HeadTags> {
        self.index.get(client).and_then(|slot| self.sched.head_tags(*slot))
    }

    /// How many requests were served, and how.
    pub fn counts(&self) -> Counts {
        self.sched.counts()
    }

    fn slot(&mut self, client: &C) -> Option<u32> {
        if let Some(slot) = self.index.get(client) {
            let slot = *slot;
            if self.config.reread_params {
                self.reread(slot);
            }
            return Some(slot);
        }
        let params = self.source.params(client)?;
        let slot = u32::try_from(self.ids.len()).ok().filter(|slot| *slot < u32::MAX)?;
        self.sched.join(params.spacings());
        self.ids.push(client.clone());
        self.index.insert(client.clone(), slot);
        Some(slot)
    }
}

impl<C: fmt::Debug, R, P, S> fmt::Debug for Queue<C, R, P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("config", &self.config)
            .field("clients", &self.ids)
            .field("waiting", &self.sched.waiting())
            .finish_non_exhaustive()
    }
}
