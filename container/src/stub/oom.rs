//! Where the kernel kills only one process for lack of memory (v1), the task ends as a whole all the same: what is left after that is
//! rarely what its author thought of, and what the parent of the killed process makes of it is anybody's guess.

use crate::cgroup::OomWatch;
use crate::deadline::boottime_ms;
use std::os::fd::{AsFd, BorrowedFd};

/// The hint comes before the kill, which takes the kernel no longer than this; and no kill follows where something was dying already.
const KILL_TAKES_MS: u64 = 1_000;
/// Between looks in that time.
const LOOKS_MS: u64 = 2;

/// The watch, and where it stands.
pub struct OomKill<'a> {
    watch: &'a OomWatch,
    killed: bool,
    /// Since a hint: until when to look for a kill, and when next.
    looking: Option<(u64, u64)>,
}

impl<'a> OomKill<'a> {
    /// Nothing has happened yet.
    pub fn new(watch: &'a OomWatch) -> OomKill<'a> {
        OomKill { watch, killed: false, looking: None }
    }

    /// When to look again.
    pub fn look_at_ms(&self) -> Option<u64> {
        self.looking.map(|(_, at)| at)
    }

    /// Whether a hint is waited for: not while looking, nor after a kill. Members that want memory before the killed one has given its own back, this
    /// process among them, raise one hint after the other, and who follows each of them takes the time that the killed one needs to end.
    pub fn listens(&self) -> bool {
        !self.killed && self.looking.is_none()
    }

    /// Whether a process was found to be killed for lack of memory since the last look. `hinted` when the event can be read.
    pub fn look(&mut self, hinted: bool) -> bool {
        let now = boottime_ms();
        if hinted && self.listens() && self.watch.take_event() {
            self.looking = Some((now + KILL_TAKES_MS, now));
        }
        let Some((until, _)) = self.looking else { return false };
        self.killed = self.watch.killed();
        self.looking = (!self.killed && now < until).then_some((until, now + LOOKS_MS));
        self.killed
    }

    /// Whether a process was killed for lack of memory, as far as there was a hint of it.
    pub fn killed(&mut self) -> bool {
        self.look(true);
        self.killed
    }
}

/// To be polled.
impl AsFd for OomKill<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.event()
    }
}
