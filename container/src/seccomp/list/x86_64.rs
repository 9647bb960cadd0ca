//! What is particular to `x86_64`.

use super::Verdict;
use libc::c_long;

/// `AUDIT_ARCH_X86_64`. Also of calls by the x32 convention, which have a bit of their own in the number.
pub const ARCHITECTURE: u32 = 0xc000_003e;
/// First and last of the numbers that are particular to this architecture.
pub const KNOWN: &[(u32, u32)] = &[(0, 336)];
/// The first number that is the same everywhere.
pub const COMMON_FIRST: u32 = 424;
/// Bit 30 marks the x32 convention. Above it lies -1 (what a tracer writes to skip a call), which is no call at all.
pub const BEYOND: &[(u32, Verdict)] =
    &[(0x4000_0000, Verdict::Kill), (0x8000_0000, Verdict::Errno(libc::ENOSYS))];

/// Not among the C library's names.
const SYS_IO_PGETEVENTS: c_long = 333;
/// Made by the kernel's trampolines; newer than the C library's headers.
const SYS_URETPROBE: c_long = 335;
const SYS_UPROBE: c_long = 336;

/// Calls that newer architectures do without, or that have no name there.
pub const ALLOWED: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_alarm,
    libc::SYS_arch_prctl,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_creat,
    libc::SYS_dup2,
    libc::SYS_epoll_create,
    libc::SYS_epoll_ctl_old,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_wait_old,
    libc::SYS_eventfd,
    libc::SYS_fork,
    libc::SYS_futimesat,
    libc::SYS_get_thread_area,
    libc::SYS_getdents,
    libc::SYS_getpgrp,
    libc::SYS_getrlimit,
    libc::SYS_inotify_init,
    libc::SYS_lchown,
    libc::SYS_link,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_mknod,
    libc::SYS_open,
    libc::SYS_pause,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_rmdir,
    libc::SYS_select,
    libc::SYS_set_thread_area,
    libc::SYS_setrlimit,
    libc::SYS_signalfd,
    libc::SYS_stat,
    libc::SYS_symlink,
    libc::SYS_sync_file_range,
    libc::SYS_time,
    libc::SYS_unlink,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_vfork,
    SYS_IO_PGETEVENTS,
    SYS_UPROBE,
    SYS_URETPROBE,
];
