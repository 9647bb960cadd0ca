//! System calls that neither std nor rustix offers, each behind a safe face where one exists.
#![allow(unsafe_code)]

use rustix::process::Pid;
use std::ffi::{CString, c_int, c_long, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Asks a stub to stop its task; carries the grace in milliseconds. A real-time signal, because those queue and carry a value, and reach
/// a stub that an earlier runner started as well. The first is left to the C library's users by custom.
pub fn stop_signal() -> c_int {
    libc::SIGRTMIN() + 1
}

/// `struct clone_args` as far as we use it.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

/// Who returned from [`fork_into`].
pub enum Fork {
    /// The caller: the child's pid and pidfd.
    Parent(Pid, OwnedFd),
    /// The new process.
    Child,
}

/// Forks into new namespaces (`CLONE_NEW*` flags).
///
/// # Safety
/// The caller must be the process' only thread, so that no lock is held by a thread that the child does not have. The child
/// must not return into its parent's code: it owns copies of all the parent's resources and must end by `_exit`.
pub unsafe fn fork_into(namespaces: c_int) -> io::Result<Fork> {
    let mut pidfd: c_int = -1;
    let arguments = CloneArgs {
        flags: namespaces as u64 | libc::CLONE_PIDFD as u64,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    // SAFETY: the arguments live across the call; without CLONE_VM the child runs on its own copy of this stack.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<CloneArgs>()) };
    match pid {
        0 => Ok(Fork::Child),
        -1 => Err(io::Error::last_os_error()),
        pid => {
            // SAFETY: the kernel stored a new descriptor that nothing else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Fork::Parent(Pid::from_raw(pid as i32).expect("a child's pid is positive"), pidfd))
        }
    }
}

/// Calls `action` in a new process on this one's memory, and returns once that process has executed a program or ended (as vfork does): nothing
/// is copied, and what `action` writes is seen here. Its descriptors, credentials and signal dispositions are its own.
///
/// # Safety
/// As for [`fork_into`], and `action` must not return but end in exec or [`exit_now`].
pub unsafe fn fork_sharing<F: FnMut()>(action: &mut F) -> io::Result<Pid> {
    /// More than exec with a long search path takes; only what is touched becomes memory.
    const STACK_BYTES: usize = 256 * 1024;
    extern "C" fn enter<F: FnMut()>(action: *mut c_void) -> c_int {
        // SAFETY: the pointer is the caller's exclusive reference, who sleeps until this process is done with the memory.
        let action = unsafe { &mut *action.cast::<F>() };
        // A panic must not unwind into the C library.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(action));
        exit_now(1)
    }
    let mut stack: Vec<u128> = Vec::with_capacity(STACK_BYTES / size_of::<u128>());
    // SAFETY: the stack is the allocation's, grows down from its end, and outlives the use of it, because of CLONE_VFORK.
    let pid = unsafe {
        let top = stack.as_mut_ptr().byte_add(STACK_BYTES).cast();
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        libc::clone(enter::<F>, top, flags, std::ptr::from_mut(action).cast())
    };
    check(pid.into())?;
    Ok(Pid::from_raw(pid).expect("a child's pid is positive"))
}

/// Ends the process at once: no destructors, no exit handlers, which belong to the parent that it was forked from.
pub fn exit_now(code: c_int) -> ! {
    // SAFETY: has no preconditions and does not return.
    unsafe { libc::_exit(code) }
}

/// `struct siginfo` of a queued signal on 64-bit platforms.
#[repr(C)]
struct QueuedSignal {
    signo: c_int,
    errno: c_int,
    code: c_int,
    _pad: c_int,
    pid: c_int,
    uid: u32,
    value: u64,
    _rest: [u64; 12],
}
const _: () = assert!(size_of::<QueuedSignal>() == 128);

/// Sends a stub the [`stop_signal`].
pub fn send_stop(pidfd: impl AsFd, grace_ms: u64) -> io::Result<()> {
    let signal = stop_signal();
    let info = QueuedSignal {
        signo: signal,
        errno: 0,
        code: libc::SI_QUEUE,
        _pad: 0,
        pid: std::process::id() as c_int,
        uid: 0,
        value: grace_ms,
        _rest: [0; 12],
    };
    // SAFETY: `info` has the size and layout of siginfo_t and lives across the call.
    check(unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_fd().as_raw_fd(), signal, &raw const info, 0)
    })?;
    Ok(())
}

/// SIGKILL to all processes that this one may signal, except itself: in a pid namespace's init, all of the namespace.
pub fn signal_all(signal: c_int) {
    // SAFETY: has no memory preconditions. ESRCH (none left) is as good as success.
    unsafe { libc::kill(-1, signal) };
}

/// A set of blocked signals, readable through a descriptor.
pub fn block_and_open_signalfd(signals: &[c_int]) -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before use, and all pointers are to this frame.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()).into())?;
        let fd = check(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK).into())?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// The next signal of a signalfd and its value, if one is pending.
pub fn read_signal(signals: impl AsFd) -> io::Result<Option<(c_int, u64)>> {
    let mut bytes = [0u8; size_of::<libc::signalfd_siginfo>()];
    match rustix::io::read(signals, &mut bytes) {
        Ok(n) if n == bytes.len() => {
            // SAFETY: the kernel filled the whole structure, which is plain old data without invalid values.
            let info = unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast::<libc::signalfd_siginfo>()) };
            Ok(Some((info.ssi_signo as c_int, info.ssi_ptr)))
        }
        Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The signals that the runner ignores.
const IGNORED: [c_int; 2] = [libc::SIGPIPE, libc::SIGHUP];

/// Ignores what would end the runner by accident, and nothing else: whoever started it may have left it other ignored signals, which its tasks
/// would inherit.
pub fn ignore_signals() {
    /// Bytes of the kernel's signal set.
    const SET_BYTES: usize = 8;
    // The kernel's own structure, which begins with the action and is at most four words everywhere. Past the C library, which keeps
    // two signals to itself.
    let (mut action, default) = ([0usize; 4], [0usize; 4]);
    // SAFETY: both structures live across the calls; the default action runs no code of ours.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            let none = std::ptr::null_mut::<c_void>();
            let asked =
                libc::syscall(libc::SYS_rt_sigaction, signal, none, action.as_mut_ptr(), SET_BYTES) == 0;
            if asked && action[0] == libc::SIG_IGN {
                libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, SET_BYTES);
            }
        }
        for signal in IGNORED {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
}

/// Every signal to its default action and none blocked: what a program may expect at its start. (Exec itself resets those that have handlers.)
pub fn reset_signals() -> io::Result<()> {
    // SAFETY: the default action runs no code of ours, and the set is initialised before use.
    unsafe {
        for signal in IGNORED {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut none);
        check(libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()).into())?;
    }
    Ok(())
}

/// Closes every descriptor of the process but standard input, output and error and those in `keep`. (Were the three closed, the next files
/// opened would take their places, and setting up a task's own would clobber them.)
///
/// # Safety
/// Nothing in the process may use or own another descriptor afterwards; meant for a process just forked.
pub unsafe fn close_all_but(keep: &mut [RawFd]) -> io::Result<()> {
    keep.sort_unstable();
    let mut first = 3;
    for fd in keep.iter().copied() {
        if fd > first {
            close_range(first as u32, fd as u32 - 1, 0)?;
        }
        first = fd + 1;
    }
    close_range(first as u32, u32::MAX, 0)
}

/// Marks every descriptor from `first` on to be closed by exec.
pub fn close_from_at_exec(first: u32) -> io::Result<()> {
    close_range(first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: u32, last: u32, flags: u32) -> io::Result<()> {
    // SAFETY: no memory is touched; what closing means for owners is in the callers' contracts.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) })?;
    Ok(())
}

/// Shows the owners of a mount's files as a user namespace maps them.
pub fn map_mount(mount: impl AsFd, namespace: impl AsFd) -> io::Result<()> {
    let arguments = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: namespace.as_fd().as_raw_fd() as u64,
    };
    mount_setattr(mount, &arguments, false)
}

/// Attributes to set on (or clear from) a mount and, with `recursive`, all below it.
pub fn set_mount_attributes(mount: impl AsFd, attributes: u64, recursive: bool) -> io::Result<()> {
    let arguments = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    mount_setattr(mount, &arguments, recursive)
}

fn mount_setattr(mount: impl AsFd, arguments: &libc::mount_attr, recursive: bool) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path and the arguments live across the call, and the size is theirs.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(arguments),
            size_of::<libc::mount_attr>(),
        )
    })?;
    Ok(())
}

/// Replaces the program of this process; returns only the error.
pub fn execve(path: &CString, arguments: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| {
        strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: both arrays end with a null pointer, and all strings live across the call.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// The same with a program that is open already, wherever this process' root is by now.
pub fn execveat(program: impl AsFd, arguments: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| {
        strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: both arrays end with a null pointer, and all strings live across the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_fd().as_raw_fd(),
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// Leaves the groups. In a user namespace that an ordinary user has made without help nobody can, which is known and told (see the runner's
/// `rootless`); anywhere else a failure is one.
fn leave_groups() -> io::Result<()> {
    // SAFETY: no memory is touched but the empty list.
    let left = check(unsafe { libc::setgroups(0, std::ptr::null()) }.into());
    match left {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) && groups_are_fixed() => Ok(()),
        left => left.map(drop),
    }
}

fn groups_are_fixed() -> bool {
    std::fs::read("/proc/self/setgroups").is_ok_and(|text| text.starts_with(b"deny"))
}

/// Leaves the groups and becomes this user, real, effective and saved.
pub fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    leave_groups()?;
    // SAFETY: no memory is touched. The C library applies each to all threads; there is one.
    unsafe {
        check(libc::setresgid(gid, gid, gid).into())?;
        check(libc::setresuid(uid, uid, uid).into())?;
    }
    Ok(())
}

/// Calls `action` with the effective ids, and so the permissions, of this user. The groups are left for good. For a process with one thread.
pub fn as_user<T>(uid: u32, gid: u32, action: impl FnOnce() -> T) -> io::Result<T> {
    leave_groups()?;
    // SAFETY: no memory is touched.
    unsafe {
        check(libc::setegid(gid).into())?;
        check(libc::seteuid(uid).into())?;
    }
    let result = action();
    // SAFETY: as above; the saved ids are still root's.
    unsafe {
        check(libc::seteuid(0).into())?;
        check(libc::setegid(0).into())?;
    }
    Ok(result)
}

/// Brings up the loopback interface of this network namespace.
pub fn loopback_up() -> io::Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: ifreq is plain old data, zero is valid for it; the name is shorter than its field and ends with zero.
    unsafe {
        let mut request = std::mem::zeroed::<libc::ifreq>();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
        check(
            libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, (&raw const request).cast::<c_void>()).into(),
        )?;
    }
    Ok(())
}

/// A new, empty session keyring, instead of the one inherited from whoever started the server. Kernels without keyrings have nothing to leave.
pub fn leave_session_keyring() -> io::Result<()> {
    /// From linux/keyctl.h.
    const KEYCTL_JOIN_SESSION_KEYRING: c_long = 1;
    // SAFETY: a null name means a new anonymous keyring; no memory is touched.
    let joined = unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>())
    };
    match check(joined) {
        Err(error) if error.raw_os_error() != Some(libc::ENOSYS) => Err(error),
        _ => Ok(()),
    }
}

/// New namespaces for this process.
pub fn unshare(namespaces: c_int) -> io::Result<()> {
    // SAFETY: no memory is touched; the flags that callers pass unshare no descriptor table.
    check(unsafe { libc::unshare(namespaces) }.into())?;
    Ok(())
}

fn check(result: c_long) -> io::Result<c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
