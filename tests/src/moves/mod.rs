//! Nodes without containers against a real etcd: the server's own node loop, proposer and lease keeper, with a stand-in for the runner. What they
//! move in a second is measured beside a client that writes the same and plans nothing, and beside nodes that choose otherwise.
//!
//! All of it is in one process, so a figure here has every node's planning and decoding in it, on as many cores as the machine has.

pub mod bare;
pub mod cluster;
pub mod members;
pub mod node;
pub mod stand_in;
pub mod strawman;
pub mod waits;
pub mod work;
