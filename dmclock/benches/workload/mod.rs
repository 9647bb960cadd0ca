//! What is measured: a queue of so many clients with four requests each; every decision adds one request for a random client and pulls one.

use dmclock::{AtLimit, Config, Params, Queue, Time};

/// Requests of each client at the start. Since adds are random, queues then vary, and some run empty.
const DEPTH: u32 = 4;
/// Decisions a second that time advances by: a device of 100,000 requests a second.
const STEP_NS: u64 = 10_000;

/// What decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Reservations of which one is always due.
    Reservation,
    /// Weights from 1 to 8, reservations that are a tenth of the device and limits that nobody reaches.
    Weight,
    /// Weights, and limits that stop most clients most of the time.
    Limit,
}

impl Load {
    /// All of them.
    pub const ALL: [Load; 3] = [Load::Reservation, Load::Weight, Load::Limit];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Load::Reservation => "reservation",
            Load::Weight => "weight",
            Load::Limit => "limit",
        }
    }

    fn params(self, client: u64, clients: u64) -> Params {
        let fair = 100_000.0 / clients as f64;
        let weight = 1.0 + (client % 8) as f64;
        match self {
            Load::Reservation => Params::new(4.0 * fair, weight, 0.0),
            Load::Weight => Params::new(fair / 10.0, weight, 50.0 * fair),
            Load::Limit => Params::new(0.0, weight, 1.2 * fair),
        }
        .expect("all in range")
    }
}

type Source = Box<dyn Fn(&u64) -> Option<Params>>;

/// A queue in use.
pub struct World {
    queue: Queue<u64, u64, Source>,
    clients: u64,
    now_ns: u64,
    state: u64,
}

impl World {
    /// With every client known and warm.
    pub fn new(load: Load, clients: u64, config: Config) -> World {
        // With limits, who waits for one must not leave the device idle, or there would be no decision to measure.
        let at_limit = if load == Load::Limit { AtLimit::Allow } else { AtLimit::Wait };
        let source: Source = Box::new(move |client| Some(load.params(*client, clients)));
        let queue = Queue::new(Config { at_limit, ..config }, source).expect("no contradiction");
        let mut world = World { queue, clients, now_ns: 0, state: 7 };
        for n in 0..u64::from(DEPTH) * clients {
            world.queue.add(&(n % clients), n, Time::ZERO).expect("nobody is refused");
        }
        (0..8 * clients.max(1_000)).for_each(|_| world.decide());
        world
    }

    /// One add and one pull.
    pub fn decide(&mut self) {
        self.now_ns += STEP_NS;
        // Knuth's MMIX generator: cheap, and its high bits are good enough here.
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let client = ((u128::from(self.state) * u128::from(self.clients)) >> 64) as u64;
        let now = Time::from_nanos(self.now_ns);
        let added = self.queue.add(&client, self.now_ns, now).is_ok();
        let pulled = self.queue.pull(now).request();
        assert!(added & pulled.is_some(), "every decision adds and pulls");
    }
}
