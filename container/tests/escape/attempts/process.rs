//! Into PID 1, which is the runner's own code with the runner's own program file (the class of CVE-2019-5736), and out through what a runtime may
//! have left open (the class of CVE-2024-21626).

use crate::escape::attacker;
use crate::escape::attempt::{Attempt, Control, Outcome};
use crate::escape::raw::call;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::fd::AsRawFd;

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::new("process::trace_the_stub", trace, Control::Root),
    Attempt::new("process::read_the_stubs_memory", read_memory, Control::Root),
    Attempt::new("process::write_the_stubs_memory", write_memory, Control::Root),
    Attempt::new("process::overwrite_the_runners_program", overwrite_program, Control::Root),
    Attempt::new("process::enter_by_the_stubs_links", follow_links, Control::Root),
    Attempt::new("process::read_the_stubs_secrets", read_secrets, Control::Root),
    Attempt::new("process::take_the_stubs_descriptors", take_descriptors, Control::Root),
    Attempt::new("process::inherited_descriptors", inherited_descriptors, Control::Root),
    Attempt::new("process::leave_by_an_inherited_directory", leave_by_directory, Control::Root),
    Attempt::new(
        "process::leaked_working_directory",
        leaked_cwd,
        Control::None("looks at where the task starts"),
    ),
    Attempt::new("process::compare_kernel_objects_with_the_stub", compare, Control::Root),
    Attempt::new("process::change_the_stubs_limits", change_limits, Control::Root),
    Attempt::new("process::chroot", chroot, Control::Root),
    Attempt::new(
        "process::see_processes_of_the_host",
        see_processes,
        Control::None("looks at the container's own process list"),
    ),
];

const STUB: usize = 1;

fn trace() -> Outcome {
    const PTRACE_SEIZE: usize = 0x4206;
    Outcome::all([
        Outcome::of("PTRACE_SEIZE of 1", call!(libc::SYS_ptrace, PTRACE_SEIZE, STUB, 0, 0)),
        Outcome::of("PTRACE_ATTACH to 1", call!(libc::SYS_ptrace, libc::PTRACE_ATTACH, STUB, 0, 0)),
    ])
}

/// An address that is mapped in every fork of this program's image: our own code, where PID 1 is not another program.
fn somewhere() -> usize {
    (trace as fn() -> Outcome) as usize
}

fn transfer(number: libc::c_long) -> io::Result<usize> {
    let mut bytes = [0u8; 16];
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: somewhere() as *mut _, iov_len: bytes.len() };
    call!(number, STUB, &raw const local, 1, &raw const remote, 1, 0)
}

/// EFAULT comes after the check of permissions: the address was wrong, the door open.
fn past_permissions(what: &str, result: io::Result<usize>) -> Outcome {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::EFAULT) => {
            Outcome::Escaped(format!("{what}: only the address was wrong"))
        }
        other => Outcome::of(what, other),
    }
}

fn read_memory() -> Outcome {
    Outcome::all([
        past_permissions("process_vm_readv of 1", transfer(libc::SYS_process_vm_readv)),
        Outcome::of("open /proc/1/mem", OpenOptions::new().read(true).open("/proc/1/mem")),
    ])
}

fn write_memory() -> Outcome {
    Outcome::all([
        past_permissions("process_vm_writev to 1", transfer(libc::SYS_process_vm_writev)),
        Outcome::of("open /proc/1/mem for writing", OpenOptions::new().write(true).open("/proc/1/mem")),
    ])
}

/// ETXTBSY comes after the check of permissions as well: it only has to be tried until the program no longer runs.
fn overwrite_program() -> Outcome {
    let one = match OpenOptions::new().write(true).open("/proc/1/exe") {
        Err(error) if error.raw_os_error() == Some(libc::ETXTBSY) => {
            Outcome::Escaped("/proc/1/exe can be written to once it does not run (ETXTBSY)".into())
        }
        other => Outcome::of("open /proc/1/exe for writing", other),
    };
    Outcome::all([one, Outcome::of("open /proc/1/exe", OpenOptions::new().read(true).open("/proc/1/exe"))])
}

fn follow_links() -> Outcome {
    let links = ["/proc/1/root/.", "/proc/1/cwd/.", "/proc/1/task/1/root/.", "/proc/1/task/1/cwd/."];
    Outcome::all(links.map(|path| Outcome::of(path, std::fs::read_dir(path))))
}

fn read_secrets() -> Outcome {
    // A byte: some are without end. A process that is hidden may show an empty file.
    let read = |path: &str| match std::fs::File::open(path).and_then(|mut file| file.read(&mut [0])) {
        Ok(0) => Outcome::Held(format!("{path} is empty")),
        other => Outcome::of(path, other),
    };
    let list = |path: &str| match std::fs::read_dir(path).map(Iterator::count) {
        Ok(0) => Outcome::Held(format!("{path} is empty")),
        other => Outcome::of(path, other),
    };
    let files = ["environ", "auxv", "maps", "smaps", "stack", "syscall", "pagemap", "io", "personality"];
    let dirs = ["fd", "fdinfo", "map_files"];
    Outcome::all(
        files
            .map(|f| read(&format!("/proc/1/{f}")))
            .into_iter()
            .chain(dirs.map(|d| list(&format!("/proc/1/{d}")))),
    )
}

fn take_descriptors() -> Outcome {
    let stub = match call!(libc::SYS_pidfd_open, STUB, 0) {
        Ok(stub) => stub,
        Err(error) => return Outcome::of::<()>("pidfd_open of 1", Err(error)),
    };
    Outcome::all((0..16).filter_map(|number| match call!(libc::SYS_pidfd_getfd, stub, number, 0) {
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => None,
        other => Some(Outcome::of(&format!("pidfd_getfd {number} of 1"), other)),
    }))
}

/// The control leaves a directory of the host open; a task has standard input, output and error.
fn inherited_descriptors() -> Outcome {
    let extra: Vec<_> = attacker::inherited().iter().filter(|(number, _)| *number > 2).collect();
    Outcome::expect(extra.is_empty(), format!("descriptors above 2: {extra:?}"))
}

fn leave_by_directory() -> Outcome {
    let tried: Vec<_> = (0..64).filter(|fd| call!(libc::SYS_fchdir, *fd).is_ok()).collect();
    Outcome::expect(tried.is_empty(), format!("descriptors that are directories: {tried:?}"))
}

fn leaked_cwd() -> Outcome {
    let mut path = [0u8; 4096];
    // The system call says "(unreachable)" where the C library would fail.
    let shown = match call!(libc::SYS_getcwd, path.as_mut_ptr(), path.len()) {
        Ok(length) => String::from_utf8_lossy(&path[..length.saturating_sub(1)]).into_owned(),
        Err(error) => return Outcome::Broken(format!("getcwd: {error}")),
    };
    let up = (0..64).fold("..".to_owned(), |path, _| path + "/..");
    let same = same_directory(&up, "/");
    Outcome::expect(
        shown.starts_with('/') && same,
        format!("the working directory is {shown}, its top is the root: {same}"),
    )
}

fn same_directory(a: &str, b: &str) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (std::fs::metadata(a), std::fs::metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

fn compare() -> Outcome {
    const KCMP_FILES: usize = 2;
    Outcome::of("kcmp with 1", call!(libc::SYS_kcmp, std::process::id(), STUB, KCMP_FILES, 0, 0))
}

fn change_limits() -> Outcome {
    let mut limit = [0u64; 2];
    let read = call!(libc::SYS_prlimit64, STUB, libc::RLIMIT_NOFILE, 0, &raw mut limit);
    let set = call!(libc::SYS_prlimit64, STUB, libc::RLIMIT_NOFILE, &raw const limit, 0);
    Outcome::all([Outcome::of("prlimit of 1", read), Outcome::of("set a limit of 1", set)])
}

fn chroot() -> Outcome {
    Outcome::of("chroot", call!(libc::SYS_chroot, c"/".as_ptr()))
}

fn see_processes() -> Outcome {
    let mine = std::process::id();
    let list = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids: Vec<u32> = list.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    // The stub, the attacker and this process.
    let foreign: Vec<_> = pids.iter().filter(|pid| **pid != 1 && !family(**pid, mine)).collect();
    let self_ok = std::fs::File::open("/proc/self/status").is_ok_and(|file| file.as_raw_fd() >= 0);
    Outcome::expect(
        foreign.is_empty() && self_ok,
        format!("{} processes, of others: {foreign:?}", pids.len()),
    )
}

/// Whether it is this process, its parent, or gone already.
fn family(pid: u32, mine: u32) -> bool {
    let parent = rustix::process::getppid().map_or(0, |parent| parent.as_raw_nonzero().get() as u32);
    pid == mine || pid == parent || std::fs::metadata(format!("/proc/{pid}")).is_err()
}
