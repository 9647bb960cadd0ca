//! The reference's simulator as a discrete-event simulation: same clients, same servers, same rule of hand-over, but time is computed, so that a run takes
//! milliseconds and says the same every time.
//!
//! A client asks once an interval, as long as not too many of its requests are under way. A server has a queue that is under test, and behind it a short line of
//! first come, first served: the queue hands one request over at each arrival, completion and timer, if at most as many wait in the line as it has threads.

use dmclock::{AtLimit, Config, OriginalTracker, Params, Phase, Pull, Queue, ServiceTracker, Time};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// A group of clients that are alike (a `[client.N]` of the reference's files).
#[derive(Clone, Copy)]
pub struct Clients {
    pub count: usize,
    pub wait_s: u64,
    pub total_ops: u64,
    pub select_range: u64,
    pub iops_goal: f64,
    pub outstanding: usize,
    /// r, w, l.
    pub params: (f64, f64, f64),
    pub cost: u32,
}

impl Clients {
    /// What the reference's files leave out most often.
    pub const DEFAULT: Clients = Clients {
        count: 1,
        wait_s: 0,
        total_ops: 1_000,
        select_range: 1,
        iops_goal: 200.0,
        outstanding: 32,
        params: (0.0, 1.0, 0.0),
        cost: 1,
    };
}

/// A file of the reference's simulator.
#[derive(Clone)]
pub struct Scenario {
    pub servers: usize,
    pub server_iops: f64,
    pub random_selection: bool,
    pub soft_limit: bool,
    pub clients: Vec<Clients>,
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}

/// Completions: of which client, when, in which phase.
pub struct Outcome {
    pub done: Vec<(usize, f64, Phase)>,
    pub reservation: u64,
    pub priority: u64,
}

impl Outcome {
    /// Operations a second of a client.
    pub fn rate(&self, client: usize, from_s: f64, to_s: f64) -> f64 {
        let of = |(who, at, _): &&(usize, f64, Phase)| *who == client && (from_s..to_s).contains(at);
        self.done.iter().filter(of).count() as f64 / (to_s - from_s)
    }

    /// When the client's last operation was done.
    pub fn end(&self, client: usize) -> f64 {
        self.done.iter().filter(|done| done.0 == client).map(|done| done.1).fold(0.0, f64::max)
    }

    /// Part of the services that were by reservation.
    pub fn reservation_part(&self) -> f64 {
        self.reservation as f64 / (self.reservation + self.priority) as f64
    }
}

struct Client {
    group: Clients,
    tracker: ServiceTracker<usize, OriginalTracker>,
    sent: u64,
    under_way: usize,
    /// Not before this, by its goal.
    next_at: Time,
}

type Source = Box<dyn Fn(&usize) -> Option<Params>>;

struct Server {
    queue: Queue<usize, (), Source>,
    line: VecDeque<(usize, Phase, u32)>,
    in_service: Option<(usize, Phase, u32)>,
    timer: Option<Time>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Done(usize),
    Timer(usize),
    Send(usize),
}

struct Sim<'a> {
    scenario: &'a Scenario,
    rng: Rng,
    clients: Vec<Client>,
    servers: Vec<Server>,
    /// By time, and within it in the order of their making.
    events: BTreeMap<(Time, u64), Event>,
    made: u64,
    outcome: Outcome,
}

/// Plays it to the end.
pub fn run(scenario: &Scenario, config: Config, seed: u64) -> Outcome {
    let mut sim = Sim::new(scenario, config, seed);
    while let Some(((now, _), event)) = sim.events.pop_first() {
        match event {
            Event::Send(client) => sim.send(client, now),
            Event::Done(server) => sim.finish(server, now),
            Event::Timer(server) => {
                if sim.servers[server].timer == Some(now) {
                    sim.servers[server].timer = None;
                    sim.hand_over(server, now);
                }
            }
        }
    }
    for server in &sim.servers {
        assert!(server.queue.is_empty() && server.line.is_empty(), "every request was served");
    }
    sim.outcome
}

impl<'a> Sim<'a> {
    fn new(scenario: &'a Scenario, config: Config, seed: u64) -> Sim<'a> {
        let groups: Vec<Clients> = scenario.clients.iter().flat_map(|g| vec![*g; g.count]).collect();
        let params: Vec<Params> =
            groups.iter().map(|g| Params::new(g.params.0, g.params.1, g.params.2).unwrap()).collect();
        let at_limit = if scenario.soft_limit { AtLimit::Allow } else { AtLimit::Wait };
        let server = |_| {
            let params = params.clone();
            let source: Source = Box::new(move |client| params.get(*client).copied());
            let queue = Queue::new(Config { at_limit, ..config }, source).unwrap();
            Server { queue, line: VecDeque::new(), in_service: None, timer: None }
        };
        let mut sim = Sim {
            scenario,
            rng: Rng(seed),
            clients: Vec::new(),
            servers: (0..scenario.servers).map(server).collect(),
            events: BTreeMap::new(),
            made: 0,
            outcome: Outcome { done: Vec::new(), reservation: 0, priority: 0 },
        };
        for (n, group) in groups.into_iter().enumerate() {
            let next_at = Time::from_secs(group.wait_s);
            sim.at(next_at, Event::Send(n));
            sim.clients.push(Client {
                group,
                tracker: ServiceTracker::new(),
                sent: 0,
                under_way: 0,
                next_at,
            });
        }
        sim
    }

    fn at(&mut self, at: Time, event: Event) {
        self.made += 1;
        self.events.insert((at, self.made), event);
    }

    fn send(&mut self, n: usize, now: Time) {
        let offset = {
            let client = &self.clients[n];
            let (group, random) = (client.group, self.scenario.random_selection);
            let may_send = client.sent < group.total_ops && client.under_way < group.outstanding;
            if !may_send || now < client.next_at {
                return;
            }
            (if random { self.rng.next() } else { client.sent }) % group.select_range
        };
        let per_client = self.scenario.servers as f64 / self.clients.len() as f64;
        let server = ((0.5 + n as f64 * per_client) as usize + offset as usize) % self.scenario.servers;
        let client = &mut self.clients[n];
        client.sent += 1;
        client.under_way += 1;
        client.next_at = now + Duration::from_micros((1e6 / client.group.iops_goal).round() as u64);
        let (next_at, cost) = (client.next_at, client.group.cost);
        let params = client.tracker.request_params(server, now);
        self.servers[server].queue.add_with(&n, (), now, cost, params).unwrap();
        self.at(next_at, Event::Send(n));
        self.hand_over(server, now);
    }

    fn hand_over(&mut self, n: usize, now: Time) {
        let server = &mut self.servers[n];
        if server.line.len() > 1 {
            return;
        }
        match server.queue.pull(now) {
            Pull::Request(pulled) => {
                server.line.push_back((pulled.client, pulled.phase, pulled.cost));
                match pulled.phase {
                    Phase::Reservation => self.outcome.reservation += 1,
                    Phase::Priority => self.outcome.priority += 1,
                }
                self.begin(n, now);
            }
            Pull::Future(at) => {
                assert!(at > now, "a timer that is due already would spin");
                server.timer = Some(at);
                self.at(at, Event::Timer(n));
            }
            Pull::None => {}
        }
    }

    fn begin(&mut self, n: usize, now: Time) {
        let server = &mut self.servers[n];
        if server.in_service.is_some() {
            return;
        }
        if let Some(next) = server.line.pop_front() {
            server.in_service = Some(next);
            let takes_us = (1e6 / self.scenario.server_iops).round() as u64 * u64::from(next.2);
            self.at(now + Duration::from_micros(takes_us), Event::Done(n));
        }
    }

    fn finish(&mut self, n: usize, now: Time) {
        let Some((who, phase, cost)) = self.servers[n].in_service.take() else { return };
        let client = &mut self.clients[who];
        client.tracker.track_response(n, phase, cost, now);
        client.under_way -= 1;
        let next_at = client.next_at.max(now);
        self.outcome.done.push((who, now.as_secs_f64(), phase));
        self.hand_over(n, now);
        self.begin(n, now);
        self.at(next_at, Event::Send(who));
    }
}
