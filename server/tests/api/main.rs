//! The API over a real connection, against the model of the store and a small node loop that really applies transitions.

mod adjust;
mod cancel;
mod drained;
mod durations;
mod fixture;
mod gangs;
mod limits;
mod list;
mod lock;
mod lock_any;
mod log;
mod log_copies;
mod model;
mod moved;
mod reserve;
mod serve;
mod submit;
mod watch;
