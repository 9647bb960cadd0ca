//! Names of entries: relative, without `..`, bounded. Everything that is opened or made in the tree is named by a [`Name`].

use super::error::{UnpackError, shown};
use shoal_container::image::Caps;

/// Bytes of one part of a name, as every Linux file system has it.
const PART_BYTES_MAX: u64 = 255;

/// A name below the tree's top: parts with `/` between them; empty is the top itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Vec<u8>);

impl Name {
    /// The top of the tree.
    pub fn top() -> Name {
        Name::default()
    }

    /// Reads a name as an archive spells it. `./a//b/` is `a/b`.
    pub fn parse(text: &[u8], caps: &Caps) -> Result<Name, UnpackError> {
        let refuse = |why: &str| Err(UnpackError::refused(text, why));
        let long = |field, limit, value| {
            let value = value as u64;
            match value > limit {
                true => Err(UnpackError::Entry { entry: shown(text), field, limit, value }),
                false => Ok(()),
            }
        };
        if text.first() == Some(&b'/') {
            return refuse("its name is absolute");
        }
        if text.contains(&0) {
            return refuse("its name contains a zero byte");
        }
        long("path bytes", caps.path_bytes_max, text.len())?;
        let parts: Vec<&[u8]> =
            text.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
        if parts.contains(&b"..".as_slice()) {
            return refuse("its name contains \"..\"");
        }
        long("depth", caps.depth_max, parts.len())?;
        for part in &parts {
            long("bytes of a name's part", PART_BYTES_MAX, part.len())?;
        }
        Ok(Name(parts.join(&b'/')))
    }

    /// Whether this is the top itself.
    pub fn is_top(&self) -> bool {
        self.0.is_empty()
    }

    /// The text, `a/b`.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The directory it is in, and its last part. The top is in itself, without a last part.
    pub fn split(&self) -> (Name, &[u8]) {
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (Name(self.0[..at].to_vec()), &self.0[at + 1..]),
            None => (Name::top(), &self.0),
        }
    }

    /// Below this one.
    pub fn join(&self, part: &[u8]) -> Name {
        if self.is_top() {
            return Name(part.to_vec());
        }
        Name([&self.0, b"/".as_slice(), part].concat())
    }

    /// Its parts.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
    }

    /// Itself and each directory that it is in, but for the top.
    pub fn with_parents(&self) -> impl Iterator<Item = Name> {
        let mut next = Some(self.clone());
        std::iter::from_fn(move || {
            let name = next.take().filter(|name| !name.is_top())?;
            next = Some(name.split().0);
            Some(name)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Name, UnpackError> {
        Name::parse(text.as_bytes(), &Caps { path_bytes_max: 600, depth_max: 4, ..Caps::default() })
    }

    #[test]
    fn spellings_of_one_name_are_one_name() {
        for text in ["a/b", "./a/b", "a//b/", "./././a/./b/."] {
            assert_eq!(parse(text).unwrap().bytes(), b"a/b");
        }
        assert!(parse("./").unwrap().is_top() && parse("").unwrap().is_top());
    }

    #[test]
    fn what_leads_out_or_is_too_long_is_refused() {
        for text in ["/etc/passwd", "..", "a/../b", "a/..", "../x", "a\0b", "1/2/3/4/5"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        let error = parse(&"x".repeat(256)).unwrap_err().to_string();
        assert!(error.contains("bytes of a name's part must be at most 255, was 256"), "{error}");
    }

    #[test]
    fn a_name_knows_its_parents() {
        let name = parse("a/b/c").unwrap();
        let all: Vec<Vec<u8>> = name.with_parents().map(|name| name.bytes().to_vec()).collect();
        assert_eq!(all, [b"a/b/c".to_vec(), b"a/b".to_vec(), b"a".to_vec()]);
    }
}
