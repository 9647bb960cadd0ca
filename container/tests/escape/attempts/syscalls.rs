//! System calls that reach deep into the kernel or change the whole machine.

use crate::escape::attempt::{Attempt, Control, Outcome, reason};
use crate::escape::raw::call;

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::new("syscalls::io_uring", io_uring, Control::Root),
    Attempt::new("syscalls::userfaultfd", userfaultfd, Control::Root),
    Attempt::new("syscalls::bpf", bpf, Control::Root),
    Attempt::new("syscalls::perf_events", perf, Control::Root),
    Attempt::new("syscalls::load_a_module", module, Control::None("would load a module")),
    Attempt::new("syscalls::load_another_kernel", kexec, Control::None("would load a kernel")),
    Attempt::new(
        "syscalls::reboot",
        reboot,
        Control::None("refused to everyone in another pid namespace, and would reboot"),
    ),
    Attempt::new("syscalls::set_the_clock", clock, Control::Root),
    Attempt::new("syscalls::read_the_kernels_log", log, Control::Root),
    Attempt::new("syscalls::accounting_and_swap", accounting, Control::Root),
    Attempt::new("syscalls::ports_of_the_machine", ports, Control::Root),
    Attempt::new(
        "syscalls::other_call_tables",
        tables,
        Control::None("whether the kernel has another table differs"),
    ),
    Attempt::new(
        "syscalls::unknown_calls_are_unknown",
        unknown,
        Control::None("looks at what the filter answers"),
    ),
    Attempt::new("syscalls::seldom_used_calls", seldom, Control::Root),
];

fn io_uring() -> Outcome {
    let parameters = [0u64; 15];
    Outcome::of("io_uring_setup", call!(libc::SYS_io_uring_setup, 1, parameters.as_ptr()))
}

fn userfaultfd() -> Outcome {
    Outcome::of("userfaultfd of kernel and user faults", call!(libc::SYS_userfaultfd, libc::O_CLOEXEC))
}

/// A map of four bytes; a filter of sockets that returns 0.
fn bpf() -> Outcome {
    const BPF_MAP_CREATE: usize = 0;
    const BPF_PROG_LOAD: usize = 5;
    let map: [u32; 16] = [2, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let program: [u64; 2] = [0xb7, 0x95];
    let load: [u64; 6] = [1 | (2 << 32), program.as_ptr() as u64, c"GPL".as_ptr() as u64, 0, 0, 0];
    Outcome::all([
        Outcome::of("make a map", call!(libc::SYS_bpf, BPF_MAP_CREATE, map.as_ptr(), size_of_val(&map))),
        Outcome::of("load a program", call!(libc::SYS_bpf, BPF_PROG_LOAD, load.as_ptr(), size_of_val(&load))),
    ])
}

/// The processor's clock as a software event, of all processes and of this one.
fn perf() -> Outcome {
    let mut attributes = [0u64; 16];
    attributes[0] = 1 | (128 << 32);
    let open =
        |pid: isize, cpu: isize| call!(libc::SYS_perf_event_open, attributes.as_ptr(), pid, cpu, -1isize, 0);
    Outcome::all([Outcome::of("events of processor 0", open(-1, 0)), Outcome::of("own events", open(0, -1))])
}

fn module() -> Outcome {
    let image = [0u8; 64];
    Outcome::all([
        Outcome::of("init_module", call!(libc::SYS_init_module, image.as_ptr(), image.len(), c"".as_ptr())),
        Outcome::of("finit_module", call!(libc::SYS_finit_module, 0, c"".as_ptr(), 0)),
        Outcome::of("delete_module", call!(libc::SYS_delete_module, c"shoal_escape".as_ptr(), 0)),
    ])
}

fn kexec() -> Outcome {
    Outcome::all([
        Outcome::of("kexec_load", call!(libc::SYS_kexec_load, 0, 0, 0, 0)),
        Outcome::of("kexec_file_load", call!(libc::SYS_kexec_file_load, -1isize, -1isize, 0, 0, 4)),
    ])
}

/// CAD_OFF changes nothing that matters where the machine has no keyboard.
fn reboot() -> Outcome {
    let command = libc::LINUX_REBOOT_CMD_CAD_OFF as u32;
    Outcome::of("reboot", call!(libc::SYS_reboot, 0xfee1_dead_u32, 672_274_793, command, 0))
}

/// To what it is.
fn clock() -> Outcome {
    let mut now = [0i64; 2];
    let read = call!(libc::SYS_clock_gettime, libc::CLOCK_REALTIME, now.as_mut_ptr());
    if read.is_err() {
        return Outcome::Broken("no clock".into());
    }
    let micros = [now[0], now[1] / 1000];
    Outcome::all([
        Outcome::of("clock_settime", call!(libc::SYS_clock_settime, libc::CLOCK_REALTIME, now.as_ptr())),
        Outcome::of("settimeofday", call!(libc::SYS_settimeofday, micros.as_ptr(), 0)),
    ])
}

fn log() -> Outcome {
    const READ_ALL: usize = 3;
    let mut bytes = [0u8; 256];
    Outcome::of("syslog", call!(libc::SYS_syslog, READ_ALL, bytes.as_mut_ptr(), bytes.len()))
}

/// With arguments that are looked at only after the permission, so that nothing changes where it is there.
fn accounting() -> Outcome {
    let permitted = |what: &str, result: std::io::Result<usize>| match result {
        Err(error) if !matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) => {
            Outcome::Escaped(format!("{what}: only its argument was wrong ({})", reason(&error)))
        }
        other => Outcome::of(what, other),
    };
    Outcome::all([
        permitted("acct", call!(libc::SYS_acct, c"/shoal-escape-none".as_ptr())),
        permitted("swapon", call!(libc::SYS_swapon, c"/shoal-escape-none".as_ptr(), 0)),
        permitted("swapoff", call!(libc::SYS_swapoff, c"/shoal-escape-none".as_ptr())),
    ])
}

#[cfg(target_arch = "x86_64")]
fn ports() -> Outcome {
    Outcome::all([
        Outcome::of("iopl", call!(libc::SYS_iopl, 3)),
        Outcome::of("ioperm", call!(libc::SYS_ioperm, 0x80, 1, 1)),
    ])
}

#[cfg(not(target_arch = "x86_64"))]
fn ports() -> Outcome {
    Outcome::Skipped("this processor has none".into())
}

/// A filter that looks at numbers alone does not see these: the x32 table, and the 32-bit table behind interrupt 0x80.
#[cfg(target_arch = "x86_64")]
fn tables() -> Outcome {
    const X32: i64 = 0x4000_0000;
    let x32 = Outcome::of("getpid of x32", call!(X32 + libc::SYS_getpid));
    let result: i32;
    // SAFETY: 32-bit getpid (20) takes no arguments and touches no memory; the registers that the kernel clears for such calls are declared.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("eax") 20 => result, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    let old = if result < 0 { Err(std::io::Error::from_raw_os_error(-result)) } else { Ok(()) };
    Outcome::all([x32, Outcome::of("getpid of 32 bits", old)])
}

#[cfg(not(target_arch = "x86_64"))]
fn tables() -> Outcome {
    Outcome::Skipped("this processor's kernel has one table".into())
}

/// A program that tries a newer call must learn that it is not there (ENOSYS), not that it is forbidden.
fn unknown() -> Outcome {
    let answer = call!(600);
    Outcome::expect(
        answer.is_err_and(|error| error.raw_os_error() == Some(libc::ENOSYS)),
        "call 600 is ENOSYS".into(),
    )
}

/// Harmless where they are allowed; none is needed by a task, and each has been a way into the kernel.
fn seldom() -> Outcome {
    let mut bytes = [0u8; 64];
    Outcome::all([
        Outcome::of("quotactl", call!(libc::SYS_quotactl, 0x0080_0000, 0, 0, bytes.as_mut_ptr()))
            .or_argument(),
        Outcome::of("lookup_dcookie", call!(212, 0, 0, 0)).or_argument(),
        Outcome::of("open_by_handle_at", call!(libc::SYS_open_by_handle_at, -1isize, bytes.as_mut_ptr(), 0))
            .or_argument(),
        Outcome::of("pivot_root", call!(libc::SYS_pivot_root, 0, 0)).or_argument(),
        Outcome::of("fsmount", call!(libc::SYS_fsmount, -1isize, 0, 0)).or_argument(),
        Outcome::of("add_key", call!(libc::SYS_add_key, 0, 0, 0, 0, 0)).or_argument(),
    ])
}

impl Outcome {
    /// Where the arguments were looked at, the call was let through.
    fn or_argument(self) -> Outcome {
        match self {
            Outcome::Held(text)
                if ["EFAULT", "Bad address", "Bad file descriptor", "Invalid argument"]
                    .iter()
                    .any(|word| text.contains(word)) =>
            {
                Outcome::Escaped(format!("{text}: the filter let it through"))
            }
            other => other,
        }
    }
}
