//! Other users, capabilities, programs with powers, limits raised, priorities.

use super::told;
use crate::escape::attempt::{Attempt, Control, Outcome, reason};
use crate::escape::raw::call;
use std::process::Command;

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::new("credentials::become_another_user", become_user, Control::Root),
    Attempt::new("credentials::join_a_group", join_group, Control::Root),
    Attempt::new("credentials::raise_capabilities", raise, Control::Root),
    Attempt::new("credentials::have_any_capability", have, Control::Root),
    Attempt::new("credentials::take_no_new_privs_back", new_privs, Control::Root),
    Attempt::new("credentials::change_securebits", securebits, Control::Root),
    Attempt::new("credentials::run_a_setuid_program", setuid, Control::Nobody),
    Attempt::new("credentials::run_a_setgid_program", setgid, Control::Nobody),
    Attempt::new("credentials::run_a_program_with_file_capabilities", file_capabilities, Control::Nobody),
    Attempt::new("credentials::make_a_program_with_file_capabilities", make_capable, Control::Root),
    Attempt::new("credentials::own_a_file_of_another", chown, Control::Root),
    Attempt::new("credentials::raise_limits", raise_limits, Control::Root),
    Attempt::new(
        "credentials::dump_core",
        core,
        Control::None("a core of the control would go where the host's pattern says"),
    ),
    Attempt::new("credentials::raise_priority", priority, Control::Root),
    Attempt::new("credentials::real_time_scheduling", real_time, Control::Root),
    Attempt::new("credentials::change_the_memory_map_records", memory_map, Control::Root),
    Attempt::new("credentials::run_without_a_filter", filter, Control::Root),
];

fn become_user() -> Outcome {
    let own = call!(libc::SYS_getuid).unwrap_or(0);
    // The host's root by its number, the stub, and the first id of everyone else's range.
    Outcome::all([0, 1, 1000, 65533, 65535, 1 << 30].into_iter().filter(|id| *id != own).map(|id| {
        Outcome::all([
            Outcome::of(&format!("setresuid {id}"), call!(libc::SYS_setresuid, id, id, id)),
            Outcome::of(&format!("setresgid {id}"), call!(libc::SYS_setresgid, id, id, id)),
        ])
    }))
}

fn join_group() -> Outcome {
    let groups = [0u32, 5];
    Outcome::of("setgroups 0 and 5", call!(libc::SYS_setgroups, 2, groups.as_ptr()))
}

/// Header and data of capset, version 3.
fn capset(bits: u32) -> std::io::Result<usize> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let data = [bits, bits, 0, 0, 0, 0];
    call!(libc::SYS_capset, header.as_ptr(), data.as_ptr())
}

fn raise() -> Outcome {
    let ambient = call!(libc::SYS_prctl, libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, 12, 0, 0);
    let set = [
        (21, "CAP_SYS_ADMIN"),
        (5, "CAP_KILL"),
        (1, "CAP_DAC_OVERRIDE"),
        (7, "CAP_SETUID"),
        (12, "CAP_NET_ADMIN"),
    ];
    Outcome::all(
        set.map(|(bit, name)| Outcome::of(&format!("capset {name}"), capset(1 << bit)))
            .into_iter()
            .chain([Outcome::of("raise an ambient capability", ambient)]),
    )
}

fn status(field: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

fn have() -> Outcome {
    let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
    Outcome::all(sets.map(|set| {
        let value = status(set);
        Outcome::expect(value == "0000000000000000", format!("{set} {value}"))
    }))
}

fn new_privs() -> Outcome {
    let cleared = call!(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0);
    let value = status("NoNewPrivs");
    Outcome::all([
        Outcome::of("clear no_new_privs", cleared),
        Outcome::expect(value == "1", format!("NoNewPrivs {value}")),
    ])
}

fn securebits() -> Outcome {
    Outcome::of("PR_SET_SECUREBITS", call!(libc::SYS_prctl, libc::PR_SET_SECUREBITS, 0, 0, 0, 0))
}

/// What a copy of this program that carries powers says of itself, compared with what we are.
fn run(name: &str, field: &str) -> Outcome {
    let path = format!("{}/{name}", told::get(told::EVIL));
    let output = match Command::new(&path).args(["whoami", field]).output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Err(error) => return Outcome::Held(format!("{path}: {}", reason(&error))),
    };
    let before = status(field);
    if output.is_empty() {
        return Outcome::Broken(format!("{path} said nothing"));
    }
    Outcome::expect(output == before, format!("{field} {before:?} became {output:?}"))
}

/// Prints a field of this process' status: the other side of [`run`].
pub fn whoami(field: &str) -> String {
    status(field)
}

fn setuid() -> Outcome {
    run("setuid-root", "Uid")
}

fn setgid() -> Outcome {
    run("setgid-root", "Gid")
}

fn file_capabilities() -> Outcome {
    run("capable", "CapEff")
}

/// Capabilities given to a file inside must be worth nothing outside, and cannot be given without one.
fn make_capable() -> Outcome {
    let data: [u32; 5] = [0x0200_0001, 1 << 21, 0, 0, 0];
    let file =
        std::ffi::CString::new(format!("/tmp/shoal-escape-{}", std::process::id())).unwrap_or_default();
    let made = call!(libc::SYS_openat, libc::AT_FDCWD, file.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o755);
    if let Err(error) = made {
        return Outcome::Broken(format!("cannot make a file: {error}"));
    }
    let set = call!(
        libc::SYS_setxattr,
        file.as_ptr(),
        c"security.capability".as_ptr(),
        data.as_ptr(),
        size_of_val(&data),
        0
    );
    let trusted = call!(libc::SYS_setxattr, file.as_ptr(), c"trusted.shoal".as_ptr(), c"x".as_ptr(), 1, 0);
    let _ = call!(libc::SYS_unlinkat, libc::AT_FDCWD, file.as_ptr(), 0);
    Outcome::all([Outcome::of("set security.capability", set), Outcome::of("set trusted.shoal", trusted)])
}

fn chown() -> Outcome {
    let file =
        std::ffi::CString::new(format!("/tmp/shoal-escape-own-{}", std::process::id())).unwrap_or_default();
    if let Err(error) =
        call!(libc::SYS_openat, libc::AT_FDCWD, file.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o755)
    {
        return Outcome::Broken(format!("cannot make a file: {error}"));
    }
    // To the stub's id: a set-id file of its would be the stub.
    let given = call!(libc::SYS_fchownat, libc::AT_FDCWD, file.as_ptr(), 65535, 65535, 0);
    let _ = call!(libc::SYS_unlinkat, libc::AT_FDCWD, file.as_ptr(), 0);
    Outcome::of("chown to 65535", given)
}

fn raise_limits() -> Outcome {
    let limits = [
        ("nofile", libc::RLIMIT_NOFILE),
        ("core", libc::RLIMIT_CORE),
        ("memlock", libc::RLIMIT_MEMLOCK),
        ("rtprio", libc::RLIMIT_RTPRIO),
        ("nice", libc::RLIMIT_NICE),
    ];
    Outcome::all(limits.iter().filter_map(|(name, limit)| {
        let mut now = [0u64; 2];
        call!(libc::SYS_prlimit64, 0, *limit, 0, &raw mut now).ok()?;
        let more = [now[0], now[1].checked_add(1)?];
        Some(Outcome::of(
            &format!("raise {name} above {}", now[1]),
            call!(libc::SYS_prlimit64, 0, *limit, &raw const more, 0),
        ))
    }))
}

fn core() -> Outcome {
    let mut limit = [1u64; 2];
    let read = call!(libc::SYS_prlimit64, 0, libc::RLIMIT_CORE, 0, &raw mut limit);
    Outcome::expect(read.is_ok() && limit == [0, 0], format!("core size {limit:?}"))
}

fn priority() -> Outcome {
    const IOPRIO_CLASS_RT: usize = 1 << 13;
    Outcome::all([
        Outcome::of("nice -20", call!(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, -20isize)),
        Outcome::of("nice -1", call!(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, -1isize)),
        Outcome::of("real-time input and output", call!(libc::SYS_ioprio_set, 1, 0, IOPRIO_CLASS_RT)),
    ])
}

fn real_time() -> Outcome {
    let priority = 1i32;
    let set = |policy: i32| call!(libc::SYS_sched_setscheduler, 0, policy, &raw const priority);
    // struct sched_attr: size and policy, flags, nice and priority, runtime, deadline, period.
    let attributes: [u64; 6] = [48 | (6 << 32), 0, 0, 10_000_000, 30_000_000, 30_000_000];
    Outcome::all([
        Outcome::of("SCHED_FIFO", set(libc::SCHED_FIFO)),
        Outcome::of("SCHED_RR", set(libc::SCHED_RR)),
        Outcome::of("SCHED_DEADLINE", call!(libc::SYS_sched_setattr, 0, attributes.as_ptr(), 0)),
    ])
}

fn memory_map() -> Outcome {
    const PR_SET_MM_START_BRK: usize = 6;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Field 47; those behind the name start with the third.
    let start: usize =
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(44)?.parse().ok()).unwrap_or(0);
    Outcome::of(
        "PR_SET_MM_START_BRK",
        call!(libc::SYS_prctl, libc::PR_SET_MM, PR_SET_MM_START_BRK, start, 0, 0),
    )
}

fn filter() -> Outcome {
    let mode = status("Seccomp");
    Outcome::expect(mode == "2", format!("Seccomp {mode}"))
}
