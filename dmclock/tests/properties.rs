//! What must hold for all inputs: nothing is lost, order is kept, promises are kept, nobody hoards, and nothing panics.

#![allow(clippy::unwrap_used)]

mod support;

use dmclock::{
    AtLimit, Config, Corrections, Params, Phase, Pull, Queue, RATE_MAX, RATE_MIN, ReqParams, Tagging, Time,
    Visit,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;
use support::{Table, TestQueue, secs};

fn any_config() -> impl Strategy<Value = Config> {
    let at_limit = prop_oneof![
        Just(AtLimit::Wait),
        Just(AtLimit::Allow),
        (0..3_000u64).prop_map(|ms| AtLimit::Reject { threshold: Duration::from_millis(ms) }),
    ];
    let credit = prop::option::of((0..3_000u64).prop_map(Duration::from_millis));
    let corrections = (credit, any::<bool>(), any::<bool>())
        .prop_map(|(credit, virtual_time, refund)| Corrections { credit, virtual_time, refund });
    let tagging = prop_oneof![Just(Tagging::Immediate), Just(Tagging::Delayed)];
    (at_limit, tagging, corrections, 0..500u64, any::<bool>()).prop_map(
        |(at_limit, tagging, corrections, anticipation_ms, reread_params)| Config {
            at_limit,
            tagging: if matches!(at_limit, AtLimit::Reject { .. }) { Tagging::Immediate } else { tagging },
            corrections,
            anticipation: Duration::from_millis(anticipation_ms),
            idle_age: Duration::from_secs(3),
            erase_age: Duration::from_secs(5),
            check_every: Duration::from_secs(2),
            reread_params,
        },
    )
}

/// Zero, the ends of the range, and what lies between, over all of it.
fn any_rate() -> impl Strategy<Value = f64> {
    prop_oneof![
        2 => Just(0.0),
        1 => Just(RATE_MIN),
        1 => Just(RATE_MAX),
        4 => (-6.0..9.0f64).prop_map(|exponent| 10f64.powf(exponent).clamp(RATE_MIN, RATE_MAX)),
        4 => (1..100u32).prop_map(f64::from),
    ]
}

fn any_params() -> impl Strategy<Value = (f64, f64, f64)> {
    (any_rate(), any_rate(), any_rate()).prop_map(|(r, w, l)| {
        let w = if r == 0.0 && w == 0.0 { 1.0 } else { w };
        (r, w, if l > 0.0 { l.max(r) } else { 0.0 })
    })
}

#[derive(Clone, Debug)]
enum Step {
    Add {
        client: u32,
        cost: u32,
        params: ReqParams,
    },
    Pull,
    Advance(Duration),
    /// A clock that is not monotonic after all.
    GoBack(Duration),
    Update {
        client: u32,
        params: (f64, f64, f64),
    },
    RemoveEvery {
        of: u64,
        visit: Visit,
    },
    RemoveClient(u32),
    Settle {
        client: u32,
        phase: Phase,
        charged: u32,
        actual: u32,
    },
    Clean,
}

fn any_step() -> impl Strategy<Value = Step> {
    let units = || prop_oneof![4 => 0..20u32, 1 => Just(u32::MAX)];
    let span = prop_oneof![
        4 => (0..2_000u64).prop_map(Duration::from_millis),
        2 => Just(Duration::ZERO),
        1 => (0..u64::MAX).prop_map(Duration::from_nanos),
    ];
    let visit = prop_oneof![Just(Visit::Forwards), Just(Visit::Backwards)];
    let phase = prop_oneof![Just(Phase::Reservation), Just(Phase::Priority)];
    prop_oneof![
        10 => (0..6u32, units(), units(), units()).prop_map(|(client, cost, delta, rho)| {
            Step::Add { client, cost, params: ReqParams::new(delta, rho) }
        }),
        10 => Just(Step::Pull),
        5 => span.prop_map(Step::Advance),
        1 => (0..5_000u64).prop_map(|ms| Step::GoBack(Duration::from_millis(ms))),
        1 => (0..6u32, any_params()).prop_map(|(client, params)| Step::Update { client, params }),
        1 => (1..5u64, visit).prop_map(|(of, visit)| Step::RemoveEvery { of, visit }),
        1 => (0..6u32).prop_map(Step::RemoveClient),
        1 => (0..6u32, phase, units(), units())
            .prop_map(|(client, phase, charged, actual)| Step::Settle { client, phase, charged, actual }),
        1 => Just(Step::Clean),
    ]
}

/// A queue beside a plain record of what must be in it.
struct Model {
    queue: TestQueue,
    table: Table,
    now: Time,
    next: u64,
    waiting: BTreeMap<u32, Vec<u64>>,
}

impl Model {
    fn new(config: Config, params: &[(f64, f64, f64)]) -> Model {
        let table = Table::default();
        (0..).zip(params).for_each(|(client, (r, w, l))| table.set(client, *r, *w, *l));
        let queue = TestQueue::new(config, table.clone()).unwrap();
        Model { queue, table, now: Time::ZERO, next: 0, waiting: BTreeMap::new() }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Add { client, cost, params } => {
                self.next += 1;
                match self.queue.add_with(&client, self.next, self.now, cost, params) {
                    Ok(()) => self.waiting.entry(client).or_default().push(self.next),
                    Err(refused) => assert_eq!(refused.request, self.next, "it comes back"),
                }
            }
            Step::Pull => self.pull(),
            Step::Advance(span) => self.now = self.now + span,
            Step::GoBack(span) => self.now = self.now - span,
            Step::Update { client, params: (r, w, l) } => {
                self.table.set(client, r, w, l);
                self.queue.update_client(&client);
            }
            Step::RemoveEvery { of, visit } => {
                let mut removed = self.queue.remove_if(visit, |_, request| request % of == 0);
                let mut expected = Vec::new();
                for waiting in self.waiting.values_mut() {
                    expected.extend(waiting.extract_if(.., |request| *request % of == 0));
                }
                removed.sort_unstable();
                expected.sort_unstable();
                assert_eq!(removed, expected);
            }
            Step::RemoveClient(client) => {
                let expected = self.waiting.remove(&client).unwrap_or_default();
                assert_eq!(self.queue.remove_client(&client, Visit::Forwards), expected);
            }
            Step::Settle { client, phase, charged, actual } => {
                self.queue.settle(&client, phase, charged, actual)
            }
            Step::Clean => self.queue.clean(self.now),
        }
    }

    fn pull(&mut self) {
        match self.queue.pull(self.now) {
            Pull::Request(pulled) => {
                let waiting = self.waiting.get_mut(&pulled.client).unwrap();
                assert_eq!(waiting.remove(0), pulled.request, "first in, first out for each client");
            }
            Pull::Future(at) => {
                assert!(at > self.now || self.now == Time::MAX, "a wait that is over at once would spin");
                assert_ne!(self.queue.config().at_limit, AtLimit::Allow, "capacity lies idle");
                assert!(!self.queue.is_empty());
            }
            Pull::None => {}
        }
    }

    fn check(&self) {
        let total: usize = self.waiting.values().map(Vec::len).sum();
        assert_eq!(self.queue.request_count(), total, "added = pulled + removed + waiting");
        for (client, waiting) in &self.waiting {
            assert_eq!(self.queue.request_count_of(client), waiting.len());
            assert_eq!(self.queue.head_tags(client).is_some(), !waiting.is_empty());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_nothing_panics_whatever_happens(
        config in any_config(),
        params in prop::collection::vec(any_params(), 6),
        steps in prop::collection::vec(any_step(), 1..150),
    ) {
        let mut model = Model::new(config, &params);
        for step in steps {
            model.step(step);
            model.check();
        }
        // Whatever waits is served when its time comes, if only that is waited for.
        for _ in 0..2_000 {
            match model.queue.pull(model.now) {
                Pull::Future(_) if model.now == Time::MAX => break,
                Pull::Future(at) => { prop_assert!(at > model.now); model.now = at; }
                Pull::Request(_) => {}
                Pull::None => break,
            }
        }
        prop_assert!(model.queue.is_empty() || model.now == Time::MAX, "{} wait", model.queue.request_count());
    }

    #[test]
    fn parameters_are_taken_or_an_error(r in any::<f64>(), w in any::<f64>(), l in any::<f64>()) {
        if let Ok(params) = Params::new(r, w, l) {
            let mut queue = Queue::<u8, u8, _>::new(Config::corrected(), |_: &u8| Some(params)).unwrap();
            queue.add_with(&1, 1, Time::MAX, u32::MAX, ReqParams::new(u32::MAX, u32::MAX)).unwrap();
            queue.pull(Time::MAX);
        }
    }
}

/// Clients with r, w, and l, of a device of 1,000 a second; reservations fit, all have a backlog.
fn any_cluster() -> impl Strategy<Value = Vec<(f64, f64, f64)>> {
    let client = (0..150u32, 1..50u32, prop::option::of(0..300u32));
    prop::collection::vec(client, 2..6).prop_map(|clients| {
        let params = |(r, w, over): (u32, u32, Option<u32>)| {
            (f64::from(r), f64::from(w), over.map_or(0.0, |over| f64::from(r + over + 20)))
        };
        clients.into_iter().map(params).collect()
    })
}

const CAPACITY: f64 = 1_000.0;

/// `min(l, max(r, λw))` of each, with λ such that they sum up to the capacity, or all at their limits.
fn entitled(clients: &[(f64, f64, f64)]) -> Vec<f64> {
    let at = |scale: f64| {
        let share =
            |(r, w, l): &(f64, f64, f64)| (scale * w).max(*r).min(if *l > 0.0 { *l } else { f64::MAX });
        clients.iter().map(share).collect::<Vec<f64>>()
    };
    let (mut low, mut high) = (0.0, 1e7);
    for _ in 0..200 {
        let middle = (low + high) / 2.0;
        if at(middle).iter().sum::<f64>() < CAPACITY { low = middle } else { high = middle }
    }
    at(low)
}

fn queue_of(config: Config, clients: &[(f64, f64, f64)]) -> (TestQueue, Vec<u32>) {
    let table = Table::default();
    (0..).zip(clients).for_each(|(client, (r, w, l))| table.set(client, *r, *w, *l));
    (TestQueue::new(config, table).unwrap(), (0..clients.len() as u32).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn backlogged_clients_get_what_they_are_entitled_to(clients in any_cluster()) {
        let (mut queue, ids) = queue_of(Config::corrected(), &clients);
        let shares = support::backlog(&mut queue, &ids, CAPACITY, 0.0, 10.0);
        for (client, expected) in (0..).zip(entitled(&clients)) {
            let (r, _, l) = clients[client as usize];
            let share = shares[&client];
            prop_assert!(share >= r - 0.5, "{share} is below the reservation of {r}");
            prop_assert!(l == 0.0 || share <= l + 0.5, "{share} is above the limit of {l}");
            prop_assert!((share - expected).abs() <= 0.02 * CAPACITY, "{share} of {expected}: {shares:?}");
        }
    }

    #[test]
    fn a_limit_holds_in_every_window_but_for_the_credit(
        clients in any_cluster(),
        pauses in prop::collection::vec((0..5u32, 0..3_000u64, 0..3_000u64), 0..6),
    ) {
        let (mut queue, ids) = queue_of(Config::corrected(), &clients);
        let mut served: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
        for n in 0..6_000u64 {
            let now = Time::from_millis(n);
            for id in &ids {
                let is_paused = pauses.iter().any(|(who, from, span)| who == id && (*from..from + span).contains(&n));
                if !is_paused && queue.request_count_of(id) < 40 {
                    queue.add(id, n, now).unwrap();
                }
            }
            if let Pull::Request(pulled) = queue.pull(now) {
                served.entry(pulled.client).or_default().push(now.as_secs_f64());
            }
        }
        for (client, times) in served {
            let (r, _, l) = clients[client as usize];
            if l == 0.0 { continue }
            // The credit of a second on the limit; reservations that were late do not ask the limit.
            let most = |span: f64| l * (span + 1.0) + r + 2.0;
            for (n, from) in times.iter().enumerate().step_by(7) {
                for (m, to) in times.iter().enumerate().skip(n).step_by(11) {
                    let count = (m - n + 1) as f64;
                    prop_assert!(count <= most(to - from), "{count} in {} s, limit {l}", to - from);
                }
            }
        }
    }

    #[test]
    fn who_was_away_is_neither_punished_nor_ahead(clients in any_cluster(), away_s in 1..30u32, who in 0..5usize) {
        let clients: Vec<_> = clients.into_iter().map(|(r, w, _)| (r, w, 0.0)).collect();
        let who = (who % clients.len()) as u32;
        let (mut queue, ids) = queue_of(Config::corrected(), &clients);
        let others: Vec<u32> = ids.iter().copied().filter(|id| *id != who).collect();
        support::backlog(&mut queue, &ids, CAPACITY, 0.0, 2.0);
        let back = 2.0 + f64::from(away_s);
        queue.remove_client(&who, Visit::Forwards);
        support::backlog(&mut queue, &others, CAPACITY, 2.0, back);
        let shares = support::backlog(&mut queue, &ids, CAPACITY, back, back + 2.0);
        let expected = entitled(&clients)[who as usize];
        prop_assert!((shares[&who] - expected).abs() <= 0.03 * CAPACITY, "{} of {expected}", shares[&who]);
    }

    #[test]
    fn a_reservation_is_kept_while_it_has_work_whatever_the_others_do(
        clients in any_cluster(),
        ask_ms in 1..40u64,
    ) {
        let (mut queue, ids) = queue_of(Config::corrected(), &clients);
        let first = clients[0].0.min(1_000.0 / ask_ms as f64);
        let mut got = 0.0;
        for n in 0..5_000u64 {
            let now = Time::from_millis(n);
            if n % ask_ms == 0 {
                queue.add(&0, n, now).unwrap();
            }
            for id in &ids[1..] {
                if queue.request_count_of(id) < 5 {
                    queue.add(id, n, now).unwrap();
                }
            }
            if let Pull::Request(pulled) = queue.pull(now) {
                got += f64::from(u8::from(pulled.client == 0)) / 5.0;
            }
        }
        prop_assert!(got >= first * 0.98 - 1.0, "{got} of {first}");
    }

    #[test]
    fn time_that_stands_still_shares_by_weight(weights in prop::collection::vec(1..100u32, 2..6)) {
        let clients: Vec<_> = weights.iter().map(|w| (0.0, f64::from(*w), 0.0)).collect();
        let (mut queue, ids) = queue_of(Config::corrected(), &clients);
        ids.iter().for_each(|id| (0..2_000).for_each(|n| queue.add(id, n, secs(1.0)).unwrap()));
        let counts = support::pull_counts(&mut queue, secs(1.0), 2_000, Some(Phase::Priority));
        let total: u32 = weights.iter().sum();
        for (id, weight) in ids.iter().zip(&weights) {
            let expected = 2_000.0 * f64::from(*weight) / f64::from(total);
            let count = counts.get(id).copied().unwrap_or_default() as f64;
            prop_assert!((count - expected).abs() <= ids.len() as f64 + 1.0, "{count} of {expected}");
        }
    }
}
