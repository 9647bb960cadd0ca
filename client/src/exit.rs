//! The exit code that stands for a task's end. Decided from the terminal state, never from a code that may be absent.

use shoal_proto::v1::exit::How;
use shoal_proto::v1::{FailureKind, State, Task};

/// The task ran past its time limit, or `--timeout` passed while waiting.
pub const TIME_LIMIT: u8 = 124;
/// Shoal itself failed: unreachable, refused, node lost for good, launch failed.
pub const SHOAL_FAILED: u8 = 125;
/// The command cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// The command was not found.
pub const NOT_FOUND: u8 = 127;
/// Added to the number of the signal that ended the task.
pub const SIGNAL_BASE: u8 = 128;
/// The task was canceled.
pub const CANCELED: u8 = 130;
/// Wrong usage of the command line.
pub const USAGE: u8 = 2;
/// The reader of our output went away (128 + SIGPIPE).
pub const BROKEN_PIPE: u8 = 141;

/// The table of exit codes, as `docs/contract.md` shows it.
pub const TABLE: &[(&str, &str)] = &[
    ("0", "success; of a task: it exited with 0"),
    ("1-255", "the task's own exit code, passed on as it is"),
    ("2", "wrong usage: an option or argument that does not exist or does not parse"),
    ("124", "the task ran past its time limit, or `--timeout` passed while waiting"),
    ("125", "Shoal itself failed: unreachable, refused, node lost for good, container not set up"),
    ("126", "the command cannot be executed"),
    ("127", "the command was not found in the task's root"),
    (
        "128+N",
        "signal N ended the task; 137 also when it was killed for lack of memory (a line on stderr says so)",
    ),
    ("130", "the task was canceled"),
    ("141", "whoever read our output closed it"),
];

/// Whether a task in this state has ended.
pub fn is_terminal(state: State) -> bool {
    match state {
        State::Unspecified | State::Queued | State::Running => false,
        State::Complete | State::Canceled | State::Failed => true,
    }
}

/// The exit code for one task. A task that has not ended, or whose record contradicts itself, is a failure of ours.
pub fn exit_code(task: &Task) -> u8 {
    match task.state() {
        State::Unspecified | State::Queued | State::Running => SHOAL_FAILED,
        State::Complete => match task.exit.as_ref().and_then(|exit| exit.how) {
            Some(How::Code(code)) => u8::try_from(code).unwrap_or(SHOAL_FAILED),
            Some(How::Signal(signal)) => match u8::try_from(signal) {
                Ok(signal @ 1..=127) => SIGNAL_BASE + signal,
                Ok(_) | Err(_) => SHOAL_FAILED,
            },
            None => SHOAL_FAILED,
        },
        State::Canceled => CANCELED,
        State::Failed => match task.failure.as_ref().map(shoal_proto::v1::Failure::kind) {
            Some(FailureKind::NotFound) => NOT_FOUND,
            Some(FailureKind::NotExecutable) => NOT_EXECUTABLE,
            Some(FailureKind::TimeLimit) => TIME_LIMIT,
            Some(
                FailureKind::Unspecified | FailureKind::Launch | FailureKind::Poison | FailureKind::Lost,
            )
            | None => SHOAL_FAILED,
        },
    }
}

/// The exit code for several tasks: the highest.
pub fn exit_code_of_all<'a>(tasks: impl IntoIterator<Item = &'a Task>) -> u8 {
    tasks.into_iter().map(exit_code).max().unwrap_or(0)
}

/// Whether the task did what it should: its process ended with 0.
pub fn succeeded(task: &Task) -> bool {
    exit_code(task) == 0
}

#[cfg(test)]
#[path = "exit_tests.rs"]
mod tests;
