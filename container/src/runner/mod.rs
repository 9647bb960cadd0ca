//! The runner: a small single-threaded fork server that starts, watches and cleans up a node's containers, on behalf of a server that may die
//! and come back. One epoll loop owns everything; nothing in it waits for the server or for a task.
//!
//! Each attempt's process is its own PID 1 (the stub) and does nearly all the work itself, in parallel; the runner makes the attempt's directory,
//! forks, and after the end removes the control group and tells the server until that has forgotten.

mod attempt;
mod connection;
mod end;
mod gang;
mod grant;
mod launch;
mod options;
mod reports;
mod requests;
mod rootless;
mod scan;
mod server_user;
mod state;
mod stuck;
mod timers;
mod unpack;

pub use options::{Options, OptionsError};
pub(crate) use reports::tell_started;
pub use rootless::RootlessError;
pub use server_user::ServerUser;

use crate::cgroup::{CgroupError, Cgroups};
use crate::deadline::{DeadlinePage, boottime_ms};
use crate::policy::{Policy, PolicyError};
use crate::seccomp::Filter;
use crate::slot::{self, Slots};
use crate::stub::{self, error::SetupError};
use crate::sys;
use attempt::{Attempts, untoken};
use connection::Connection;
use reports::Reports;
use rootless::Rootless;
use rustix::event::epoll;
use rustix::process::Rlimit;
use scan::Leftovers;
use state::StateDir;
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;

/// Events taken from epoll at a time.
const EVENTS_MAX: usize = 64;
/// Epoll tokens of what is there once; attempts follow.
const TOKEN_LISTENER: u64 = 0;
const TOKEN_SIGNALS: u64 = 1;
const TOKEN_CONNECTION: u64 = 2;
const TOKEN_REPORTS: u64 = 3;

/// Why the runner cannot start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// Another runner serves the state directory.
    #[error("another runner ({pid}) serves {path}")]
    Taken {
        /// The state directory.
        path: PathBuf,
        /// The other's process.
        pid: i32,
    },
    /// The server could make this path mean something else.
    #[error(
        "the server's user can change what {path} is, by {by}: it must be written without links, and only root may write to \
        the directories above it"
    )]
    Changeable {
        /// What must not change.
        path: PathBuf,
        /// Where it can be changed.
        by: PathBuf,
    },
    /// A file operation at the start failed.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// No control groups.
    #[error(transparent)]
    Cgroups(#[from] CgroupError),
    /// Neither root nor a user namespace.
    #[error(transparent)]
    Rootless(#[from] RootlessError),
    /// Told not to run without limits.
    #[error("this runner cannot enforce {0}, and was told to run nothing without (--require-limits)")]
    Unlimited(String),
    /// No policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// No devices for the containers.
    #[error("prepare the devices: {0}")]
    Devices(#[from] SetupError),
    /// A system call that the loop cannot go on without.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
}

impl RunnerError {
    fn system(action: &'static str, source: impl Into<io::Error>) -> RunnerError {
        RunnerError::System { action, source: source.into() }
    }
}

/// The runner's state, all of it.
pub struct Runner {
    options: Options,
    state: StateDir,
    cgroups: Cgroups,
    epoll: OwnedFd,
    signals: OwnedFd,
    connection: Option<Connection>,
    attempts: Attempts,
    reports: Reports,
    pages: HashMap<PathBuf, Rc<DeadlinePage>>,
    policy: Policy,
    /// The user namespace around it, when it is not root outside.
    rootless: Option<Rootless>,
    /// What it tells the server that it does not enforce.
    unenforced: Vec<String>,
    slots: Slots,
    /// The system calls that tasks may make.
    filter: Filter,
    /// Where the devices are mounted, in the runner's own mount namespace.
    devices: PathBuf,
    /// The runner's own network namespace.
    network: OwnedFd,
    /// The limit of open files before it was raised: the tasks'.
    open_files: Rlimit,
    /// Attempts below this number must be dead before `AllDead` is said.
    all_dead_below: Option<u64>,
    /// Groups of attempts that nobody asks for any more, still to be emptied.
    leftovers: Leftovers,
    /// Work on images, under way and waiting.
    images: unpack::Images,
    shutting_down: bool,
    /// Since when there is nothing to do, on the boot-time clock.
    idle_since_ms: Option<u64>,
}

impl Runner {
    /// Takes the state directory, finds the control groups, listens, and adopts what an earlier runner left.
    pub fn open(options: Options) -> Result<Runner, RunnerError> {
        detach();
        let state = StateDir::take(&options.state_dir, options.server_user)?;
        match options.server_user {
            Some(server) => server.prepare_attempts(&options.attempts_dir)?,
            None => make_directory(&options.attempts_dir)?,
        }
        let rootless = Rootless::enter(state.path())?;
        let policy = options.read_policy(rootless.as_ref())?;
        let devices = state.path().join("dev");
        make_directory(&devices)?;
        stub::devices::prepare_template(&devices)?;
        let network =
            slot::network::own().map_err(|e| RunnerError::system("open the network namespace", e))?;
        let (cgroups, unenforced) = enforceable(state.path(), rootless.as_ref(), options.require_limits)?;
        let cgroups = cgroups.with_disk_of(&options.attempts_dir);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|e| RunnerError::system("make an epoll", e))?;
        // SIGCHLD and the stop signal are never read here, but blocked: stubs are born with this mask and must not lose a signal.
        let blocked = [libc::SIGTERM, libc::SIGINT];
        let signals =
            sys::block_and_open_signalfd(&blocked).map_err(|e| RunnerError::system("open a signalfd", e))?;
        sys::block_and_open_signalfd(&[libc::SIGCHLD, sys::stop_signal()])
            .map_err(|e| RunnerError::system("block signals", e))?;
        let mut runner = Runner {
            open_files: raise_open_files(),
            options,
            state,
            cgroups,
            epoll,
            signals,
            connection: None,
            attempts: Attempts::default(),
            reports: Reports::new()?,
            pages: HashMap::new(),
            slots: Slots::new(policy.users),
            policy,
            rootless,
            unenforced,
            filter: Filter::compile(),
            devices,
            network,
            all_dead_below: None,
            leftovers: Leftovers::default(),
            images: unpack::Images::default(),
            shutting_down: false,
            // A server that starts a runner and ends before it connects must not leave one for ever.
            idle_since_ms: Some(boottime_ms()),
        };
        runner.scan()?;
        runner.sweep_images();
        runner.state.listen()?;
        let listener = runner.state.listener().expect("listen has just made it");
        let watched = [
            (listener, TOKEN_LISTENER),
            (&runner.signals, TOKEN_SIGNALS),
            (runner.reports.runner_end(), TOKEN_REPORTS),
        ];
        for (fd, token) in watched {
            epoll::add(&runner.epoll, fd, epoll::EventData::new_u64(token), epoll::EventFlags::IN)
                .map_err(|e| RunnerError::system("watch a descriptor", e))?;
        }
        Ok(runner)
    }

    /// Serves until it is told to end or idle for long.
    pub fn run(mut self) -> Result<(), RunnerError> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        while !self.finished() {
            let timeout = self.timeout_ms().map(|ms| rustix::event::Timespec {
                tv_sec: (ms / 1000) as i64,
                tv_nsec: (ms % 1000) as i64 * 1_000_000,
            });
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(RunnerError::system("wait for events", error)),
            }
            for event in &events {
                self.handle(event.data.u64());
            }
            self.serve_requests();
            self.keep_timers();
            self.after_turn();
        }
        self.connection = None;
        self.state.release();
        self.slots.kept_groups().for_each(|group| drop(group.remove()));
        self.cgroups.remove();
        self.rootless.inspect(Rootless::leave);
        Ok(())
    }

    fn handle(&mut self, token: u64) {
        match token {
            TOKEN_LISTENER => self.accept(),
            TOKEN_SIGNALS => {
                while let Ok(Some(_)) = sys::read_signal(&self.signals) {
                    self.shut_down();
                }
            }
            TOKEN_CONNECTION => self.receive(),
            TOKEN_REPORTS => self.read_reports(),
            token if unpack::is_worker(token) => self.worker_ended(token),
            token => untoken(token).into_iter().for_each(|number| self.stub_exited(number)),
        }
    }

    /// What depends on all that happened in a turn.
    fn after_turn(&mut self) {
        self.report_all_dead();
        self.flush();
        let idle = self.connection.is_none() && self.attempts.none_live();
        self.idle_since_ms = match (idle, self.idle_since_ms) {
            (true, None) => Some(boottime_ms()),
            (true, since) => since,
            (false, _) => None,
        };
    }

    fn finished(&self) -> bool {
        let idle_long = self.idle_since_ms.is_some_and(|since| boottime_ms() >= since + self.options.idle_ms);
        (idle_long || self.shutting_down) && self.attempts.none_live()
    }

    fn shut_down(&mut self) {
        self.shutting_down = true;
        self.kill_all("the runner was told to end");
    }
}

fn make_directory(path: &std::path::Path) -> Result<(), RunnerError> {
    let error = |source| RunnerError::File { action: "make", path: path.to_owned(), source };
    std::fs::create_dir_all(path).map_err(error)
}

/// Makes this process independent of the one that started it.
fn detach() {
    sys::ignore_signals();
    // Fails when it leads a session already, which is as good.
    let _ = rustix::process::setsid();
    let _ = std::env::set_current_dir("/");
    rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o027));
    let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty());
    let _ = null.and_then(rustix::stdio::dup2_stdin);
    // Empty, and all that tasks inherit; they cannot use it (no system call for keys is theirs). Without keyrings there is nothing to leave.
    let _ = sys::leave_session_keyring();
    // The runner must outlive every task when memory is short; without the privilege it goes on all the same.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-1000");
    let _ = rustix::thread::set_name(c"shoal-runner");
}

/// Bandwidth of disks is limited by root alone: the controller is delegated to hardly anybody.
const DISK: &str = "io";

/// The control groups, and what cannot be enforced. Root enforces everything or does not run.
fn enforceable(
    state_dir: &std::path::Path,
    rootless: Option<&Rootless>,
    require_limits: bool,
) -> Result<(Cgroups, Vec<String>), RunnerError> {
    let Some(rootless) = rootless else { return Ok((Cgroups::prepare(state_dir)?, Vec::new())) };
    let cgroups = Cgroups::prepare_available(state_dir);
    let mut unenforced: Vec<String> = cgroups.missing().into_iter().map(str::to_owned).collect();
    if require_limits && !unenforced.is_empty() {
        return Err(RunnerError::Unlimited(unenforced.join(", ")));
    }
    unenforced.push(DISK.to_owned());
    unenforced.extend(rootless.lacks.iter().map(|lack| lack.word().to_owned()));
    Ok((cgroups, unenforced))
}

/// Two descriptors for each live attempt: as many as we are allowed. Returns the limit as it was.
fn raise_open_files() -> Rlimit {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let before = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: before.maximum, maximum: before.maximum });
    before
}
