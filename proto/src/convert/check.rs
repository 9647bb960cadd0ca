//! Collects what is wrong with a request, field by field, so that its sender learns all of it at once.

use super::limits::{PATH_BYTES_MAX, Range, VIOLATIONS_MAX};
use std::fmt::Display;
use tonic_types::FieldViolation;

/// Characters of a given value that a message repeats.
const SHOWN_CHARS_MAX: usize = 40;

/// The violations found so far, at most [`VIOLATIONS_MAX`].
#[derive(Debug, Default)]
pub struct Check {
    violations: Vec<FieldViolation>,
}

impl Check {
    /// Nothing is wrong yet.
    pub fn new() -> Check {
        Check::default()
    }

    /// Reports a field.
    pub fn refuse(&mut self, field: impl Into<String>, description: impl Into<String>) {
        if !self.is_full() {
            self.violations.push(FieldViolation::new(field, description));
        }
    }

    /// No more violations are kept, so looking for them is of no use.
    pub fn is_full(&self) -> bool {
        self.violations.len() >= VIOLATIONS_MAX
    }

    /// A number within its range; 0 is the range's default. What is outside comes back as it was, reported.
    pub fn number(&mut self, field: &str, value: u64, range: Range) -> u64 {
        let value = if value == 0 { range.default } else { value };
        if !range.contains(value) {
            self.refuse(field, format!("must be between {} and {}, was {value}", range.min, range.max));
        }
        value
    }

    /// A number within its range, or 0, which stands for whatever is usual where the task runs.
    pub fn number_or_usual(&mut self, field: &str, value: u64, range: Range) -> u64 {
        if value != 0 && !range.contains(value) {
            let (min, max) = (range.min, range.max);
            self.refuse(field, format!("must be 0 (the usual) or between {min} and {max}, was {value}"));
        }
        value
    }

    /// One line of text for people: bounded, without control characters.
    pub fn line(&mut self, field: &str, value: &str, chars_max: usize) {
        let chars = value.chars().count();
        if chars > chars_max {
            self.refuse(field, format!("must be at most {chars_max} characters, was {chars}"));
        } else if value.chars().any(char::is_control) {
            self.refuse(field, format!("must not contain control characters, was {}", shown(value)));
        }
    }

    /// An absolute path that leads out of nowhere; whether it is one.
    pub fn path(&mut self, field: &str, path: &str) -> bool {
        if path.len() > PATH_BYTES_MAX {
            self.refuse(field, format!("must be at most {PATH_BYTES_MAX} bytes, was {}", path.len()));
        } else if !path.starts_with('/') || path.split('/').any(|part| part == "..") || path.contains('\0') {
            self.refuse(field, format!("must be an absolute path without '..' and NUL, was {}", shown(path)));
        } else {
            return true;
        }
        false
    }

    /// `Ok` with `value` when nothing was reported.
    pub fn finish<T>(self, value: T) -> Result<T, Vec<FieldViolation>> {
        if self.violations.is_empty() { Ok(value) } else { Err(self.violations) }
    }
}

/// A value as a message repeats it: quoted, escaped, cut.
pub fn shown(value: impl Display) -> String {
    let text = value.to_string();
    let mut chars = text.chars();
    let head: String = chars.by_ref().take(SHOWN_CHARS_MAX).collect();
    if chars.next().is_some() { format!("{head:?}...") } else { format!("{head:?}") }
}
