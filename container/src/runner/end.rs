//! The end of an attempt: the stub is reaped, its record read, the out-of-memory count taken, the control group removed, the server told.

use super::Runner;
use super::attempt::{Alive, Happening, Lent, Phase, untoken};
use crate::deadline::boottime_ms;
use crate::failpoint;
use crate::protocol::{Cause, End, Event};
use crate::record::{AttemptDir, StartRecord, StatusRecord};
use crate::stub::STARTED;
use rustix::process::{WaitId, WaitIdOptions};
use std::os::fd::{AsFd, BorrowedFd};

/// A control group can stay populated for a moment after its last process was reaped, and neither version tells all cases of
/// its becoming empty by an event. So the removal is tried again so soon at first, twice as late each time,
const REMOVAL_RETRY_MS: u64 = 2;
/// and no later than this,
pub(super) const REMOVAL_RETRY_MS_MAX: u64 = 500;
/// as long as a process is in it, and else so often: then something that is not ours holds it, and the end is told all the same.
const REMOVALS_MAX: u32 = 10;

impl Runner {
    /// Something happened to an attempt.
    pub(super) fn attempt_event(&mut self, token: u64) {
        match untoken(token) {
            Some((number, Happening::Report)) => self.read_report(number),
            Some((number, Happening::Exit)) => self.stub_exited(number),
            None => {}
        }
    }

    fn read_report(&mut self, number: u64) {
        let Some(attempt) = self.attempts.get_mut(number) else { return };
        let Phase::Alive(alive) = &mut attempt.phase else { return };
        let Some(report) = alive.report.take() else { return };
        let mut byte = [0];
        // Closing the pipe ends the watch on it.
        if rustix::io::read(&report, &mut byte).is_ok_and(|n| n == 1) && byte[0] == STARTED {
            failpoint!("runner.before_started");
            let event = Event::Started { id: attempt.id.clone(), pid: alive.pid.as_raw_nonzero().get() };
            self.tell(&event);
        }
    }

    /// The stub is dead, and with it the whole pid namespace.
    pub(super) fn stub_exited(&mut self, number: u64) {
        // Both may come in one turn, in any order; a start is told before its end.
        self.read_report(number);
        let Some(attempt) = self.attempts.get_mut(number) else { return };
        let Phase::Alive(alive) = &attempt.phase else { return };
        failpoint!("runner.before_reap");
        // Fails for an adopted stub, which is another's child and another's to reap.
        let status = rustix::process::waitid(WaitId::PidFd(alive.pidfd.as_fd()), WaitIdOptions::EXITED);
        let how =
            status.ok().flatten().map_or("ended".to_owned(), |status| match status.terminating_signal() {
                Some(signal) => format!("was killed by signal {signal}"),
                None => format!("exited with {}", status.exit_status().unwrap_or(-1)),
            });
        let dir = AttemptDir::at(&self.options.attempts_dir, &attempt.id);
        let group = self.cgroups.group(&attempt.id);
        failpoint!("runner.before_conclude");
        let end = conclude(&dir, alive, &how, group.oom_killed());
        let removing = Phase::Removing { end, tries: 0, at_ms: 0 };
        if let Phase::Alive(alive) = std::mem::replace(&mut attempt.phase, removing) {
            match alive.lent {
                Lent::Slot { slot, reusable } => self.slots.give_back(slot, reusable),
                Lent::Number(number) => number.into_iter().for_each(|number| self.slots.release(number)),
            }
        }
        failpoint!("runner.before_group_removal");
        self.remove_group(number);
    }

    /// Removes the control group, or arranges for another try.
    pub(super) fn remove_group(&mut self, number: u64) {
        let Some(attempt) = self.attempts.get_mut(number) else { return };
        let Phase::Removing { end, tries, at_ms } = &mut attempt.phase else { return };
        let group = self.cgroups.group(&attempt.id);
        if group.remove().is_err() && (*tries < REMOVALS_MAX || group.populated()) {
            group.kill();
            let delay_ms = REMOVAL_RETRY_MS << (*tries).min(8);
            *at_ms = boottime_ms() + delay_ms.min(REMOVAL_RETRY_MS_MAX);
            *tries += 1;
            return;
        }
        let (id, end) = (attempt.id.clone(), end.clone());
        self.attempts.set(number, Phase::Ended(end.clone()));
        failpoint!("runner.before_ended");
        self.tell(&Event::Ended { id, end });
    }

    /// For a stub that was killed because it could not be watched: waits for it, which a SIGKILL makes short.
    pub(super) fn reap_blindly(&mut self, number: u64) {
        self.stub_exited(number);
    }
}

/// What the record says, or what can be said without one. The end is then recorded, so that a later runner says the same.
fn conclude(dir: &AttemptDir, alive: &Alive, how: &str, oom_killed: bool) -> End {
    let Ok(status) = dir.open_status() else {
        let cause = Cause::Vanished(format!("its stub {how} and its status cannot be opened"));
        return End { cause, oom_killed, log_truncated: false };
    };
    if let Some(StatusRecord { cause, log_truncated, .. }) = StatusRecord::read(status.as_fd()) {
        return End { cause, oom_killed, log_truncated };
    }
    let why = match alive.killed {
        Some(why) => format!("killed: {why}"),
        None if alive.page.as_ref().is_some_and(|page| page.passed()) => {
            "the node's deadline passed, so the container ended itself".to_owned()
        }
        None => format!("its stub {how} and left no status"),
    };
    vanished(dir, status.as_fd(), why, oom_killed)
}

/// The end of an attempt whose wait status nobody saw, recorded.
pub(super) fn vanished(dir: &AttemptDir, status: BorrowedFd<'_>, why: String, oom_killed: bool) -> End {
    let log_truncated =
        StartRecord::read(status).is_some_and(|record| dir.log_bytes() > record.start.log_bytes_max);
    let cause = Cause::Vanished(why);
    // If it cannot be written, a later runner comes to the same end in other words.
    let _ = StatusRecord::new(cause.clone(), log_truncated).append(status);
    End { cause, oom_killed, log_truncated }
}
