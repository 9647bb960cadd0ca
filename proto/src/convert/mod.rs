//! The only conversion between the wire and the core. Whatever comes from the wire is checked here, against one table of limits,
//! and leaves with every default filled in, so that no other code asks whether a value makes sense.

pub mod access;
pub mod check;
pub mod gang;
pub mod limits;
pub mod people;
pub mod priority;
pub mod spec;
pub mod task;

#[cfg(test)]
mod tests;

use check::{Check, shown};
use tonic_types::FieldViolation;
use uuid::Uuid;

/// The id of a submit request, `None` when not given.
pub fn request_id(text: &str) -> Result<Option<Uuid>, Vec<FieldViolation>> {
    if text.is_empty() {
        return Ok(None);
    }
    match Uuid::parse_str(text) {
        Ok(id) if !id.is_nil() => Ok(Some(id)),
        Ok(_) | Err(_) => {
            let mut check = Check::new();
            check.refuse("request_id", format!("must be a UUID other than the nil one, was {}", shown(text)));
            check.finish(None)
        }
    }
}
