//! The log service: attempts' logs read from this node's disk, followed while they grow, or fetched from the node that has them. After an attempt's end its
//! log is compressed ([`pack`]) and copied to a peer ([`copies`]).

pub mod attempt;
pub mod copies;
pub mod file;
pub mod follow;
pub mod name;
pub mod notify;
pub mod owner;
pub mod pack;
pub mod packed;
pub mod peer;
