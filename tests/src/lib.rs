//! What the whole-cluster tests, the benchmark and the demo's account are made of: real nodes with real etcd members on
//! loopback addresses of their own, a gRPC client, and the witness that reads what the tasks themselves wrote.
//!
//! Nothing here looks into the server: it starts programs, calls the public API, sends signals to what it started, and reads files
//! and /proc ([`moves`] alone drives parts of the server, since it measures nodes without their containers). It ends only processes it started, by pid, after checking that the pid still is that process.

pub mod account;
pub mod address;
pub mod api;
pub mod clock;
pub mod cluster;
pub mod etcd;
pub mod host;
pub mod machines;
pub mod moves;
pub mod node;
pub mod plan;
pub mod programs;
pub mod suite;
pub mod tasks;
pub mod wait;
pub mod witness;
