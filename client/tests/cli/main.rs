//! The real `shoal` against a whole node in memory: streams, exit codes, output forms, failover, signals.

#![allow(clippy::unwrap_used)]

mod contract;
mod dev;
mod errors;
mod failover;
mod follow;
mod gangs;
mod library;
mod output;
mod people;
mod run;
mod sim;
mod submit;
mod support;
mod tasks;
