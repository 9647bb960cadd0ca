//! What an earlier runner left: ends that were not forgotten, stubs that live on and are adopted, and attempts whose stub is gone.
//! Control groups without a living stub are emptied and removed.

use super::attempt::{Alive, Lent, Phase};
use super::end::{REMOVAL_RETRY_MS_MAX, conclude};
use super::{Runner, RunnerError, gang};
use crate::cgroup::Group;
use crate::deadline::boottime_ms;
use crate::failpoint;
use crate::protocol::{Cause, End};
use crate::record::{self, AttemptDir, StartRecord};
use crate::slot;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

impl Runner {
    /// An attempt whose stub cannot be told alive or dead is an error: it must neither be declared dead nor be forgotten.
    pub(super) fn scan(&mut self) -> Result<(), RunnerError> {
        let mut ids: Vec<String> = std::fs::read_dir(&self.options.attempts_dir)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        ids.sort();
        for id in ids {
            let dir = AttemptDir::at(&self.options.attempts_dir, &id);
            match (dir.is_ours(), dir.is_done()) {
                (false, _) => {}
                (true, false) => self.recover(id, &dir).map_err(|source| RunnerError::File {
                    action: "find the stub of",
                    path: dir.path().to_owned(),
                    source,
                })?,
                // The runner before has not got to that.
                (true, true) => drop(dir.hand_over(self.options.server_user.map(|server| server.uid))),
            }
        }
        self.sweep();
        Ok(())
    }

    fn recover(&mut self, id: String, dir: &AttemptDir) -> io::Result<()> {
        let Ok(status) = dir.open_status() else { return Ok(()) };
        failpoint!("runner.recovering");
        if let Some((pid, pidfd)) = living_stub(&status)? {
            let record = StartRecord::read(status.as_fd());
            let slot = record.as_ref().and_then(|record| record.slot);
            slot.inspect(|number| self.slots.reserve(*number));
            let gang = record.as_ref().and_then(|record| gang::of_stub(pid, record.gang?));
            let page = record.and_then(|record| self.page(&record.start.deadline_page).ok());
            let lent = Lent::Number(slot);
            let alive = Alive { pid, pidfd, page, lent, kill_at_ms: None, started: true, killed: None };
            self.watch_alive(id, alive, gang);
            return Ok(());
        }
        let oom_killed = self.cgroups.group(&id).oom_killed();
        let unseen = || Cause::Vanished("its stub was gone when the runner came back".to_owned());
        let end = conclude(dir, status.as_fd(), oom_killed, unseen);
        // The lock goes before the last processes of the namespace do: the end is told once the group is empty, and not before.
        let number = self.attempts.insert(id, Phase::Removing { end, tries: 0, at_ms: 0 });
        self.remove_group(number);
        Ok(())
    }

    /// Kills and removes groups that belong to no living attempt. One whose directory somebody has removed is told like any other end, once
    /// its group is empty: the server may believe that it runs.
    fn sweep(&mut self) {
        for id in self.cgroups.existing() {
            let dir = AttemptDir::at(&self.options.attempts_dir, &id);
            let attempts = !id.starts_with(slot::KEPT_MARK);
            if attempts && self.attempts.number(&id).is_none() && !dir.path().exists() {
                let cause = Cause::Vanished("its directory was gone when the runner came back".to_owned());
                let end = End { cause, oom_killed: false, log_truncated: false };
                let number = self.attempts.insert(id, Phase::Removing { end, tries: 0, at_ms: 0 });
                self.remove_group(number);
            }
        }
        let attempts = &self.attempts;
        self.leftovers.groups = self
            .cgroups
            .existing()
            .into_iter()
            .filter(|id| attempts.number(id).is_none_or(|number| !attempts.is_live(number)))
            .map(|id| self.cgroups.group(&id))
            .collect();
        self.leftovers.retry();
    }
}

/// Changes of hands between two looks at a lock that can be by chance.
const LOOKS_MAX: usize = 100;

/// Groups without an attempt, which an earlier runner could not remove.
#[derive(Default)]
pub struct Leftovers {
    groups: Vec<Group>,
    at_ms: u64,
}

impl Leftovers {
    /// When to try again, if any is left.
    pub fn retry_at_ms(&self) -> Option<u64> {
        (!self.groups.is_empty()).then_some(self.at_ms)
    }

    /// Removes those that are empty by now.
    pub fn retry(&mut self) {
        self.groups.retain(|group| {
            let left = group.remove().is_err();
            if left {
                group.kill();
            }
            left
        });
        self.at_ms = boottime_ms() + REMOVAL_RETRY_MS_MAX;
    }
}

/// The stub that holds the lock of the attempt's status. When there is none, this process holds the lock until it closes `status`, so
/// that a stub that is only being born finds the attempt decided.
fn living_stub(status: &OwnedFd) -> io::Result<Option<(Pid, OwnedFd)>> {
    for _ in 0..LOOKS_MAX {
        if record::try_lock(status)? {
            return Ok(None);
        }
        // It may end between two looks; then the lock can be had.
        let Some(pid) = record::lock_holder(status)? else { continue };
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(Errno::SRCH) => continue,
            opened => opened?,
        };
        // The pid may have been another's by the time it was opened: whoever holds the lock still is who we opened.
        if record::lock_holder(status)? == Some(pid) {
            return Ok(Some((pid, pidfd)));
        }
    }
    Err(io::Error::other("its lock is held by nobody who can be found"))
}
