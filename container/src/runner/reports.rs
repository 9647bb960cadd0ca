//! What stubs tell while they live: that their task's program has been executed. All write to one pipe, each the number of its attempt, in one piece;
//! a pipe for each would cost every start six system calls.

use super::attempt::Phase;
use super::{Runner, RunnerError};
use crate::failpoint;
use crate::protocol::Event;
use rustix::pipe::{PipeFlags, pipe_with};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bytes of a report.
const REPORT_BYTES: usize = size_of::<u64>();
/// Reports taken at a time.
const REPORTS_MAX: usize = 64;

/// The pipe.
pub struct Reports {
    read: OwnedFd,
    write: OwnedFd,
}

impl Reports {
    /// An empty one.
    pub fn new() -> Result<Reports, RunnerError> {
        // Nobody waits: a stub whose report does not fit goes on without, and its end tells all that matters.
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
            .map_err(|e| RunnerError::system("make a pipe", e))?;
        Ok(Reports { read, write })
    }

    /// Where a stub writes.
    pub fn stub_end(&self) -> BorrowedFd<'_> {
        self.write.as_fd()
    }

    /// To be watched.
    pub fn runner_end(&self) -> &OwnedFd {
        &self.read
    }
}

/// In the stub: tells that the task of this attempt has been executed. Nobody may listen: the runner that started it can be gone.
pub fn tell_started(reports: BorrowedFd<'_>, number: u64) {
    let _ = rustix::io::write(reports, &number.to_ne_bytes());
}

impl Runner {
    /// Passes on all that was reported.
    pub(super) fn read_reports(&mut self) {
        let mut bytes = [0; REPORT_BYTES * REPORTS_MAX];
        while let Ok(read @ 1..) = rustix::io::read(self.reports.runner_end(), &mut bytes) {
            for report in bytes[..read].chunks_exact(REPORT_BYTES) {
                let number = report.try_into().map_or(u64::MAX, u64::from_ne_bytes);
                self.started(number);
            }
            if read < bytes.len() {
                return;
            }
        }
    }

    fn started(&mut self, number: u64) {
        let Some(attempt) = self.attempts.get_mut(number) else { return };
        let Phase::Alive(alive) = &mut attempt.phase else { return };
        alive.started = true;
        failpoint!("runner.before_started");
        let event = Event::Started { id: attempt.id.clone(), pid: alive.pid.as_raw_nonzero().get() };
        self.tell(&event);
    }
}
