//! What people see of a comparison: columns of a table ([`columns`]) and a picture ([`svg`]). As data it is [`crate::experiment::Row`], serialised.

pub mod columns;
pub mod svg;
