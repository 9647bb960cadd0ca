//! One node of a Shoal cluster: configuration, the embedded store member, the lease, the node loop, the API, the logs.
//!
//! All decisions are `shoal_core`'s; all privileges are the runner's. What runs in the background runs under [`supervisor`].

pub mod api;
pub mod clock;
pub mod config;
pub mod counters;
pub mod data_dir;
pub mod durations;
pub mod facts;
pub mod full_disk;
pub mod gangs;
pub mod identity;
pub mod images;
pub mod index;
pub mod journal;
pub mod launch;
pub mod lease;
pub mod logs;
pub mod membership;
pub mod node_loop;
pub mod propose;
pub mod retention;
pub mod run;
pub mod runner;
pub mod seam;
pub mod space;
pub mod store;
pub mod supervisor;
