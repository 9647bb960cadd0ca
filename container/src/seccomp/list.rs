//! The allow-list. It grew from what the common container engines let a container without capabilities do, decided call by call:
//!
//! - `ptrace` is allowed: debuggers and leak sanitizers need it, a task can reach only its own processes (its own pid namespace and users, and a
//!   PID 1 of another user that is not dumpable), and since Linux 4.8 the filter sees what a tracer makes of a system call. `process_vm_*` would give
//!   a tracer nothing that `ptrace` does not; they have had holes of their own and stay off.
//! - `mknod` is allowed for named pipes and sockets; devices need a capability. `chmod` may set setuid bits: every mount is `nosuid`, and
//!   `no_new_privs` ignores them besides.
//! - `seccomp` is allowed: filters add up, and the strictest verdict counts.
//! - `modify_ldt` is off, and with it 16-bit segments (old Windows programs); so are AIO's successor `io_uring`, which does without system calls
//!   what this filter decides, `userfaultfd`, `bpf`, `perf_event_open` and the keyrings: all have a history, and the first two have fallbacks.
//! - Clocks, memory policies, quotas, handles of files and whatever else needs a capability anyhow are off, to keep their code out of reach.
//! - `uretprobe` and `uprobe` are made by the kernel's own trampoline when an operator traces a program: refused, they would kill the task.

use libc::{EPERM, c_long};

/// What happens to a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is made.
    Allow,
    /// It is made when all checks of one of these alternatives hold, and fails with EPERM otherwise.
    AllowIf(&'static [&'static [Check]]),
    /// It fails with this.
    Errno(i32),
    /// The process dies by SIGSYS.
    Kill,
}

/// A condition on an argument: its lower half, masked, is one of the values (or, with `wanted` false, none of them).
///
/// Only the lower 32 bits are looked at. This is right where the kernel looks at no more (an `int`, or flags that it cuts to 32 bits), and then
/// looking at more would be wrong: a number with bits above would pass as another one than the kernel takes it for. Every check below says why it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// From 0.
    pub argument: u8,
    /// Bits that count.
    pub mask: u32,
    /// Compared with what is left.
    pub values: &'static [u32],
    /// Whether one of the values must be there, or none may.
    pub wanted: bool,
}

/// The verdict on all numbers from `first` up to the next range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first number.
    pub first: u32,
    /// On each of them.
    pub verdict: Verdict,
}

const fn one_of(argument: u8, mask: u32, values: &'static [u32]) -> Check {
    Check { argument, mask, values, wanted: true }
}

/// All flags that make or enter a namespace, but CLONE_NEWTIME.
const NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;
/// Its bit is part of the exit signal in `clone`, and a namespace in `unshare` alone.
const CLONE_NEWTIME: u32 = 0x80;
/// The kernel cuts `clone`'s flags to 32 bits.
const CLONE: &[&[Check]] = &[&[one_of(0, NAMESPACES, &[0])]];
/// The kernel knows no flag of `unshare` above 32 bits and refuses all unknown ones.
const UNSHARE: &[&[Check]] = &[&[one_of(0, NAMESPACES | CLONE_NEWTIME, &[0])]];

/// The usual Linux, 32-bit Linux, each with `uname` as of 2.6, and the question for the present one. An `unsigned int`.
const PERSONALITY: &[&[Check]] = &[&[one_of(0, u32::MAX, &[0, 0x8, 0x2_0000, 0x2_0008, u32::MAX])]];

/// Of a socket's type; the rest are flags.
const TYPE: u32 = 0xf;
/// What an internet socket may speak: the default of its type, TCP, UDP, echo requests, multipath TCP (Go's default for servers). Others (SCTP,
/// DCCP, L2TP, SMC, ...) are modules that the mere attempt would load.
const INTERNET: &[u32] = &[0, 6, 17, 1, 58, 262];
/// Family, type and protocol, each an `int`. Families are those of <linux/socket.h>: AF_UNIX 1, AF_INET 2, AF_INET6 10, AF_NETLINK 16 (for
/// NETLINK_ROUTE, 0, alone: what lists interfaces). So no AF_PACKET, AF_ALG, AF_VSOCK (which no namespace contains), and no module for the rarer.
const SOCKET: &[&[Check]] = &[
    &[one_of(0, u32::MAX, &[1])],
    &[one_of(0, u32::MAX, &[2, 10]), one_of(1, TYPE, &[1, 2]), one_of(2, u32::MAX, INTERNET)],
    &[one_of(0, u32::MAX, &[16]), one_of(2, u32::MAX, &[0])],
];
/// The only family that has pairs, besides modules.
const SOCKETPAIR: &[&[Check]] = &[&[one_of(0, u32::MAX, &[1])]];

/// What a terminal must not be asked: to take input as if typed (TIOCSTI), to paste the console's selection (TIOCLINUX), to load a line
/// discipline (TIOCSETD). The command is an `unsigned int`: with upper bits set it is the same command to the kernel.
const TERMINAL: &[u32] = &[libc::TIOCSTI as u32, libc::TIOCLINUX as u32, libc::TIOCSETD as u32];
const IOCTL: &[&[Check]] = &[&[Check { argument: 1, mask: u32::MAX, values: TERMINAL, wanted: false }]];

/// Allowed depending on their arguments.
const CHECKED: &[(c_long, Verdict)] = &[
    (libc::SYS_clone, Verdict::AllowIf(CLONE)),
    (libc::SYS_clone3, Verdict::Errno(libc::ENOSYS)),
    (libc::SYS_ioctl, Verdict::AllowIf(IOCTL)),
    (libc::SYS_personality, Verdict::AllowIf(PERSONALITY)),
    (libc::SYS_socket, Verdict::AllowIf(SOCKET)),
    (libc::SYS_socketpair, Verdict::AllowIf(SOCKETPAIR)),
    (libc::SYS_unshare, Verdict::AllowIf(UNSHARE)),
];

/// The last call that this list has decided on; the same number everywhere.
const LAST: u32 = 467; // open_tree_attr

mod allowed;
#[cfg(target_arch = "x86_64")]
#[path = "list/x86_64.rs"]
mod arch;
#[cfg(target_arch = "aarch64")]
#[path = "list/aarch64.rs"]
mod arch;

pub use arch::ARCHITECTURE;

/// The verdict on every number there is, neighbours with the same verdict as one range.
pub fn ranges() -> Vec<Range> {
    let mut decided: Vec<(u32, Verdict)> = Vec::new();
    for (first, last) in arch::KNOWN.iter().copied().chain([(arch::COMMON_FIRST, LAST)]) {
        decided.extend((first..=last).map(|number| (number, Verdict::Errno(EPERM))));
    }
    let allowed = allowed::EVERYWHERE.iter().chain(arch::ALLOWED).map(|number| (*number, Verdict::Allow));
    for (number, verdict) in allowed.chain(CHECKED.iter().copied()) {
        let known = decided.iter_mut().find(|(known, _)| c_long::from(*known) == number);
        known.expect("what is allowed is known").1 = verdict;
    }
    let unknown = Verdict::Errno(libc::ENOSYS);
    let mut ranges = vec![Range { first: 0, verdict: unknown }];
    let mut next = 0;
    for (number, verdict) in decided {
        if number > next {
            push(&mut ranges, next, unknown);
        }
        push(&mut ranges, number, verdict);
        next = number + 1;
    }
    push(&mut ranges, next, unknown);
    for (first, verdict) in arch::BEYOND {
        push(&mut ranges, *first, *verdict);
    }
    ranges
}

/// Adds a range unless it only goes on with the last, or replaces a last one that would be empty.
fn push(ranges: &mut Vec<Range>, first: u32, verdict: Verdict) {
    match ranges.last_mut() {
        Some(last) if last.first == first => last.verdict = verdict,
        Some(last) if last.verdict == verdict => {}
        _ => ranges.push(Range { first, verdict }),
    }
}
