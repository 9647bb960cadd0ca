//! The policy that Shoal ships: the order of the queue ([`order`]) and what starts now ([`plan`]), as pure functions of plain data.
//!
//! Nothing here knows the engine, so that both can move into `shoal-core` as they are. Neither reads a clock: the order of two waiting jobs never
//! changes while they wait, so every node sorts alike whatever its clock says.

pub mod order;
pub mod plan;
