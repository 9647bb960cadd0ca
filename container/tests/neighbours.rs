//! Bad neighbours: while one task does its worst inside its limits, how long do other tasks take to start and end? Quiet and disturbed starts are measured
//! in turns, a few of each at a time, so that whatever else the machine does meets both alike; the table says both:
//! `cargo test --release -p shoal-container --test neighbours -- --nocapture`, on a quiet machine, gives the figures of docs/benchmarks.md
//! (`SHOAL_NEIGHBOUR_STARTS` sets the number of starts for each, `SHOAL_NEIGHBOUR` chooses one kind).
#![allow(clippy::unwrap_used)]

mod support;

use shoal_container::protocol::{Cause, Event, Limits, Request};
use std::time::{Duration, Instant};
use support::{TestRunner, slowness};

/// Starts for each measurement in a test run: enough for its limit, which is loose.
const STARTS: usize = 60;
/// Starts of one turn.
const TURN: usize = 20;
/// Starts that are not measured after the neighbour has started, until it is at its worst; nor after it has gone.
const LEAD: usize = 10;
/// How much longer the slowest hundredth of starts may take beside a bad neighbour. The goal, on a quiet machine, is 2; a test shares its machine with
/// other tests, which the quiet measurement may just have missed, so it also gets some time for nothing: it finds neighbours that hold others up for
/// seconds, and the figures find the rest.
const TIMES_MAX: u32 = 4;
const SPARE: Duration = Duration::from_secs(1);
/// A task that may use half of a machine with two cores.
const LIMITS: Limits = Limits::new(1000, 64 << 20, 64);

/// Less than the memory: where the logs lie in memory themselves, they are charged to the task.
const LOG_BYTES: u64 = 16 << 20;

/// What a bad neighbour runs. One that ends (killed for its memory, say) is started again at once, as by somebody who does not give up.
const BAD: [(&str, &str); 7] = [
    ("log bomb", "exec tr '\\0' x </dev/zero"),
    (
        "fork bomb",
        // A shell that cannot fork gives up; this one begins anew.
        "echo \"trap 'exec sh /tmp/bomb' EXIT; b() { b | b & }; while :; do b; done\" >/tmp/bomb; exec sh /tmp/bomb 2>/dev/null",
    ),
    ("out of memory", "exec tail /dev/zero"),
    ("zombie storm", "while :; do sh -c 'for i in $(seq 40); do true & done; exec usleep 20000'; done"),
    ("double fork storm", "while :; do sh -c 'setsid sh -c \"true & exec true\" & exit'; done"),
    ("tmpfs filler", "while :; do dd if=/dev/zero of=/tmp/fill bs=1M 2>/dev/null; rm /tmp/fill; done"),
    (
        "inode filler",
        "cd /tmp; while :; do i=0; while true 2>/dev/null >f$i; do i=$((i+1)); done; rm -r /tmp/f*; done",
    ),
];

#[test]
fn a_task_starts_nearly_as_fast_beside_a_bad_neighbour() {
    let starts = std::env::var("SHOAL_NEIGHBOUR_STARTS").map_or(STARTS, |text| text.parse().unwrap());
    let mut street = Street { runner: TestRunner::new(), next: 0, bad: None, ended: 0 };
    println!(
        "{:<18} {:>22} {:>22} {:>8} {:>8}",
        "neighbour", "quiet median / p99 ms", "beside it, ms", "p99 is", "its ends"
    );
    let mut wrong = Vec::new();
    let only = std::env::var("SHOAL_NEIGHBOUR").ok();
    for (name, script) in BAD.into_iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name)) {
        let (quiet, beside) = street.compare(script, starts);
        println!(
            "{name:<18} {:>22} {:>22} {:>7.1}x {:>8}",
            quiet.text(),
            beside.text(),
            beside.p99.as_secs_f64() / quiet.p99.as_secs_f64(),
            street.ended
        );
        let limit = (quiet.p99 * TIMES_MAX).max(quiet.p99 + SPARE) * u32::try_from(slowness()).unwrap();
        if beside.p99 > limit {
            wrong.push(format!("{name}: p99 {:?}, above {limit:?}", beside.p99));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A runner, and perhaps a bad neighbour on it.
struct Street {
    runner: TestRunner,
    next: usize,
    /// The neighbour's present attempt and what it runs.
    bad: Option<(String, &'static str)>,
    /// How often one ended by itself.
    ended: usize,
}

/// What starts took, from the request to the known end.
struct Took {
    median: Duration,
    p99: Duration,
}

impl Took {
    fn of(mut took: Vec<Duration>) -> Took {
        took.sort_unstable();
        Took { median: took[took.len() / 2], p99: took[took.len() * 99 / 100] }
    }

    fn text(&self) -> String {
        let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
        format!("{:.2} / {:.2}", ms(self.median), ms(self.p99))
    }
}

impl Street {
    fn id(&mut self) -> String {
        self.next += 1;
        format!("neighbour.{}", self.next)
    }

    /// At least so many starts, quiet and beside the neighbour.
    fn compare(&mut self, script: &'static str, starts: usize) -> (Took, Took) {
        let (mut quiet, mut beside) = (Vec::new(), Vec::new());
        self.ended = 0;
        while quiet.len() < starts {
            quiet.extend(self.turn());
            self.move_in(script);
            beside.extend(self.turn());
            self.move_out();
        }
        (Took::of(quiet), Took::of(beside))
    }

    /// One task after the other.
    fn turn(&mut self) -> Vec<Duration> {
        (0..LEAD + TURN).map(|_| self.one()).skip(LEAD).collect()
    }

    fn one(&mut self) -> Duration {
        let id = self.id();
        let mut start = self.runner.command(&id, &["/bin/true"]);
        start.limits = LIMITS;
        let begin = Instant::now();
        self.runner.start(start);
        loop {
            let bad = self.bad.as_ref().map(|(id, _)| id.clone());
            let ours = |other: &String| *other == id || Some(other) == bad.as_ref();
            let (ended, cause) = self.runner.event("an end", |event| match event {
                Event::Ended { id, end } if ours(id) => Some((id.clone(), end.cause.clone())),
                _ => None,
            });
            self.runner.send(&Request::Forget { id: ended.clone() });
            if ended == id {
                assert_eq!(cause, Cause::Code(0));
                return begin.elapsed();
            }
            self.ended += 1;
            let (_, script) = self.bad.take().unwrap();
            self.start_bad(script);
        }
    }

    fn move_in(&mut self, script: &'static str) {
        self.start_bad(script);
        let (id, _) = self.bad.clone().unwrap();
        self.runner.started(&id);
    }

    fn start_bad(&mut self, script: &'static str) {
        let id = self.id();
        let mut start = self.runner.script(&id, script);
        start.limits = LIMITS;
        start.log_bytes_max = LOG_BYTES;
        self.runner.start(start);
        self.bad = Some((id, script));
    }

    fn move_out(&mut self) {
        let (id, _) = self.bad.take().unwrap();
        self.runner.send(&Request::Stop { id: id.clone(), grace_ms: 0 });
        self.runner.end(&id);
        self.runner.send(&Request::Forget { id });
    }
}
