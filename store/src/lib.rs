//! etcd behind one port: keys, records, moves, watches, leases; the embedded member; the in-memory model.
//!
//! The server sees [`port::Store`] alone. Keys are spelled in [`key`], values in [`record`], and every change of a task goes
//! through [`moves`], which guards it.

pub mod advance;
pub mod etcd;
pub mod fault;
pub mod gang;
pub mod key;
pub mod learn;
pub mod list_watch;
pub mod member;
pub mod memory;
pub mod moves;
pub mod offer;
pub mod port;
pub mod record;
pub mod retire;
