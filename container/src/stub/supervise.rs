//! The stub's loop once the container stands: start the task, move its output, pass stops on, keep the time limit and the deadline, reap, and write the end.

use super::error::{SetupError, Step};
use super::log::{LogWriter, Pumped};
use super::oom::OomKill;
use super::{EXIT_DEADLINE, Groups, Job, privileges, task};
use crate::cgroup::CpuQuota;
use crate::deadline::boottime_ms;
use crate::failpoint;
use crate::protocol::Cause;
use crate::record::StatusRecord;
use crate::runner::tell_started;
use crate::sys;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, WaitStatus};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};

/// What a task writes beyond its log's cap is thrown away a pipe at a time, so often: 32 MB/s cost a stub, whose time is not the task's, a few hundredths
/// of a core.
const DISCARD_EVERY_MS: u64 = 2;
/// The niceness of who comes first.
const FIRST: i32 = -20;

/// Starts the task and stays with it; returns only when it could not be started at all.
pub fn run<'a>(job: &'a Job<'a>, groups: &Groups<'a>) -> Result<Infallible, SetupError> {
    let signals = sys::block_and_open_signalfd(&[libc::SIGCHLD, libc::SIGTERM, sys::stop_signal()])
        .step("open a signalfd")?;
    let deadline = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)
        .step("make the deadline's timer")?;
    let (output, output_end) = pipe_with(PipeFlags::CLOEXEC).step("make the output pipe")?;
    rustix::io::ioctl_fionbio(&output, true).step("make the output pipe")?;
    let mut failure = Some(Cause::Setup("it was killed before its program was executed".to_owned()));
    let mut child = || {
        task::become_task(job, groups.task_join, output_end.as_fd(), &mut failure);
        sys::exit_now(1)
    };
    failpoint!("stub.before_fork");
    // SAFETY: the stub has one thread, and the child ends in exec or exit.
    #[allow(unsafe_code)]
    let main = unsafe { sys::fork_sharing(&mut child) }.step("fork the task")?;
    drop(output_end);
    failpoint!("stub.forked");
    // It has little to do, and that must be done in time on a busy machine too: to end the container at its deadline. On v2 it stands in one
    // group beside all of the task, and so before it; what limits the task's processor time does not limit the stub. Without the privilege it waits for its turn like anybody.
    let _ = rustix::process::setpriority_process(None, FIRST);
    let reduced = privileges::reduce_stub(job);
    if failure.is_none() {
        tell_started(job.reports, job.number);
    }
    failpoint!("stub.told_start");
    let time_limit_ms = job.start.time_limit_ms;
    let mut supervisor = Supervisor {
        job,
        main,
        main_status: None,
        children_left: true,
        signals,
        deadline,
        armed_ns: 0,
        exec_failure: failure,
        oom: groups.oom.map(OomKill::new),
        quota: groups.quota,
        output: Some(output),
        output_at_ms: 0,
        log: LogWriter::new(job.log, job.log_index, job.start.log_bytes_max),
        limit_at_ms: (time_limit_ms > 0).then(|| boottime_ms().saturating_add(time_limit_ms)),
        kill_at_ms: None,
        timed_out: false,
    };
    let Err(error) = reduced.and_then(|()| supervisor.run());
    // The task may have begun, so this is no launch that failed: that would be tried again even where a task must start at most once.
    let cause = Cause::Vanished(format!("its stub failed: {error}"));
    let _ = StatusRecord::new(cause, supervisor.log.truncated()).append(job.status);
    sys::exit_now(1)
}

struct Supervisor<'a> {
    job: &'a Job<'a>,
    main: Pid,
    main_status: Option<WaitStatus>,
    children_left: bool,
    signals: OwnedFd,
    deadline: OwnedFd,
    /// The deadline that the timer stands on.
    armed_ns: u64,
    /// Why the task's program was not executed, if it was not.
    exec_failure: Option<Cause>,
    /// Where one process killed for lack of memory must take the others with it by our hand.
    oom: Option<OomKill<'a>>,
    /// Of processor time, which is lifted from what was killed.
    quota: Option<&'a CpuQuota>,
    output: Option<OwnedFd>,
    /// What comes beyond the log's cap is not read before this time.
    output_at_ms: u64,
    log: LogWriter<'a>,
    /// When the time limit ends, on the boot-time clock.
    limit_at_ms: Option<u64>,
    /// When the grace of a stop ends.
    kill_at_ms: Option<u64>,
    timed_out: bool,
}

impl Supervisor<'_> {
    fn run(&mut self) -> Result<Infallible, SetupError> {
        loop {
            self.keep_deadline();
            if self.main_status.is_some() && !self.children_left {
                self.finish();
            }
            let ready = self.wait()?;
            self.keep_deadline();
            if self.oom.as_mut().is_some_and(|oom| oom.look(ready.oom)) {
                self.kill_all();
            }
            if ready.signals {
                self.read_signals()?;
            }
            if ready.output {
                self.pump();
            }
            self.keep_timers();
        }
    }

    fn wait(&self) -> Result<Ready, SetupError> {
        let mut fds =
            vec![PollFd::new(&self.deadline, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
        let now_ms = boottime_ms();
        let output =
            self.output.as_ref().filter(|_| self.output_at_ms <= now_ms).map(|fd| push(&mut fds, fd));
        // Last, so that what led to an end is seen no later than the end.
        let oom = self.oom.as_ref().filter(|oom| oom.listens()).map(|oom| push(&mut fds, oom));
        let timeout = self.next_timer_ms(now_ms).map(|at| timespec_ms(at.saturating_sub(now_ms)));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).step("wait"),
        }
        let ready = |index: usize| !fds[index].revents().is_empty();
        Ok(Ready { signals: ready(1), output: output.is_some_and(ready), oom: oom.is_some_and(ready) })
    }

    fn next_timer_ms(&self, now_ms: u64) -> Option<u64> {
        let output = (self.output.is_some() && self.output_at_ms > now_ms).then_some(self.output_at_ms);
        [self.limit_at_ms, self.kill_at_ms, self.oom.as_ref().and_then(OomKill::look_at_ms), output]
            .into_iter()
            .flatten()
            .min()
    }

    /// Ends the container when the deadline has passed, and else sets the timer on it if it has moved. The page is read again at each turn,
    /// and the timer need only stand on a deadline that was true: it wakes us to look again.
    fn keep_deadline(&mut self) {
        if self.job.page.passed() {
            // Before anything that could wait: from here on nothing of the task executes anything.
            self.kill_all();
            sys::exit_now(EXIT_DEADLINE);
        }
        if self.armed_ns > crate::deadline::boottime_ns() {
            return;
        }
        let deadline = self.job.page.read();
        let value = rustix::time::Timespec {
            tv_sec: (deadline / 1_000_000_000) as i64,
            tv_nsec: (deadline % 1_000_000_000) as i64,
        };
        let zero = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        let timer = Itimerspec { it_interval: zero, it_value: value };
        if timerfd_settime(&self.deadline, TimerfdTimerFlags::ABSTIME, &timer).is_err() {
            // No timer, no fence: better dead.
            sys::exit_now(EXIT_DEADLINE);
        }
        self.armed_ns = deadline;
    }

    fn read_signals(&mut self) -> Result<(), SetupError> {
        while let Some((signal, value)) = sys::read_signal(&self.signals).step("read a signal")? {
            if signal == sys::stop_signal() {
                self.stop(value);
            } else if signal == libc::SIGTERM {
                self.stop(self.job.start.kill_grace_ms);
            }
        }
        // SIGCHLD does not queue, so look whatever came.
        self.reap()
    }

    /// SIGTERM to all now, SIGKILL when the grace has passed; a later stop can only make it sooner.
    fn stop(&mut self, grace_ms: u64) {
        let at = boottime_ms().saturating_add(grace_ms);
        let first = self.kill_at_ms.is_none();
        self.kill_at_ms = Some(self.kill_at_ms.map_or(at, |earlier| earlier.min(at)));
        if first && grace_ms > 0 {
            sys::signal_all(libc::SIGTERM);
        }
    }

    fn keep_timers(&mut self) {
        let now = boottime_ms();
        if self.limit_at_ms.is_some_and(|at| at <= now) {
            self.limit_at_ms = None;
            // A task that is being stopped already ends by that.
            if self.kill_at_ms.is_none() {
                self.timed_out = true;
                self.stop(self.job.start.kill_grace_ms);
            }
        }
        if self.kill_at_ms.is_some_and(|at| at <= now) {
            // Once is enough: the kernel lets no fork pass between.
            self.kill_at_ms = Some(u64::MAX);
            self.kill_all();
        }
    }

    /// Ends everything beside this process, and sees to it that it can end soon.
    fn kill_all(&self) {
        sys::signal_all(libc::SIGKILL);
        self.quota.inspect(|quota| quota.lift());
    }

    fn reap(&mut self) -> Result<(), SetupError> {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.main => {
                    self.main_status = Some(status);
                    // What the task has left behind ends with it.
                    sys::signal_all(libc::SIGKILL);
                }
                Ok(Some(_)) => {}
                Ok(None) if self.main_status.is_some() => {
                    self.quota.inspect(|quota| quota.lift());
                    return Ok(());
                }
                Ok(None) => return Ok(()),
                Err(Errno::CHILD) => {
                    self.children_left = false;
                    return Ok(());
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error).step("wait for the task"),
            }
        }
    }

    fn pump(&mut self) {
        if self.log.truncated() {
            self.output_at_ms = boottime_ms() + DISCARD_EVERY_MS;
        }
        if let Some(output) = &self.output
            && self.log.pump(output) == Pumped::Closed
        {
            self.output = None;
        }
    }

    /// All processes are dead: what is left in the pipe is all there will ever be.
    fn finish(&mut self) -> ! {
        while let Some(output) = &self.output {
            match self.log.pump(output) {
                Pumped::Some => super::die_past_deadline(self.job),
                Pumped::Empty | Pumped::Closed => self.output = None,
            }
        }
        let record = StatusRecord::new(self.cause(), self.log.truncated());
        failpoint!("stub.before_status");
        let code = i32::from(record.append(self.job.status).is_err());
        failpoint!("stub.after_status");
        sys::exit_now(code)
    }

    fn cause(&mut self) -> Cause {
        if let Some(failure) = self.exec_failure.take() {
            return failure;
        }
        if self.timed_out {
            return Cause::TimeLimit;
        }
        if self.oom.as_mut().is_some_and(OomKill::killed) {
            return Cause::Signal(libc::SIGKILL as u8);
        }
        let status = self.main_status.expect("asked only once the main process was reaped");
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Cause::Code(code as u8),
            (None, signal) => Cause::Signal(signal.unwrap_or(0) as u8),
        }
    }
}

/// What [`Supervisor::wait`] woke up for.
struct Ready {
    signals: bool,
    output: bool,
    oom: bool,
}

/// Adds a descriptor to poll for reading; its index.
fn push<'fd>(fds: &mut Vec<PollFd<'fd>>, fd: &'fd impl AsFd) -> usize {
    fds.push(PollFd::new(fd, PollFlags::IN));
    fds.len() - 1
}

fn timespec_ms(ms: u64) -> Timespec {
    Timespec { tv_sec: (ms / 1000) as i64, tv_nsec: (ms % 1000) as i64 * 1_000_000 }
}
