//! Names that people give, as a part of a key: bytes other than letters, digits and a few marks as `%` and two upper-case hexadecimal digits.
//!
//! Invariant: each name has one escaped form, and [`unescaped`] takes no other.

use std::fmt;

/// A name in its escaped form.
pub(super) struct Escaped<'a>(pub &'a str);

/// What stands for itself. A slash does: the names of tests are full of them, and what is listed should be readable.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/' | b':' | b'=' | b'+' | b',')
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            if is_plain(byte) { write!(f, "{}", char::from(byte))? } else { write!(f, "%{byte:02X}")? }
        }
        Ok(())
    }
}

/// The name that has this escaped form.
pub(super) fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        if *first == b'%' {
            let (digits, others) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?);
            rest = others;
        } else {
            bytes.push(*first);
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    (Escaped(&name).to_string() == text).then_some(name)
}
