//! Signals: to the stub, which must carry the deadline whatever the task does, and to processes of the host.

use super::told;
use crate::escape::attempt::{Attempt, Control, Outcome};
use crate::escape::raw::call;

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::new("signals::kill_or_stop_the_stub", stub, Control::Root),
    Attempt::new("signals::queue_a_stop_to_the_stub", queue, Control::Root),
    Attempt::new("signals::signal_by_a_pidfd", pidfd, Control::Root),
    Attempt::new(
        "signals::signal_by_a_descriptors_owner",
        owner,
        Control::None(
            "such a signal is dropped silently where it is not allowed; the stub's life is looked at from outside",
        ),
    ),
    Attempt::new(
        "signals::signal_a_process_of_the_host",
        host,
        Control::None("the host's process numbers mean nothing in another namespace"),
    ),
    Attempt::new("signals::change_the_stubs_scheduling", scheduling, Control::Root),
    Attempt::new(
        "signals::become_the_stubs_tracer_by_consent",
        consent,
        Control::None("a process' consent is its own"),
    ),
];

const STUB: usize = 1;

/// The stub's process group is the runner's, outside of the namespace.
fn stub() -> Outcome {
    let kill = |what: &str, pid: isize, signal: i32| Outcome::of(what, call!(libc::SYS_kill, pid, signal));
    Outcome::all([
        kill("signal 0 to 1", 1, 0),
        kill("SIGKILL to 1", 1, libc::SIGKILL),
        kill("SIGSTOP to 1", 1, libc::SIGSTOP),
        kill("SIGTERM to 1", 1, libc::SIGTERM),
        kill("SIGCHLD to 1", 1, libc::SIGCHLD),
        Outcome::of("tgkill SIGSTOP to 1", call!(libc::SYS_tgkill, STUB, STUB, libc::SIGSTOP)),
    ])
}

/// Signal number, error, code, then what the code means.
fn information(signal: i32) -> [i32; 32] {
    let mut information = [0; 32];
    (information[0], information[2]) = (signal, libc::SI_QUEUE);
    information
}

fn queue() -> Outcome {
    Outcome::all([libc::SIGRTMIN() + 1, libc::SIGTERM, libc::SIGCHLD].map(|signal| {
        let information = information(signal);
        Outcome::of(
            &format!("queue {signal} to 1"),
            call!(libc::SYS_rt_sigqueueinfo, STUB, signal, information.as_ptr()),
        )
    }))
}

fn pidfd() -> Outcome {
    let Ok(stub) = call!(libc::SYS_pidfd_open, STUB, 0) else {
        return Outcome::Held("pidfd_open of 1 is refused".into());
    };
    Outcome::all([libc::SIGKILL, libc::SIGSTOP, libc::SIGTERM].map(|signal| {
        Outcome::of(
            &format!("pidfd_send_signal {signal}"),
            call!(libc::SYS_pidfd_send_signal, stub, signal, 0, 0),
        )
    }))
}

/// The kernel sends the signal that a descriptor was set to, to the process that it was set to: with the rights of whoever set it.
fn owner() -> Outcome {
    const F_SETSIG: i32 = 10;
    let mut pair = [0i32; 2];
    let made = call!(libc::SYS_socketpair, libc::AF_UNIX, libc::SOCK_STREAM, 0, pair.as_mut_ptr());
    let set = made.and_then(|_| {
        call!(libc::SYS_fcntl, pair[0], F_SETSIG, libc::SIGSTOP)?;
        call!(libc::SYS_fcntl, pair[0], libc::F_SETOWN, STUB)?;
        call!(libc::SYS_fcntl, pair[0], libc::F_SETFL, libc::O_ASYNC | libc::O_NONBLOCK)?;
        call!(libc::SYS_write, pair[1], c"x".as_ptr(), 1)
    });
    let state = std::fs::read_to_string("/proc/1/stat").unwrap_or_default();
    let state = state.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    Outcome::expect(state != Some('T'), format!("asked for it: {}, the stub's state: {state:?}", set.is_ok()))
}

/// Not a number of ours: then nobody of the host has it, and nobody gets the signal.
fn host() -> Outcome {
    let Ok(pid) = told::get(told::HOST_PID).parse::<isize>() else {
        return Outcome::Broken("no process of the host".into());
    };
    if std::fs::metadata(format!("/proc/{pid}")).is_ok() {
        return Outcome::Skipped("a process of the container has the number".into());
    }
    Outcome::all([
        Outcome::of("SIGCONT to it", call!(libc::SYS_kill, pid, libc::SIGCONT)),
        Outcome::of("pidfd of it", call!(libc::SYS_pidfd_open, pid, 0)),
        Outcome::of("SIGCONT to its group", call!(libc::SYS_kill, -pid, libc::SIGCONT)),
    ])
}

fn scheduling() -> Outcome {
    let priority = 0i32;
    let everywhere = u64::MAX;
    Outcome::all([
        Outcome::of("nice of 1", call!(libc::SYS_setpriority, libc::PRIO_PROCESS, STUB, 19)),
        Outcome::of(
            "policy of 1",
            call!(libc::SYS_sched_setscheduler, STUB, libc::SCHED_IDLE, &raw const priority),
        ),
        Outcome::of("cores of 1", call!(libc::SYS_sched_setaffinity, STUB, 8, &raw const everywhere)),
    ])
}

/// PR_SET_PTRACER lets others trace this process; it must not be the other way round.
fn consent() -> Outcome {
    let _ = call!(libc::SYS_prctl, libc::PR_SET_PTRACER, STUB, 0, 0, 0);
    Outcome::of("PTRACE_ATTACH to 1", call!(libc::SYS_ptrace, libc::PTRACE_ATTACH, STUB, 0, 0))
}
