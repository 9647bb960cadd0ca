//! Images: archives are unpacked by the real unpacker, behind its real walls, on request of the real runner.
#![allow(clippy::unwrap_used)]

mod archive;
mod formats;
mod hostile;
mod life;
#[path = "../support/mod.rs"]
mod support;
mod world;
