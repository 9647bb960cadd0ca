//! What is particular to `aarch64`.

use super::Verdict;
use libc::c_long;

/// `AUDIT_ARCH_AARCH64`; 32-bit code has another.
pub const ARCHITECTURE: u32 = 0xc000_00b7;
/// First and last of the numbers of the generic table; between them lie numbers for calls of single architectures, of which this one has none.
pub const KNOWN: &[(u32, u32)] = &[(0, 243), (260, 294)];
/// The first number that is the same everywhere.
pub const COMMON_FIRST: u32 = 424;
/// There is one convention only.
pub const BEYOND: &[(u32, Verdict)] = &[];
// Not among the C library's names of this architecture.
const SYS_RENAMEAT: c_long = 38;
const SYS_SYNC_FILE_RANGE: c_long = 84;
const SYS_GETRLIMIT: c_long = 163;
const SYS_SETRLIMIT: c_long = 164;
const SYS_IO_PGETEVENTS: c_long = 292;

/// Allowed, and not in the list for all because their names are missing there.
pub const ALLOWED: &[c_long] =
    &[SYS_GETRLIMIT, SYS_IO_PGETEVENTS, SYS_RENAMEAT, SYS_SETRLIMIT, SYS_SYNC_FILE_RANGE];
