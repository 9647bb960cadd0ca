//! Giving up privileges: the stub keeps what it needs to end its task, the task keeps nothing.

use super::Job;
use super::error::{SetupError, Step};
use crate::sys;
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

/// Above the last capability of any kernel.
const CAPABILITIES_MAX: u32 = 64;

/// Before the task is forked: no capability can be gained by any exec in this container, and nobody inside can look into the stub.
pub fn prepare_stub() -> Result<(), SetupError> {
    for number in 0..CAPABILITIES_MAX {
        let Some(capability) = CapabilitySet::from_bits(1 << number) else { break };
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            Err(Errno::INVAL) => break, // the kernel's last was the one before
            Err(error) => return Err(error).step("drop the capability bounding set"),
        }
    }
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).step("hide the stub")
}

/// After the task is forked: the stub only signals its task from here on.
pub fn reduce_stub() -> Result<(), SetupError> {
    let kill = CapabilitySet::KILL;
    let sets = CapabilitySets { effective: kill, permitted: kill, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).step("drop the stub's capabilities")?;
    rustix::thread::set_no_new_privs(true).step("set no_new_privs")
}

/// In the task's process, before exec.
pub fn drop_all(job: &Job<'_>) -> Result<(), SetupError> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, none).step("forbid core dumps")?;
    rustix::process::setrlimit(Resource::Nofile, job.open_files).step("limit open files")?;
    // All tasks are one user to the kernel, so a limit on its processes would count them together; the control group counts them apart.
    // Without the privilege to lift it, it is raised as far as it goes.
    let unlimited = Rlimit { current: None, maximum: None };
    if rustix::process::setrlimit(Resource::Nproc, unlimited).is_err() {
        let maximum = rustix::process::getrlimit(Resource::Nproc).maximum;
        rustix::process::setrlimit(Resource::Nproc, Rlimit { current: maximum, maximum })
            .step("raise the limit of processes")?;
    }
    rustix::thread::clear_ambient_capability_set().step("clear the ambient capabilities")?;
    sys::become_user(job.uid, job.gid).step("become the task's user")?;
    let empty = CapabilitySet::empty();
    let sets = CapabilitySets { effective: empty, permitted: empty, inheritable: empty };
    rustix::thread::set_capabilities(None, sets).step("drop the capabilities")?;
    rustix::thread::set_no_new_privs(true).step("set no_new_privs")
}
