//! A node in memory, a way to serve it, and a way to run the program.

pub mod api;
pub mod node;
pub mod program;
pub mod world;

pub use node::Node;
pub use program::{Running, shoal};
pub use world::Shared;
