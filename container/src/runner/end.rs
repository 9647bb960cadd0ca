//! The end of an attempt: the stub is reaped, its record read, the out-of-memory count taken, the control group removed, the server told.

use super::attempt::{Alive, Lent, Phase};
use super::{Runner, stuck};
use crate::deadline::boottime_ms;
use crate::failpoint;
use crate::protocol::{Cause, End, Event};
use crate::record::{AttemptDir, StartRecord, StatusRecord};
use rustix::process::{WaitId, WaitIdOptions};
use std::os::fd::{AsFd, BorrowedFd};

/// A control group can stay populated for a moment after its last process was reaped, and neither version tells all cases of
/// its becoming empty by an event. So the removal is tried again so soon at first, twice as late each time,
const REMOVAL_RETRY_MS: u64 = 2;
/// and no later than this,
pub(super) const REMOVAL_RETRY_MS_MAX: u64 = 500;
/// as long as a process is in it, and else so often: then something that is not ours holds it, and the end is told all the same.
const REMOVALS_MAX: u32 = 10;
/// With a process in it after so many removals, [`stuck::STUCK_AFTER_MS`] have passed: 9 of them take the first second.
const STUCK_AFTER_REMOVALS: u32 = 9 + (stuck::STUCK_AFTER_MS / REMOVAL_RETRY_MS_MAX) as u32;

impl Runner {
    /// The stub is dead, and with it the whole pid namespace.
    pub(super) fn stub_exited(&mut self, number: u64) {
        // Both may come in one turn, in any order; a start is told before its end.
        self.read_reports();
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
        let oom_killed = self.cgroups.group(&attempt.id).oom_killed();
        failpoint!("runner.before_conclude");
        let end = match dir.open_status() {
            Ok(status) => conclude(&dir, status.as_fd(), oom_killed, || unseen(alive, &how, oom_killed)),
            Err(_) => {
                let cause = Cause::Vanished(format!("its stub {how} and its status cannot be opened"));
                End { cause, oom_killed, log_truncated: false }
            }
        };
        let group = self.cgroups.group(&attempt.id);
        let ran = started(&end);
        let removing = Phase::Removing { end, tries: 0, at_ms: 0 };
        let mut kept = false;
        if let Phase::Alive(alive) = std::mem::replace(&mut attempt.phase, removing) {
            match alive.lent {
                Lent::Slot { mut slot, reusable, limits } => {
                    failpoint!("runner.before_group_removal");
                    if ran {
                        slot.keep_group(&group, &limits);
                    } else {
                        slot.drop_group();
                    }
                    kept = slot.group.is_some();
                    self.slots.give_back(*slot, reusable);
                }
                Lent::Number(number) => number.into_iter().for_each(|number| self.slots.release(number)),
            }
        }
        if kept { self.ended(number) } else { self.remove_group(number) }
    }

    /// Removes the control group, or arranges for another try.
    pub(super) fn remove_group(&mut self, number: u64) {
        let Some(attempt) = self.attempts.get_mut(number) else { return };
        let Phase::Removing { tries, at_ms, .. } = &mut attempt.phase else { return };
        let group = self.cgroups.group(&attempt.id);
        if group.remove().is_err() && (*tries < REMOVALS_MAX || group.populated()) {
            group.kill();
            let delay_ms = REMOVAL_RETRY_MS << (*tries).min(8);
            *at_ms = boottime_ms() + delay_ms.min(REMOVAL_RETRY_MS_MAX);
            *tries += 1;
            group.thaw();
            if *tries == STUCK_AFTER_REMOVALS {
                let event = Event::Stuck { id: attempt.id.clone(), why: stuck::describe(&group) };
                self.tell(&event);
            }
            return;
        }
        self.ended(number);
    }

    /// Nothing is left of it.
    fn ended(&mut self, number: u64) {
        let Some(attempt) = self.attempts.get_mut(number) else { return };
        let Phase::Removing { end, .. } = &attempt.phase else { return };
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

/// Whether its container stood, so that its control group is whole.
fn started(end: &End) -> bool {
    match end.cause {
        Cause::Setup(_) | Cause::Vanished(_) => false,
        Cause::Code(_) | Cause::Signal(_) | Cause::TimeLimit => true,
        Cause::NotFound(_) | Cause::NotExecutable(_) => true,
    }
}

/// What ended an attempt of which nothing is recorded.
fn unseen(alive: &Alive, how: &str, oom_killed: bool) -> Cause {
    Cause::Vanished(match &alive.killed {
        Some(killed) => format!("killed: {}", killed.why),
        // Where the runner may not protect its stubs from that, the kernel sometimes kills them too, and with them all that is left.
        None if oom_killed && alive.started => return Cause::Signal(libc::SIGKILL as u8),
        None if alive.page.as_ref().is_some_and(|page| page.passed()) => {
            "the node's deadline passed, so the container ended itself".to_owned()
        }
        None => format!("its stub {how} and left no status"),
    })
}

/// What the record says, or else what `unseen` does. What the record does not say is added to it, so that a later runner, which has no control group to ask,
/// says the same. (If it cannot be written, that runner comes to nearly the same end in other words.)
pub(super) fn conclude(
    dir: &AttemptDir,
    status: BorrowedFd<'_>,
    oom_killed: bool,
    unseen: impl FnOnce() -> Cause,
) -> End {
    let recorded = StatusRecord::read(status);
    let was_recorded = recorded.is_some();
    let complete = recorded.as_ref().is_some_and(|record| record.oom_killed || !oom_killed);
    let record = recorded.unwrap_or_else(|| {
        let truncated =
            StartRecord::read(status).is_some_and(|record| dir.log_bytes() > record.start.log_bytes_max);
        StatusRecord::new(unseen(), truncated)
    });
    if complete {
        return record.into_end();
    }
    let cause = if oom_killed { out_of_memory(record.cause) } else { record.cause };
    let record = StatusRecord { cause, oom_killed, ..record };
    if record.append(status).is_err() && !was_recorded {
        // On a full disk. A stub that is only being born goes by the length that it was started with: an empty status tells it as well that
        // the attempt is decided, and has given room back.
        let _ = rustix::fs::ftruncate(status, 0);
        let _ = record.append(status);
    }
    record.into_end()
}

/// What failed for lack of memory says so.
fn out_of_memory(cause: Cause) -> Cause {
    match cause {
        Cause::Setup(what) => {
            Cause::Setup(format!("out of memory: the attempt's limit is too small to start it: {what}"))
        }
        // Whether its program had begun is not known.
        Cause::Vanished(what) => Cause::Vanished(format!("out of memory: {what}")),
        cause => cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, memfd_create};
    use std::os::fd::AsFd;

    #[test]
    fn a_vanished_attempt_is_decided_on_a_full_disk_too() {
        // A file that takes no byte more, as on a full disk.
        let status = memfd_create(c"status", MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::io::write(&status, b"{\"format\":1}\n").unwrap();
        fcntl_add_seals(&status, SealFlags::GROW).unwrap();
        let born_with = fstat(&status).unwrap().st_size;
        let dir = AttemptDir::at(std::path::Path::new("/nonexistent"), "a.1");
        let end = conclude(&dir, status.as_fd(), false, || Cause::Vanished("gone".to_owned()));
        assert_eq!(end.cause, Cause::Vanished("gone".to_owned()));
        // What a stub that is only being born looks at before it does anything (`stub::own_the_attempt`).
        assert_ne!(
            fstat(&status).unwrap().st_size,
            born_with,
            "it would run an attempt that was told as vanished"
        );
    }
}
