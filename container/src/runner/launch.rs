//! Starting an attempt: its directory and files, the fork, and the watch on what was forked. Whatever fails is that attempt's end, never the runner's.

use super::Runner;
use super::attempt::{Alive, Lent, Phase};
use super::grant::GrantError;
use crate::cgroup::CgroupError;
use crate::deadline::{DeadlineError, DeadlinePage};
use crate::failpoint;
use crate::protocol::{Cause, End, Event, Net, Root, Start};
use crate::record::{AttemptDir, RecordError, StatusRecord};
use crate::slot::{Slot, SlotError};
use crate::stub::error::SetupError;
use crate::stub::{self, Job};
use crate::sys::{self, Fork};
use rustix::event::epoll;
use rustix::process::{Pid, Rlimit};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

/// An id names a directory and a control group.
const ID_BYTES_MAX: usize = 100;
/// Attempts that are not forgotten: a server that starts and never forgets must not use up the machine's memory.
const ATTEMPTS_MAX: usize = 100_000;
/// The stub itself lives in the task's memory limit; half of this is enough for it and a small program.
const MEMORY_BYTES_MIN: u64 = 1 << 20;
/// What a container's processes do not share with the host. The cgroup namespace is made by who joins the innermost group, once it has,
/// and the user and network namespaces are its slot's.
const NAMESPACES: i32 = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;

/// Why an attempt could not be started. Its `Display` is what the user reads.
#[derive(Debug, thiserror::Error)]
enum LaunchError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Deadline(#[from] DeadlineError),
    #[error(transparent)]
    Group(#[from] CgroupError),
    #[error(transparent)]
    Slot(#[from] SlotError),
    #[error(transparent)]
    Grant(#[from] GrantError),
    #[error(transparent)]
    Gang(#[from] SetupError),
    #[error("make the container's process: {0}")]
    Fork(io::Error),
}

/// What a start has made.
struct Forked {
    /// The stub.
    pid: Pid,
    pidfd: OwnedFd,
    page: Rc<DeadlinePage>,
    /// What it shares with the other members of its task.
    gang: Option<OwnedFd>,
}

/// An id is the name of a directory and of a control group.
fn well_named(id: &str) -> Result<(), String> {
    let named = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if (1..=ID_BYTES_MAX).contains(&id.len()) && !id.starts_with('.') && id.bytes().all(named) {
        return Ok(());
    }
    Err(format!("an id has 1 to {ID_BYTES_MAX} letters, digits, '-', '_' or '.', and no '.' first"))
}

impl Runner {
    pub(super) fn start(&mut self, start: Start) {
        if let Err(why) = well_named(&start.id) {
            return self.refuse(Some(start.id), why);
        }
        if let Err(why) = self.acceptable(&start) {
            let dir = AttemptDir::at(&self.options.attempts_dir, &start.id);
            let never_started = self.attempts.number(&start.id).is_none() && !dir.path().exists();
            return self.tell(&Event::Refused { id: Some(start.id), why, never_started });
        }
        if self.attempts.number(&start.id).is_some() {
            return self.again(start.id);
        }
        let dir = AttemptDir::at(&self.options.attempts_dir, &start.id);
        failpoint!("runner.start");
        match dir.create() {
            Ok(()) => {}
            Err(error) if error.source.kind() == io::ErrorKind::AlreadyExists => return self.again(start.id),
            // A full disk: this is known until it is forgotten, so that the id does not start once there is room.
            Err(error) => return self.not_launched(start.id, Cause::Setup(error.to_string())),
        }
        failpoint!("runner.made_dir");
        if let Err(error) = self.launch(&start, &dir) {
            let cause = Cause::Setup(error.to_string());
            // The directory stays, so that the id cannot start again; without room for the record it says nothing.
            if let Ok(status) = dir.open_status() {
                let _ = StatusRecord::new(cause.clone(), false).append(status.as_fd());
            }
            self.not_launched(start.id, cause);
        }
    }

    /// An end of which nothing was forked.
    fn not_launched(&mut self, id: String, cause: Cause) {
        let end = End { cause, oom_killed: false, log_truncated: false };
        self.attempts.insert(id.clone(), Phase::Ended(end.clone()));
        self.tell(&Event::Ended { id, end });
    }

    /// What can be known to be wrong before anything is made.
    fn acceptable(&self, start: &Start) -> Result<(), String> {
        if self.shutting_down {
            return Err("the runner is ending".to_owned());
        }
        if self.attempts.len() >= ATTEMPTS_MAX {
            return Err(format!("{ATTEMPTS_MAX} attempts have not been forgotten"));
        }
        if !start.workdir.starts_with('/') {
            return Err(format!("the working directory must be absolute, not {:?}", start.workdir));
        }
        if start.limits.pids_max == 0 || start.limits.cpu_milli == 0 {
            return Err("processes and cpu must be limited to more than 0".to_owned());
        }
        if start.limits.memory_bytes < MEMORY_BYTES_MIN {
            let given = start.limits.memory_bytes;
            return Err(format!("memory must be limited to {MEMORY_BYTES_MIN} bytes or more, not {given}"));
        }
        self.permitted(start)
    }

    /// The same id came before: its end is told again if it is known, and in no case does anything start.
    fn again(&mut self, id: String) {
        match self.attempts.end(&id).cloned() {
            Some(end) => self.tell(&Event::Ended { id, end }),
            None if self.attempts.number(&id).is_some() => {
                self.refuse(Some(id), "it was started already".to_owned())
            }
            None => self.refuse(Some(id), "it was started before and is forgotten".to_owned()),
        }
    }

    fn launch(&mut self, start: &Start, dir: &AttemptDir) -> Result<(), LaunchError> {
        let mut slot = self.slots.take(&start.limits)?;
        if let Some(group) = slot.group.take_if(|group| !group.has(&start.limits))
            && let Err(error) = group.remove()
        {
            self.slots.give_back(slot, true);
            return Err(error.into());
        }
        match self.fork_stub(start, dir, &mut slot) {
            Ok(Forked { pid, pidfd, page, gang }) => {
                // A socket of the host that the attempt can reach may take in a socket of the attempt's network.
                let secluded = start.mounts.is_empty() && start.root != Root::Host;
                let reusable = secluded && start.net == Net::Loopback;
                let lent = Lent::Slot { slot: Box::new(slot), reusable, limits: start.limits };
                let page = Some(page);
                let alive = Alive { pid, pidfd, page, lent, kill_at_ms: None, started: false, killed: None };
                self.watch_alive(start.id.clone(), alive, gang);
                Ok(())
            }
            Err(error) => {
                self.slots.give_back(slot, true);
                Err(error)
            }
        }
    }

    /// Makes the attempt's files and its stub.
    fn fork_stub(&mut self, start: &Start, dir: &AttemptDir, slot: &mut Slot) -> Result<Forked, LaunchError> {
        let page = self.page(&start.deadline_page)?;
        let grant = self.grant(start, slot)?;
        // Without root there would be no way back into the host's network: the stub makes its own.
        if start.net == Net::Loopback && self.rootless.is_none() {
            slot.connect(&self.network)?;
        }
        let gang = start.gang.then(stub::gang::make).transpose()?;
        let shared = gang.as_ref().map(|gang| gang.as_fd());
        let (status, status_bytes) = dir.create_status(start, slot.number, shared)?;
        failpoint!("runner.made_status");
        let log = dir.create_log()?;
        let log_index = dir.create_log_index()?;
        let group = self.cgroups.group(&start.id);
        let network = slot.network.as_ref().filter(|_| start.net == Net::Loopback);
        let job = Job {
            start,
            group: &group,
            ready: slot.group.as_ref(),
            ids: slot.ids,
            users: slot.users.as_fd(),
            network: network.map(|network| network.namespace.as_fd()),
            devices: &self.devices,
            tree: grant.tree(),
            binds: &grant.binds(),
            gang: shared,
            filter: &self.filter,
            page: &page,
            status: status.as_fd(),
            status_bytes,
            log: log.as_fd(),
            log_index: log_index.as_fd(),
            number: self.attempts.next_number(),
            reports: self.reports.stub_end(),
            open_files: self.open_files_of(start),
        };
        // SAFETY: the runner has one thread, and the child's branch never returns.
        #[allow(unsafe_code)]
        match unsafe { sys::fork_into(NAMESPACES) }.map_err(LaunchError::Fork)? {
            Fork::Child => stub::main(&job),
            Fork::Parent(pid, pidfd) => {
                failpoint!("runner.forked");
                Ok(Forked { pid, pidfd, page, gang })
            }
        }
    }

    /// The usual limit of open files, or the one asked for, as far as the runner's own goes.
    fn open_files_of(&self, start: &Start) -> Rlimit {
        let most = self.open_files.maximum;
        match u64::from(start.limits.open_files) {
            0 => self.open_files,
            asked => {
                let limit = Some(most.map_or(asked, |most| asked.min(most)));
                Rlimit { current: limit, maximum: limit }
            }
        }
    }

    /// Adds a living attempt, with what it shares, and watches it. If even that cannot be had, it is killed, and found dead by the timer.
    pub(super) fn watch_alive(&mut self, id: String, alive: Alive, gang: Option<OwnedFd>) {
        let number = self.attempts.insert(id, Phase::Alive(alive));
        if let Some(attempt) = self.attempts.get_mut(number) {
            attempt.gang = gang;
        }
        let Some(alive) = self.attempts.alive_mut(number) else { return };
        let data = epoll::EventData::new_u64(super::attempt::token(number));
        if epoll::add(&self.epoll, &alive.pidfd, data, epoll::EventFlags::IN).is_err() {
            self.kill(number, "the runner could not watch it");
            self.reap_blindly(number);
        }
    }

    /// The mapped page of this path; mapped once for all its attempts.
    pub(super) fn page(&mut self, path: &Path) -> Result<Rc<DeadlinePage>, DeadlineError> {
        if let Some(page) = self.pages.get(path) {
            return Ok(Rc::clone(page));
        }
        // Pages of earlier incarnations that no attempt uses any more go when a new one comes.
        self.pages.retain(|_, page| Rc::strong_count(page) > 1);
        let owner = self.options.server_user.map_or(rustix::process::geteuid().as_raw(), |server| server.uid);
        let page = Rc::new(DeadlinePage::open(path, owner)?);
        self.pages.insert(path.to_owned(), Rc::clone(&page));
        Ok(page)
    }
}
