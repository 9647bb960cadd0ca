//! From ranges of system call numbers to classic BPF: a balanced binary search tree, the architecture first.
//!
//! A tree and not a list, because a load pays for the program's shape many times over: since Linux 5.11 the kernel runs a new filter once for each
//! system call number to learn which are allowed whatever their arguments (and then runs it for those never again). A list of 300 comparisons costs
//! an order of magnitude more there than a tree of depth 8.

use super::list::{ARCHITECTURE, Check, Range, Verdict};
use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter,
};

/// Offset of the system call's number in `struct seccomp_data`.
const NUMBER_OFFSET: u32 = 0;
/// Offset of the architecture.
const ARCHITECTURE_OFFSET: u32 = 4;
/// Offset of the first argument's lower half, which comes first: only little-endian platforms are built for.
const ARGUMENTS_OFFSET: u32 = 16;
/// Bytes of an argument.
const ARGUMENT_BYTES: u32 = 8;
const _: () = assert!(cfg!(target_endian = "little"));

/// The whole program. The ranges are sorted by their first numbers, begin at 0, and each ends where the next begins.
pub fn program(ranges: &[Range]) -> Vec<sock_filter> {
    let mut program = vec![
        load(ARCHITECTURE_OFFSET),
        jump(BPF_JEQ, ARCHITECTURE, 1, 0),
        give(libc::SECCOMP_RET_KILL_PROCESS),
        load(NUMBER_OFFSET),
    ];
    program.extend(tree(ranges));
    program
}

/// Jumps are forward and relative, so a tree is its root's comparison, its lower half and its upper half, one after the other.
fn tree(ranges: &[Range]) -> Vec<sock_filter> {
    let (lower, upper) = match ranges {
        [] => unreachable!("a filter has a verdict for every number"),
        [range] => return leaf(&range.verdict),
        ranges => ranges.split_at(ranges.len() / 2),
    };
    let (below, above) = (tree(lower), tree(upper));
    let mut program = match u8::try_from(below.len()) {
        Ok(over) => vec![jump(BPF_JGE, upper[0].first, over, 0)],
        // Too far for a comparison's own jump.
        Err(_) => vec![jump(BPF_JGE, upper[0].first, 0, 1), jump_always(below.len())],
    };
    program.extend(below);
    program.extend(above);
    program
}

fn leaf(verdict: &Verdict) -> Vec<sock_filter> {
    match verdict {
        Verdict::Allow => vec![give(libc::SECCOMP_RET_ALLOW)],
        Verdict::Errno(errno) => vec![error(*errno)],
        Verdict::Kill => vec![give(libc::SECCOMP_RET_KILL_PROCESS)],
        Verdict::AllowIf(alternatives) => {
            let mut program: Vec<sock_filter> =
                alternatives.iter().flat_map(|checks| alternative(checks)).collect();
            program.push(error(libc::EPERM));
            program
        }
    }
}

/// Allows when all checks hold, and goes on behind itself when one does not. Built from its end, so that each check knows how far the end is.
fn alternative(checks: &[Check]) -> Vec<sock_filter> {
    checks.iter().rev().fold(vec![give(libc::SECCOMP_RET_ALLOW)], |then, check| {
        let mut program = vec![load(ARGUMENTS_OFFSET + ARGUMENT_BYTES * u32::from(check.argument))];
        if check.mask != u32::MAX {
            program.push(instruction(BPF_ALU | BPF_AND | BPF_K, 0, 0, check.mask));
        }
        let failed = distance(then.len());
        for (index, value) in check.values.iter().enumerate() {
            let left = distance(check.values.len() - 1 - index);
            let missed = if left == 0 { failed } else { 0 };
            program.push(match check.wanted {
                true => jump(BPF_JEQ, *value, left, missed),
                false => jump(BPF_JEQ, *value, left + failed, 0),
            });
        }
        program.extend(then);
        program
    })
}

fn distance(instructions: usize) -> u8 {
    u8::try_from(instructions).expect("the checks of one system call are a few dozen instructions")
}

fn load(offset: u32) -> sock_filter {
    instruction(BPF_LD | BPF_W | BPF_ABS, 0, 0, offset)
}

fn jump(condition: u32, value: u32, hit: u8, missed: u8) -> sock_filter {
    instruction(BPF_JMP | condition | BPF_K, hit, missed, value)
}

fn jump_always(over: usize) -> sock_filter {
    let over = u32::try_from(over).expect("a program is far below 4096 instructions");
    instruction(BPF_JMP | BPF_JA, 0, 0, over)
}

fn give(action: u32) -> sock_filter {
    instruction(BPF_RET | BPF_K, 0, 0, action)
}

fn error(errno: i32) -> sock_filter {
    give(libc::SECCOMP_RET_ERRNO | (errno as u32 & libc::SECCOMP_RET_DATA))
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    // All codes are below 256.
    sock_filter { code: code as u16, jt, jf, k }
}
