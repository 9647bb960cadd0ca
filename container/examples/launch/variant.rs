//! What is compared: ways to start a task.

use super::Result;
use std::time::Duration;

/// One way to start tasks.
pub trait Variant {
    /// As in the tables.
    fn name(&self) -> &str;

    /// Starts `true` so often, with so many at once, and returns what each took from the request to its known end. A start that fails, or a task
    /// that ends otherwise than with code 0, fails the whole.
    fn run(&mut self, starts: usize, in_flight: usize) -> Result<Vec<Duration>>;

    /// The process that works for this variant all the time, if there is one.
    fn servant(&self) -> Option<u32>;

    /// Starts so many tasks that sleep, and returns once all of them do.
    fn start_idle(&mut self, count: usize) -> Result<()>;

    /// Ends them, and returns once they are gone.
    fn end_idle(&mut self) -> Result<()>;

    /// Ends what works for it.
    fn close(self: Box<Self>) -> Result<()>;
}

/// One round of a variant.
pub struct Round {
    /// Each start, from the request to the known end.
    pub took: Vec<Duration>,
    /// All of it.
    pub total: Duration,
    /// Processor time of the processes concerned.
    pub processes: Duration,
    /// Processor time of the whole machine.
    pub machine: Duration,
}

impl Round {
    /// Starts a second.
    pub fn rate(&self) -> f64 {
        self.took.len() as f64 / self.total.as_secs_f64()
    }

    /// Milliseconds of the processes' time for a start.
    pub fn processes_ms(&self) -> f64 {
        self.processes.as_secs_f64() * 1000.0 / self.took.len() as f64
    }

    /// Milliseconds of the machine's time for a start.
    pub fn machine_ms(&self) -> f64 {
        self.machine.as_secs_f64() * 1000.0 / self.took.len() as f64
    }
}
