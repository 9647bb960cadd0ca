//! Just enough of the ELF format to tell a static program from a dynamic one: a program that names an interpreter
//! (`PT_INTERP`) needs a loader and libraries that the root does not have. Static position-independent programs name none.
//! Source: the System V ABI, chapters "ELF header" and "Program header".

/// The program header type that names an interpreter.
const PT_INTERP: u32 = 3;

/// What a file is, as far as a root file system cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linkage {
    /// Runs without anything else.
    Static,
    /// Needs a loader and shared libraries.
    Dynamic,
    /// Not an ELF program, or one that is cut off.
    NotElf,
}

/// Where the fields that matter lie, for 32 and 64 bit files.
struct Layout {
    wide: bool,
    little: bool,
}

impl Layout {
    /// The unsigned number of `len` bytes at `at`.
    fn number(&self, image: &[u8], at: usize, len: usize) -> Option<u64> {
        let bytes = image.get(at..at.checked_add(len)?)?;
        let fold = |sum: u64, byte: &u8| (sum << 8) | u64::from(*byte);
        Some(if self.little { bytes.iter().rev().fold(0, fold) } else { bytes.iter().fold(0, fold) })
    }

    /// Whether a program header says `PT_INTERP`; `None` where the file is cut off.
    fn has_interpreter(&self, image: &[u8]) -> Option<bool> {
        let (offset, entry_size, count) = if self.wide {
            (self.number(image, 32, 8)?, self.number(image, 54, 2)?, self.number(image, 56, 2)?)
        } else {
            (self.number(image, 28, 4)?, self.number(image, 42, 2)?, self.number(image, 44, 2)?)
        };
        for index in 0..count {
            let at = offset.checked_add(index.checked_mul(entry_size)?)?;
            if self.number(image, usize::try_from(at).ok()?, 4)? == u64::from(PT_INTERP) {
                return Some(true);
            }
        }
        Some(false)
    }
}

/// How the program in `image` is linked.
pub fn linkage(image: &[u8]) -> Linkage {
    let Some(ident) = image.get(..16).filter(|ident| ident.starts_with(b"\x7fELF")) else {
        return Linkage::NotElf;
    };
    let layout = Layout { wide: ident[4] == 2, little: ident[5] == 1 };
    match layout.has_interpreter(image) {
        Some(true) => Linkage::Dynamic,
        Some(false) => Linkage::Static,
        None => Linkage::NotElf,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 64 bit little-endian header with one program header of the given type.
    pub(crate) fn image(kind: u32) -> Vec<u8> {
        let mut image = vec![0u8; 64 + 56];
        image[..6].copy_from_slice(b"\x7fELF\x02\x01");
        image[32] = 64;
        image[54] = 56;
        image[56] = 1;
        image[64..68].copy_from_slice(&kind.to_le_bytes());
        image
    }

    #[test]
    fn an_interpreter_makes_it_dynamic() {
        assert_eq!(linkage(&image(PT_INTERP)), Linkage::Dynamic);
    }

    #[test]
    fn load_segments_alone_are_static() {
        assert_eq!(linkage(&image(1)), Linkage::Static);
    }

    #[test]
    fn what_is_cut_off_or_a_script_is_no_program() {
        assert_eq!(linkage(b"#!/bin/sh\n"), Linkage::NotElf);
        assert_eq!(linkage(&image(1)[..80][..50]), Linkage::NotElf);
        assert_eq!(linkage(b"\x7fELF"), Linkage::NotElf);
    }
}
