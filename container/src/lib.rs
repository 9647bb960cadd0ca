//! The privileged part of Shoal: the runner (a single-threaded fork server that starts containers on request), the stub
//! (each container's PID 1, which carries the deadline and the task's log and wait status), and what both stand on: cgroups,
//! root file systems, the protocol to the server and the page that holds the deadline.
//!
//! This crate alone contains `unsafe`, and knows neither the store nor the scheduler.

pub mod cgroup;
pub mod deadline;
pub mod fail;
pub mod image;
pub mod log_index;
pub mod policy;
pub mod protocol;
pub mod record;
pub mod runner;
pub mod seccomp;
mod slot;
mod stub;
mod sys;
pub mod wire;
pub mod writers;

pub use stub::gang::PATH as GANG_DIRECTORY;
pub use stub::log::truncation_marker;
