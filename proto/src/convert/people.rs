//! What people say of the queue and the nodes, for the wire.

use super::check::{Check, shown};
use crate::v1;
use shoal_core::features::{LABEL_CHARS_MAX, is_label};
use shoal_core::place::Moved;
use shoal_core::reserve::ReserveEntry;

/// Where somebody has moved a task to.
pub fn moved_to_wire(moved: &Moved) -> v1::MoveInfo {
    v1::MoveInfo { by: moved.by.clone(), to: moved.to.clone(), at_ms: moved.at.0 }
}

/// How many nodes are kept for people.
pub fn reserve_to_wire(reserve: &ReserveEntry) -> v1::ReserveInfo {
    let ReserveEntry { nodes, label, by, at, unknown: _ } = reserve;
    v1::ReserveInfo { nodes: *nodes, label: label.clone().unwrap_or_default(), by: by.clone(), at_ms: at.0 }
}

/// One label, or none where the text is empty.
pub fn label(text: String, field: &str, check: &mut Check) -> Option<String> {
    if !text.is_empty() && !is_label(&text) {
        let (what, max) = ("NAME or NAME=VALUE of letters, digits, '.', '_' and '-'", LABEL_CHARS_MAX);
        check.refuse(field, format!("must be {what}, at most {max} characters, was {}", shown(&text)));
    }
    (!text.is_empty()).then_some(text)
}
