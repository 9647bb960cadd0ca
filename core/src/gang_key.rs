//! What members of a task of several nodes tell each other: small values by key, each written once and seen by all members of the same attempt
//! (`docs/decisions/0012-the-directory-of-a-gang.md`).
//!
//! Persisted (see `shoal_store::record`): only add fields, with a default.

use crate::spec::Unknown;
use serde::{Deserialize, Serialize};

/// Bytes of a key, which is the name of a file too.
pub const KEY_BYTES_MAX: usize = 64;
/// Bytes of a value. All of an attempt, each twice as long in the store at most, are a megabyte there.
pub const VALUE_BYTES_MAX: usize = 4096;
/// Keys of one attempt; few enough that all of them fit into a member's directory beside as many files of its own.
pub const KEYS_MAX: usize = 128;

/// What a key may be: 1 to 64 letters, digits, `.`, `_` or `-`, and no `.` first.
pub fn is_key(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=KEY_BYTES_MAX).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(allowed)
}

/// Under `/gang/UUID/ATTEMPT`: this attempt of a task of several nodes is the one that runs. Written with its start and deleted with its end, so that whatever
/// compares it is written in between or not at all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GangEntry {
    /// How many members it has.
    pub nodes: u32,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// Under `/gang/UUID/ATTEMPT/KEY`: what a member has said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GangValue {
    /// The name of the member's node.
    pub node: String,
    /// What it said, if that is text for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What it said otherwise: two hexadecimal digits a byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hex: Option<String>,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl GangValue {
    /// These bytes, said by the member on the node of this name.
    pub fn new(node: &str, bytes: &[u8]) -> GangValue {
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.chars().all(is_plain));
        let hex = text.is_none().then(|| bytes.iter().map(|byte| format!("{byte:02x}")).collect());
        GangValue { node: node.to_owned(), text: text.map(str::to_owned), hex, unknown: Unknown::new() }
    }

    /// The bytes; `None` where they are in a form that this program does not know, or are more than a value may have.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        let bytes = match (&self.text, &self.hex) {
            (Some(text), None) => text.clone().into_bytes(),
            (None, Some(hex)) => unhex(hex)?,
            (None, None) | (Some(_), Some(_)) => return None,
        };
        (bytes.len() <= VALUE_BYTES_MAX).then_some(bytes)
    }
}

/// What JSON writes with two bytes at most.
fn is_plain(c: char) -> bool {
    !c.is_control() || matches!(c, '\n' | '\t')
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pair = |pair: &[u8]| match *pair {
        [high, low] => Some((digit(high)? * 16 + digit(low)?) as u8),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_is_a_short_plain_name_that_is_not_hidden() {
        let longest = "k".repeat(KEY_BYTES_MAX);
        for good in ["a", "addr.0", "A-Z_09.x", "-", "_", "a..b", &longest] {
            assert!(is_key(good), "{good:?}");
        }
        let longer = "k".repeat(KEY_BYTES_MAX + 1);
        for bad in ["", ".", "..", ".hidden", "a/b", "../a", "a\nb", "a\0", "a b", "ä", "a%", "#12", &longer]
        {
            assert!(!is_key(bad), "{bad:?}");
        }
    }

    #[test]
    fn text_is_kept_as_text_and_all_else_as_digits() {
        let value = GangValue::new("n1", b"10.0.0.1:4000\n");
        assert_eq!((value.text.as_deref(), &value.hex), (Some("10.0.0.1:4000\n"), &None));
        for bytes in [&b"\x00\x01"[..], b"\xff", b"a\x1b[2J"] {
            let value = GangValue::new("n1", bytes);
            assert!(value.text.is_none(), "{bytes:?}");
            assert_eq!(value.bytes().as_deref(), Some(bytes));
        }
        assert_eq!(GangValue::new("n1", b"").bytes(), Some(Vec::new()));
    }

    #[test]
    fn what_cannot_be_a_value_is_none() {
        let value = |text: Option<&str>, hex: Option<&str>| GangValue {
            text: text.map(str::to_owned),
            hex: hex.map(str::to_owned),
            ..GangValue::new("n1", b"")
        };
        let long = "x".repeat(VALUE_BYTES_MAX + 1);
        for bad in [
            value(None, None),
            value(Some("a"), Some("61")),
            value(None, Some("6")),
            value(None, Some("+1")),
            value(None, Some("ää")),
            value(Some(&long), None),
        ] {
            assert_eq!(bad.bytes(), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn every_value_reads_back_and_is_at_most_twice_as_long_in_json(bytes in prop::collection::vec(any::<u8>(), 0..VALUE_BYTES_MAX)) {
            let value = GangValue::new("n1", &bytes);
            let json = serde_json::to_string(&value).unwrap();
            prop_assert!(json.len() <= 2 * bytes.len() + 64, "{}", json.len());
            let read: GangValue = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(read.bytes(), Some(bytes));
        }
    }
}
