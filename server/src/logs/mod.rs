//! The log service: attempts' logs read from this node's disk, followed while they grow, or fetched from the node that has them.

pub mod attempt;
pub mod file;
pub mod follow;
pub mod notify;
pub mod owner;
pub mod peer;
