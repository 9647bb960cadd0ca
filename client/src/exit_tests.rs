//! Every state, failure and wait status has its exit code.

use super::*;
use shoal_proto::v1::{Exit, Failure};

fn complete(how: Option<How>, oom_killed: bool) -> Task {
    let exit = Some(Exit { how, oom_killed });
    Task { state: State::Complete.into(), exit, ..Task::default() }
}

fn failed(kind: FailureKind) -> Task {
    let failure = Some(Failure { kind: kind.into(), message: String::new() });
    Task { state: State::Failed.into(), failure, ..Task::default() }
}

#[test]
fn every_own_code_is_passed_on() {
    for code in 0..=255 {
        assert_eq!(i32::from(exit_code(&complete(Some(How::Code(code)), false))), code);
    }
}

#[test]
fn every_signal_is_128_and_its_number() {
    for signal in 1..=64 {
        assert_eq!(i32::from(exit_code(&complete(Some(How::Signal(signal)), false))), 128 + signal);
    }
}

#[test]
fn an_oom_kill_is_137_and_a_task_that_survived_one_keeps_its_code() {
    assert_eq!(exit_code(&complete(Some(How::Signal(9)), true)), 137);
    assert_eq!(exit_code(&complete(Some(How::Code(3)), true)), 3);
}

#[test]
fn a_code_that_no_kernel_gives_is_never_success() {
    for how in [
        How::Code(256),
        How::Code(-1),
        How::Code(i32::MIN),
        How::Signal(0),
        How::Signal(-3),
        How::Signal(128),
    ] {
        assert_eq!(exit_code(&complete(Some(how), false)), SHOAL_FAILED, "{how:?}");
    }
    assert_eq!(exit_code(&complete(None, false)), SHOAL_FAILED);
    assert_eq!(exit_code(&Task { state: State::Complete.into(), ..Task::default() }), SHOAL_FAILED);
}

#[test]
fn every_failure_has_its_code() {
    let codes = [
        (FailureKind::Unspecified, 125),
        (FailureKind::NotFound, 127),
        (FailureKind::NotExecutable, 126),
        (FailureKind::Launch, 125),
        (FailureKind::TimeLimit, 124),
        (FailureKind::Poison, 125),
        (FailureKind::Lost, 125),
    ];
    for (kind, code) in codes {
        assert_eq!(exit_code(&failed(kind)), code, "{kind:?}");
    }
    assert_eq!(exit_code(&Task { state: State::Failed.into(), ..Task::default() }), 125);
}

#[test]
fn the_state_decides_even_when_an_exit_code_of_zero_is_there() {
    for (state, code) in [
        (State::Unspecified, 125),
        (State::Queued, 125),
        (State::Running, 125),
        (State::Canceled, 130),
        (State::Failed, 125),
    ] {
        let task = Task { state: state.into(), ..complete(Some(How::Code(0)), false) };
        assert_eq!(exit_code(&task), code, "{state:?}");
    }
    let unknown = Task { state: 99, ..complete(Some(How::Code(0)), false) };
    assert_eq!(exit_code(&unknown), 125);
}

#[test]
fn several_tasks_give_the_highest_code() {
    let tasks = [
        complete(Some(How::Code(0)), false),
        failed(FailureKind::TimeLimit),
        complete(Some(How::Code(7)), false),
    ];
    assert_eq!(exit_code_of_all(&tasks), 124);
    assert_eq!(exit_code_of_all(&[]), 0);
}

#[test]
fn exactly_the_three_last_states_are_terminal() {
    let ended =
        [State::Unspecified, State::Queued, State::Running, State::Complete, State::Canceled, State::Failed]
            .map(is_terminal);
    assert_eq!(ended, [false, false, false, true, true, true]);
}
