//! Simulator of scheduling policies: a workload, a pool of nodes and a policy in; starts, waits and a picture out.
//!
//! Pure and deterministic: chance comes from a seed, time is counted in integer milliseconds, nothing reads a clock, a file or the
//! environment. The same seed gives the same bytes. It never decides for a real cluster; what it is for is to try a policy
//! on recorded or made-up work before nodes run it, beside the policies that others have ([`policy`]).
//!
//! Flow: [`workload`] makes [`job::Job`]s, [`engine::run`] lets a [`policy::Policy`] start them, [`measure`] counts, [`experiment`]
//! repeats that over seeds and policies, [`report`] shows it.

pub mod engine;
pub mod experiment;
pub mod job;
pub mod measure;
pub mod policy;
pub mod queue;
pub mod report;
pub mod rng;
pub mod workload;
