//! What several of the tests share.

#![allow(dead_code, clippy::unwrap_used)]

pub mod sim;

use dmclock::{Config, Params, ParamsSource, Phase, Pull, Queue, Time};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Parameters that a test can change while a queue reads them.
#[derive(Clone, Default)]
pub struct Table(Rc<RefCell<BTreeMap<u32, Params>>>);

impl Table {
    /// Of (client, r, w, l).
    pub fn of(rows: &[(u32, f64, f64, f64)]) -> Table {
        let table = Table::default();
        rows.iter().for_each(|(client, r, w, l)| table.set(*client, *r, *w, *l));
        table
    }

    pub fn set(&self, client: u32, r: f64, w: f64, l: f64) {
        self.0.borrow_mut().insert(client, Params::new(r, w, l).unwrap());
    }
}

impl ParamsSource<u32> for Table {
    fn params(&self, client: &u32) -> Option<Params> {
        self.0.borrow().get(client).copied()
    }
}

pub type TestQueue = Queue<u32, u64, Table>;

pub fn queue(config: Config, rows: &[(u32, f64, f64, f64)]) -> TestQueue {
    Queue::new(config, Table::of(rows)).unwrap()
}

pub fn secs(seconds: f64) -> Time {
    Time::from_secs_f64(seconds)
}

/// Client, request and phase of what must be returned.
pub fn returned(pull: Pull<u32, u64>) -> (u32, u64, Phase) {
    match pull {
        Pull::Request(pulled) => (pulled.client, pulled.request, pulled.phase),
        other => panic!("nothing was returned but {other:?}"),
    }
}

/// How many of each client `pulls` pulls at `now` return; all must be served in this phase, if one is given.
pub fn pull_counts(
    queue: &mut TestQueue,
    now: Time,
    pulls: usize,
    phase: Option<Phase>,
) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..pulls {
        let (client, _, served) = returned(queue.pull(now));
        assert!(phase.is_none_or(|phase| phase == served), "{served:?}");
        *counts.entry(client).or_default() += 1;
    }
    counts
}

/// Serves a steady backlog of all clients at `capacity` cost units a second (requests of cost 1), from `from` to `to` seconds; how many a second each got.
pub fn backlog(
    queue: &mut TestQueue,
    clients: &[u32],
    capacity: f64,
    from: f64,
    to: f64,
) -> BTreeMap<u32, f64> {
    const DEPTH: usize = 6;
    let mut counts: BTreeMap<u32, f64> = clients.iter().map(|client| (*client, 0.0)).collect();
    for n in 0..((to - from) * capacity).round() as u64 {
        let now = secs(from + n as f64 / capacity);
        for client in clients {
            while queue.request_count_of(client) < DEPTH {
                queue.add(client, n, now).unwrap();
            }
        }
        if let Pull::Request(pulled) = queue.pull(now) {
            *counts.entry(pulled.client).or_default() += 1.0;
        }
    }
    counts.values_mut().for_each(|count| *count /= to - from);
    counts
}
