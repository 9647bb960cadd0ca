//! The client of a Shoal cluster: a library that submits, watches and reads logs through whichever node answers, and the command
//! line `shoal` on top of it.
//!
//! The library never prints and never exits; [`cli`], [`cmd`] and [`output`] are the only parts that do. What users may rely on
//! (exit codes, streams, selectors, output forms) is frozen in `docs/contract.md`, and a test compares that file with this crate.

pub mod address;
pub mod channel;
pub mod cli;
pub mod client;
pub mod cmd;
pub mod dev;
pub mod error;
pub mod exit;
pub mod follow;
pub mod here;
pub mod images;
pub mod log;
pub mod output;
pub mod pages;
pub mod people;
pub mod selector;
pub mod submit;
pub mod taskfile;
pub mod values;
pub mod wait;
pub mod watch;
pub mod words;

pub use address::Address;
pub use client::{Client, Options};
pub use error::Error;
