//! The steps at which a process can be held, and what may happen to a node meanwhile.

use std::fmt;

/// Whose step it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// `shoald`; one thread of it, the others go on until the fault.
    Server,
    /// `shoal-runner`.
    Runner,
    /// A container's PID 1, or the task's process before exec.
    Stub,
}

/// What brings a process to the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Tasks that start and end.
    Tasks,
    /// A start of the runner: the one before is killed.
    RunnerStart,
    /// A start of the server: the one before is killed.
    ServerStart,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name in the programs.
    pub name: &'static str,
    /// Whose it is.
    pub holder: Holder,
    /// What brings somebody there.
    pub way: Way,
}

const fn step(name: &'static str, holder: Holder, way: Way) -> Step {
    Step { name, holder, way }
}

/// Every step of a start and of an end, in their order.
pub const STEPS: &[Step] = &[
    step("server.before_steal", Holder::Server, Way::Tasks),
    step("server.after_steal", Holder::Server, Way::Tasks),
    step("server.before_start", Holder::Server, Way::Tasks),
    step("runner.start", Holder::Runner, Way::Tasks),
    step("runner.made_dir", Holder::Runner, Way::Tasks),
    step("runner.made_status", Holder::Runner, Way::Tasks),
    step("runner.forked", Holder::Runner, Way::Tasks),
    step("stub.born", Holder::Stub, Way::Tasks),
    step("stub.owns", Holder::Stub, Way::Tasks),
    step("stub.made_group", Holder::Stub, Way::Tasks),
    step("stub.joined", Holder::Stub, Way::Tasks),
    step("stub.network", Holder::Stub, Way::Tasks),
    step("stub.root", Holder::Stub, Way::Tasks),
    step("stub.before_fork", Holder::Stub, Way::Tasks),
    step("task.before_user_namespace", Holder::Stub, Way::Tasks),
    step("task.before_exec", Holder::Stub, Way::Tasks),
    step("stub.forked", Holder::Stub, Way::Tasks),
    step("stub.told_start", Holder::Stub, Way::Tasks),
    step("runner.before_started", Holder::Runner, Way::Tasks),
    step("server.after_started", Holder::Server, Way::Tasks),
    step("server.before_renewal", Holder::Server, Way::Tasks),
    step("server.before_deadline", Holder::Server, Way::Tasks),
    step("stub.before_status", Holder::Stub, Way::Tasks),
    step("stub.after_status", Holder::Stub, Way::Tasks),
    step("runner.before_reap", Holder::Runner, Way::Tasks),
    step("runner.before_conclude", Holder::Runner, Way::Tasks),
    step("runner.before_group_removal", Holder::Runner, Way::Tasks),
    step("runner.before_ended", Holder::Runner, Way::Tasks),
    step("server.before_journal", Holder::Server, Way::Tasks),
    step("server.after_journal", Holder::Server, Way::Tasks),
    step("server.before_finish", Holder::Server, Way::Tasks),
    step("server.after_finish", Holder::Server, Way::Tasks),
    step("server.before_forget", Holder::Server, Way::Tasks),
    step("runner.before_forget", Holder::Runner, Way::Tasks),
    step("runner.after_forget", Holder::Runner, Way::Tasks),
    step("runner.begun", Holder::Runner, Way::RunnerStart),
    step("runner.recovering", Holder::Runner, Way::RunnerStart),
    step("server.begun", Holder::Server, Way::ServerStart),
];

/// What happens while a process is held at its step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// SIGKILL to whoever is held; a server is started again at once.
    Kill,
    /// SIGKILL to the server that is held; it comes back when its lease has long expired.
    KillForLong,
    /// SIGSTOP to whoever is held, for T/2.
    Stop,
    /// The same for 3 T.
    StopForLong,
    /// SIGKILL to the runner, which the server starts again before the held process goes on.
    KillRunner,
    /// SIGKILL to the server, which is started again before the held process goes on.
    KillServer,
    /// SIGKILL to both of them, and then to whoever is held.
    KillAll,
}

impl Fault {
    /// Those that make sense for a holder. Those that take long come last.
    pub fn all(holder: Holder) -> &'static [Fault] {
        match holder {
            Holder::Server => {
                &[Fault::Kill, Fault::Stop, Fault::KillRunner, Fault::StopForLong, Fault::KillForLong]
            }
            Holder::Runner => {
                &[Fault::Kill, Fault::Stop, Fault::KillServer, Fault::KillAll, Fault::StopForLong]
            }
            Holder::Stub => &[
                Fault::Kill,
                Fault::Stop,
                Fault::KillRunner,
                Fault::KillServer,
                Fault::KillAll,
                Fault::StopForLong,
            ],
        }
    }

    /// Whether a runner dies in a round of this fault at this step.
    pub fn kills_runner(self, step: &Step) -> bool {
        matches!(self, Fault::KillRunner | Fault::KillAll)
            || (self == Fault::Kill && step.holder == Holder::Runner)
            || step.way == Way::RunnerStart
    }

    /// Whether it takes several T.
    pub fn is_long(self) -> bool {
        matches!(self, Fault::StopForLong | Fault::KillForLong)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Kill => "kill",
            Fault::KillForLong => "kill, back after 2 T",
            Fault::Stop => "stop for T/2",
            Fault::StopForLong => "stop for 3 T",
            Fault::KillRunner => "kill the runner",
            Fault::KillServer => "kill the server",
            Fault::KillAll => "kill all three",
        })
    }
}
