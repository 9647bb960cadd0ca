//! container

pub mod protocol;
