//! All decisions of Shoal, without I/O, clock, threads or randomness: the server drives this crate with etcd and Linux,
//! the simulator drives the same code with models of both.
//!
//! Never in here: `async`, a file, a socket, an environment variable, the time of day.

pub mod amount;
pub mod backoff;
pub mod batch;
pub mod charge;
pub mod clock;
pub mod counts;
pub mod drain;
pub mod duration;
pub mod entry;
pub mod event;
pub mod features;
pub mod gang;
pub mod gang_key;
pub mod id;
pub mod image;
pub mod limit;
pub mod lock;
pub mod node;
pub mod place;
pub mod plan;
pub mod priority;
pub mod rendezvous;
pub mod reserve;
pub mod resources;
pub mod shape;
pub mod spec;
pub mod task;
pub mod time;
pub mod transition;
pub mod view;
pub mod why;
