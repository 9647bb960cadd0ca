//! The stub: PID 1 of every container, shim and init in one. It is forked by the runner (never executed), makes the container around itself, forks the
//! task, and stays: it carries the deadline, the log, the time limit and the stop, reaps, and writes the exact wait status.
//!
//! It needs neither server nor runner while it lives. It must never outlive the deadline, never run a task without its limits, and
//! never leave a process behind: when it exits the kernel kills its pid namespace.

mod binds;
pub mod devices;
pub mod error;
pub mod gang;
pub mod log;
mod mounts;
mod oom;
mod overlay;
mod own;
mod privileges;
mod proc;
mod program;
mod root;
mod supervise;
mod task;
mod workdir;

use crate::cgroup::{CpuQuota, Group, OomWatch, ReadyGroup, TaskJoin};
use crate::deadline::DeadlinePage;
use crate::failpoint;
use crate::protocol::{Cause, Net, Start};
use crate::record::{self, StatusRecord};
use crate::seccomp::Filter;
use crate::slot::users::Ids;
use crate::sys;
use error::{SetupError, Step};
use rustix::fs::Mode;
use rustix::process::Rlimit;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

/// The stub's exit code when the deadline had passed; for people, the runner reads the page itself.
pub const EXIT_DEADLINE: i32 = 124;

/// What a stub needs, prepared by the runner before the fork; the descriptors are the stub's own after it.
pub struct Job<'a> {
    /// The request.
    pub start: &'a Start,
    /// The attempt's control group; not made yet.
    pub group: &'a Group,
    /// A group with the right limits that can be had instead of making one.
    pub ready: Option<&'a ReadyGroup>,
    /// Ids of the host that the container has.
    pub ids: Ids,
    /// The user namespace that maps them.
    pub users: BorrowedFd<'a>,
    /// The network namespace prepared for it, if it has one of its own that was.
    pub network: Option<BorrowedFd<'a>>,
    /// The directory on which the runner has mounted the devices.
    pub devices: &'a Path,
    /// The tree of the root, for all but the host's.
    pub tree: Option<Tree<'a>>,
    /// What it sees of the host beside its root.
    pub binds: &'a [Bind<'a>],
    /// What it shares with the other members of its task.
    pub gang: Option<BorrowedFd<'a>>,
    /// The system calls that a task may make.
    pub filter: &'a Filter,
    /// The deadline.
    pub page: &'a DeadlinePage,
    /// The attempt's `status`.
    pub status: BorrowedFd<'a>,
    /// Its length as long as nobody has decided the attempt's end.
    pub status_bytes: u64,
    /// The attempt's `log`.
    pub log: BorrowedFd<'a>,
    /// The attempt's `log.index`.
    pub log_index: BorrowedFd<'a>,
    /// To the runner.
    pub reports: BorrowedFd<'a>,
    /// The attempt's number, which it says there.
    pub number: u64,
    /// The limit of open files that tasks get (the runner's own is raised).
    pub open_files: Rlimit,
}

/// What stub and task need of their control group once its files are out of sight.
pub struct Groups<'a> {
    /// Tells when memory runs out.
    pub oom: Option<&'a OomWatch>,
    /// Of processor time.
    pub quota: Option<&'a CpuQuota>,
    /// What the task has still to join.
    pub task_join: Option<&'a TaskJoin>,
}

/// A root file system's directory.
#[derive(Clone, Copy)]
pub struct Tree<'a> {
    /// On the host.
    pub path: &'a Path,
    /// How the owners of its files are shown; as they are, without.
    pub map: Option<BorrowedFd<'a>>,
    /// Whether the task may write everywhere in it, to a private layer.
    pub writable: bool,
}

/// A directory of the host that the task sees.
pub struct Bind<'a> {
    /// On the host.
    pub source: &'a Path,
    /// Absolute, inside the root.
    pub target: &'a str,
    /// Whether the task may write to it.
    pub writable: bool,
    /// How the owners of its files are shown; as they are, without.
    pub map: Option<BorrowedFd<'a>>,
}

/// Runs the stub to its end. To be called in a process just forked from the single-threaded runner.
pub fn main(job: &Job<'_>) -> ! {
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(job)));
    if let Ok(Err(error)) = result {
        let record = StatusRecord::new(Cause::Setup(error.to_string()), false);
        // Without a record the runner reports the attempt as vanished, so a full disk loses the reason and nothing else.
        let _ = record.append(job.status);
    }
    sys::exit_now(1)
}

fn run(job: &Job<'_>) -> Result<std::convert::Infallible, SetupError> {
    own_the_attempt(job)?;
    failpoint!("stub.owns");
    let _ = rustix::thread::set_name(c"shoal-stub");
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    // Into the group first, so that all that follows is limited and accounted.
    let mut kept = None;
    if let Some(ready) = job.ready
        && job.group.take_over(ready)?
    {
        kept = Some(ready);
    }
    let (made, own_quota, own_join) = if kept.is_some() {
        (None, None, None)
    } else {
        job.group.create()?;
        failpoint!("stub.made_group");
        job.group.limit(&job.start.limits)?;
        job.group.join()?;
        (job.group.watch_oom()?, job.group.cpu_quota(), job.group.task_join()?)
    };
    let oom = kept.and_then(ReadyGroup::watch).or(made.as_ref());
    let quota = kept.map(ReadyGroup::cpu_quota).or(own_quota.as_ref());
    let task_join = kept.and_then(ReadyGroup::task_join).or(own_join.as_ref());
    failpoint!("stub.joined");
    if task_join.is_none() {
        // Else the task makes one, of what it has joined itself.
        sys::unshare(libc::CLONE_NEWCGROUP).step("make the cgroup namespace")?;
    }
    die_past_deadline(job);
    rustix::system::sethostname(job.start.hostname.as_bytes()).step("set the host name")?;
    // Before this process is another user for a moment, which hides it: without root, what is hidden is not its own any more.
    task::go_first_unless_protected().step("set oom_score_adj")?;
    enter_network(job)?;
    failpoint!("stub.network");
    root::enter(job)?;
    failpoint!("stub.root");
    privileges::hide()?;
    supervise::run(job, &Groups { oom, quota, task_join })
}

fn enter_network(job: &Job<'_>) -> Result<(), SetupError> {
    match (job.start.net, job.network) {
        (Net::Host, _) => Ok(()),
        (Net::Loopback, Some(network)) => {
            move_into_link_name_space(network, Some(LinkNameSpaceType::Network))
                .step("enter the network namespace")
        }
        (Net::Loopback | Net::None, _) => {
            sys::unshare(libc::CLONE_NEWNET).step("make the network namespace")?;
            if job.start.net == Net::Loopback {
                sys::loopback_up().step("bring up the loopback interface")?;
            }
            Ok(())
        }
    }
}

/// Takes the lock that says this attempt has a stub, unless a runner has declared it vanished already, and lets go of all that is the runner's.
fn own_the_attempt(job: &Job<'_>) -> Result<(), SetupError> {
    let mut keep = vec![job.status, job.log, job.log_index, job.reports, job.users];
    keep.extend(job.network);
    // Open until the end: a runner that comes back has it from here.
    keep.extend(job.gang);
    keep.extend(job.ready.into_iter().flat_map(ReadyGroup::descriptors));
    keep.extend(job.tree.and_then(|tree| tree.map));
    keep.extend(job.binds.iter().filter_map(|bind| bind.map));
    let mut keep: Vec<_> = keep.iter().map(AsRawFd::as_raw_fd).collect();
    // SAFETY: this process was just forked and uses none of the runner's descriptors but these.
    #[allow(unsafe_code)]
    unsafe { sys::close_all_but(&mut keep) }.step("close the runner's files")?;
    failpoint!("stub.born");
    let locked = record::try_lock(job.status).step("lock the status")?;
    let bytes = rustix::fs::fstat(job.status).step("look at the status")?.st_size as u64;
    if !(locked && bytes == job.status_bytes) {
        sys::exit_now(1);
    }
    Ok(())
}

/// Ends the stub, and with it the container, when the deadline has passed. Writes nothing: a disk may be what is stuck.
fn die_past_deadline(job: &Job<'_>) {
    if job.page.passed() {
        sys::exit_now(EXIT_DEADLINE);
    }
}
