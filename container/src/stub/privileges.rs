//! Giving up privileges: the stub keeps what it needs to end its task, the task keeps nothing. Both leave the runner's user namespace for their
//! slot's, as different users of it.

use super::Job;
use super::error::{SetupError, Step};
use crate::sys;
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, LinkNameSpaceType, move_into_link_name_space};

/// Above the last capability of any kernel.
const CAPABILITIES_MAX: u32 = 64;

/// Before the task is forked: nobody inside can look into the stub, nor into the task before it is one.
pub fn hide() -> Result<(), SetupError> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).step("hide the stub")
}

/// After the task is forked: the stub only signals its task from here on.
pub fn reduce_stub(job: &Job<'_>) -> Result<(), SetupError> {
    enter_slot(job, job.ids.stub(), job.ids.stub())?;
    let kill = CapabilitySet::KILL;
    let sets = CapabilitySets { effective: kill, permitted: kill, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).step("drop the stub's capabilities")?;
    rustix::thread::set_no_new_privs(true).step("set no_new_privs")?;
    // Another user is dumpable again as far as the system's settings go.
    hide()
}

/// In the task's process, before exec.
pub fn drop_all(job: &Job<'_>) -> Result<(), SetupError> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, none).step("forbid core dumps")?;
    rustix::process::setrlimit(Resource::Nofile, job.open_files).step("limit open files")?;
    // The control group limits processes. This limit is raised as far as it goes, because the kernel counts it by user of the host.
    let unlimited = Rlimit { current: None, maximum: None };
    if rustix::process::setrlimit(Resource::Nproc, unlimited).is_err() {
        let maximum = rustix::process::getrlimit(Resource::Nproc).maximum;
        rustix::process::setrlimit(Resource::Nproc, Rlimit { current: maximum, maximum })
            .step("raise the limit of processes")?;
    }
    let user = job.start.user;
    enter_slot(job, job.ids.inside(user.uid), job.ids.inside(user.gid))?;
    drop_bounding_set()?;
    let empty = CapabilitySet::empty();
    let sets = CapabilitySets { effective: empty, permitted: empty, inheritable: empty };
    rustix::thread::set_capabilities(None, sets).step("drop the capabilities")?;
    rustix::thread::set_no_new_privs(true).step("set no_new_privs")
}

/// Enters the slot's user namespace, which gives all capabilities in it and takes away all others, as this user of it.
fn enter_slot(job: &Job<'_>, uid: u32, gid: u32) -> Result<(), SetupError> {
    move_into_link_name_space(job.users, Some(LinkNameSpaceType::User)).step("enter the user namespace")?;
    sys::become_user(uid, gid).step("become the user")
}

/// No capability can be gained by any exec. Entering a user namespace has filled the set.
fn drop_bounding_set() -> Result<(), SetupError> {
    for number in 0..CAPABILITIES_MAX {
        let Some(capability) = CapabilitySet::from_bits(1 << number) else { break };
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            Err(Errno::INVAL) => break, // the kernel's last was the one before
            Err(error) => return Err(error).step("drop the capability bounding set"),
        }
    }
    Ok(())
}
