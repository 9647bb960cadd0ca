//! etcd behind one port: keys, records, moves, watches, leases; the embedded member; the in-memory model.

pub mod port;
