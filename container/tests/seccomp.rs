//! The filter in the kernel: threads and processes that put themselves under it and try. (A filter binds the thread that loads it, and a
//! thread of a test ends with the test.)
// Commands of ioctl have another type with each C library.
#![allow(unsafe_code, clippy::unwrap_used, clippy::unnecessary_cast)]

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use shoal_container::seccomp::Filter;
use std::io;

/// Runs `attempt` under the filter, in a thread of its own.
fn confined<T: Send + 'static>(attempt: impl FnOnce() -> T + Send + 'static) -> T {
    let confine = move || {
        rustix::thread::set_no_new_privs(true).unwrap();
        Filter::compile().load().unwrap();
        attempt()
    };
    std::thread::spawn(confine).join().expect("the attempt does not panic")
}

/// The error of a system call under the filter; 0 for success.
fn errno(number: libc::c_long, arguments: [u64; 4]) -> i32 {
    confined(move || {
        let [a, b, c, d] = arguments;
        // SAFETY: no call in this file passes an address, so the kernel touches no memory of this process.
        match unsafe { libc::syscall(number, a, b, c, d) } {
            -1 => io::Error::last_os_error().raw_os_error().unwrap(),
            _ => 0,
        }
    })
}

/// How a child ends that puts itself under the filter and calls `number`.
fn end_of(number: libc::c_long) -> WaitStatus {
    let filter = Filter::compile();
    // SAFETY: the child makes system calls alone, takes no lock, allocates nothing and ends by _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let ready = rustix::thread::set_no_new_privs(true).is_ok() && filter.load().is_ok();
        // SAFETY: as above; the call has no arguments.
        unsafe {
            if ready {
                libc::syscall(number);
            }
            libc::_exit(i32::from(!ready))
        }
    }
    let child = Pid::from_raw(child).expect("forked");
    rustix::process::waitpid(Some(child), WaitOptions::empty()).unwrap().expect("waited for").1
}

#[test]
fn other_threads_are_left_alone() {
    assert_eq!(errno(libc::SYS_keyctl, [0; 4]), libc::EPERM);
    // SAFETY: KEYCTL_GET_KEYRING_ID (0) of the session keyring (-3) touches no memory.
    let id = unsafe { libc::syscall(libc::SYS_keyctl, 0, -3_i64, 0) };
    let refused = id == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::EPERM);
    assert!(!refused, "this thread is not under the filter");
}

#[test]
fn escapes_are_refused_before_the_kernel_looks_at_them() {
    let refused = [
        ("mount", libc::SYS_mount, [0, 0, 0, 0]),
        ("fsopen", libc::SYS_fsopen, [0; 4]),
        ("unshare(CLONE_NEWUSER)", libc::SYS_unshare, [libc::CLONE_NEWUSER as u64, 0, 0, 0]),
        ("clone(CLONE_NEWUSER)", libc::SYS_clone, [libc::CLONE_NEWUSER as u64 | 17, 0, 0, 0]),
        ("setns", libc::SYS_setns, [0; 4]),
        ("keyctl", libc::SYS_keyctl, [0; 4]),
        ("bpf", libc::SYS_bpf, [0; 4]),
        ("io_uring_setup", libc::SYS_io_uring_setup, [1, 0, 0, 0]),
        ("userfaultfd", libc::SYS_userfaultfd, [0; 4]),
        ("socket(AF_PACKET)", libc::SYS_socket, [libc::AF_PACKET as u64, 3, 0, 0]),
        ("socket(AF_ALG)", libc::SYS_socket, [libc::AF_ALG as u64, 5, 0, 0]),
        ("socket(AF_VSOCK)", libc::SYS_socket, [libc::AF_VSOCK as u64, 1, 0, 0]),
        ("socket(IPPROTO_SCTP)", libc::SYS_socket, [libc::AF_INET as u64, 1, 132, 0]),
        ("socket(NETLINK_AUDIT)", libc::SYS_socket, [libc::AF_NETLINK as u64, 3, 9, 0]),
        ("ioctl(TIOCSTI)", libc::SYS_ioctl, [0, libc::TIOCSTI as u64, 0, 0]),
        ("ioctl(TIOCSTI) with upper bits", libc::SYS_ioctl, [0, 1 << 32 | libc::TIOCSTI as u64, 0, 0]),
        ("ioctl(TIOCLINUX)", libc::SYS_ioctl, [0, libc::TIOCLINUX as u64, 0, 0]),
        ("personality(READ_IMPLIES_EXEC)", libc::SYS_personality, [0x40_0000, 0, 0, 0]),
        ("open_by_handle_at", libc::SYS_open_by_handle_at, [0; 4]),
        ("process_vm_readv", libc::SYS_process_vm_readv, [0; 4]),
    ];
    for (name, number, arguments) in refused {
        assert_eq!(errno(number, arguments), libc::EPERM, "{name}");
    }
}

#[test]
fn what_does_not_exist_for_a_task_is_said_not_to_exist() {
    assert_eq!(errno(libc::SYS_clone3, [0; 4]), libc::ENOSYS);
    assert_eq!(errno(600, [0; 4]), libc::ENOSYS, "a call of the future");
}

#[test]
fn ordinary_programs_do_not_notice() {
    confined(|| {
        // Threads (clone3 and its fallback), processes, files, sockets, name look-ups, time.
        std::thread::spawn(|| ()).join().unwrap();
        let output = std::process::Command::new("sh").arg("-c").arg("ls / && id && date").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "x").unwrap();
        std::fs::rename(file.path(), file.path().with_extension("y")).unwrap();
        std::fs::remove_file(file.path().with_extension("y")).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        std::os::unix::net::UnixStream::pair().unwrap();
        // A machine that is made for tests alone may know no names.
        if std::path::Path::new("/etc/hosts").exists() {
            std::net::ToSocketAddrs::to_socket_addrs("localhost:80").unwrap();
        }
        // SAFETY: personality(0xffffffff) asks and changes nothing.
        assert!(unsafe { libc::personality(0xffff_ffff) } >= 0);
    });
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_call_by_another_convention_kills_the_process() {
    /// getpid, by the x32 convention.
    const X32_GETPID: libc::c_long = 0x4000_0000 + 39;
    let status = end_of(X32_GETPID);
    assert_eq!(status.terminating_signal(), Some(Signal::SYS.as_raw()), "{status:?}");
}

#[test]
fn a_number_that_is_no_call_kills_nothing() {
    assert_eq!(end_of(-1).exit_status(), Some(0));
}
