//! The table of transitions, whole, as text; and the claims that the promises make of it.

mod support;

use shoal_core::priority::Priority;
use shoal_core::spec::OnNodeLoss;
use shoal_core::task::{Exit, ExitHow, FailureKind, Hold, Task, TaskState};
use shoal_core::time::WallMs;
use shoal_core::transition::{Adjust, Illegal, Outcome, Transition, apply};
use support::{WALL, cancel, exit_code, node, queued_task, steal};

fn finish(by: u64, attempt: u32, outcome: Outcome) -> Transition {
    Transition::Finish { node: node(by), attempt, outcome }
}
fn exited(by: u64, attempt: u32) -> Transition {
    finish(by, attempt, Outcome::Exited(exit_code(0)))
}
fn lose(of: u64, attempt: u32) -> Transition {
    Transition::Lose { node: node(of), attempt }
}
fn after(task: &Task, transition: &Transition) -> Task {
    apply(task, transition, WALL).unwrap_or_else(|why| panic!("{transition:?} of {:?}: {why}", task.state))
}

/// Runs as its second attempt of three on node 1.
fn second_attempt() -> Task {
    let lost = after(&after(&queued_task(1), &steal(2)), &lose(2, 1));
    after(&lost, &steal(1))
}

/// Runs as its last attempt on node 1.
fn last_attempt() -> Task {
    after(&after(&second_attempt(), &lose(1, 2)), &steal(1))
}

fn with_policy(mut task: Task, policy: OnNodeLoss) -> Task {
    task.spec.on_node_loss = policy;
    task
}

fn states() -> Vec<(&'static str, Task)> {
    let run = second_attempt();
    let failed = after(&run, &finish(1, 2, Outcome::TimeLimit));
    vec![
        ("queued", after(&after(&queued_task(1), &steal(2)), &lose(2, 1))),
        ("held", after(&queued_task(1), &Transition::Adjust(Adjust::Hold(hold())))),
        ("running", run.clone()),
        ("canceling", after(&run, &Transition::Cancel(cancel()))),
        ("last", last_attempt()),
        ("once", with_policy(run.clone(), OnNodeLoss::Fail)),
        ("complete", after(&run, &exited(1, 2))),
        ("canceled", after(&queued_task(1), &Transition::Cancel(cancel()))),
        ("failed", failed),
    ]
}

fn hold() -> Hold {
    Hold { by: "ann".to_owned(), reason: "not yet".to_owned(), at: WALL }
}

/// A transition of this attempt.
type Make = fn(u32) -> Transition;

fn transitions() -> Vec<(&'static str, Make)> {
    vec![
        ("steal", |_| steal(1)),
        ("cancel", |_| Transition::Cancel(cancel())),
        ("hold", |_| Transition::Adjust(Adjust::Hold(hold()))),
        ("release", |_| Transition::Adjust(Adjust::Release)),
        ("reprioritize", |_| Transition::Adjust(Adjust::Priority(Priority::HIGH))),
        ("exited", |n| exited(1, n)),
        ("time limit", |n| finish(1, n, Outcome::TimeLimit)),
        ("not found", |n| finish(1, n, Outcome::NotFound("no such file".to_owned()))),
        ("not executable", |n| finish(1, n, Outcome::NotExecutable("is a directory".to_owned()))),
        ("launch failed", |n| finish(1, n, Outcome::LaunchFailed("no cgroup".to_owned()))),
        ("image not ready", |n| finish(1, n, Outcome::ImageNotReady("no holder".to_owned()))),
        ("no image", |n| finish(1, n, Outcome::NoImage("no image \"x\"".to_owned()))),
        ("vanished", |n| finish(1, n, Outcome::Vanished("deadline".to_owned()))),
        ("lose", |n| lose(1, n)),
        ("exited, attempt before", |n| exited(1, n - 1)),
        ("exited, other node", |n| exited(9, n)),
        ("lose, attempt before", |n| lose(1, n - 1)),
        ("lose, other node", |n| lose(9, n)),
    ]
}

fn words(result: &Result<Task, Illegal>) -> String {
    match result {
        Ok(task) => match &task.state {
            TaskState::Queued if task.hold.is_some() => format!("held {}", task.attempt),
            TaskState::Queued => format!("queued {}", task.attempt),
            TaskState::Running { cancel: None, .. } => format!("running {}", task.attempt),
            TaskState::Running { cancel: Some(_), .. } => format!("canceling {}", task.attempt),
            TaskState::Complete { .. } => "complete".to_owned(),
            TaskState::Canceled { .. } => "canceled".to_owned(),
            TaskState::Failed { failure } => format!("{:?}", failure.kind),
        },
        Err(Illegal::Terminal) => "- ended".to_owned(),
        Err(Illegal::NotQueued) => "- not queued".to_owned(),
        Err(Illegal::NotOwner) => "- not owner".to_owned(),
        Err(Illegal::NotItsNodes { .. }) => "not its nodes".to_owned(),
        Err(Illegal::AlreadyCanceling) => "- already".to_owned(),
        Err(Illegal::Held) => "- held".to_owned(),
    }
}

fn table() -> String {
    let states = states();
    let mut lines = vec![format!("{:<23}", "transition")];
    lines[0].extend(states.iter().map(|(name, task)| format!("{:<14}", format!("{name} {}", task.attempt))));
    for (name, make) in transitions() {
        let mut line = format!("{name:<23}");
        for (_, task) in &states {
            line += &format!("{:<14}", words(&apply(task, &make(task.attempt), WALL)));
        }
        lines.push(line);
    }
    lines.iter().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Columns are states (`last` is the last attempt allowed, `once` has `on_node_loss = fail`), rows are transitions, cells the state after
/// and its attempt, or why not.
const TABLE: &str = "\
transition             queued 2      held 1        running 2     canceling 2   last 3        once 2        complete 2    canceled 1    failed 2
steal                  running 2     - held        - not queued  - not queued  - not queued  - not queued  - ended       - ended       - ended
cancel                 canceled      canceled      canceling 2   - already     canceling 3   canceling 2   - ended       - ended       - ended
hold                   held 2        held 1        - not queued  - not queued  - not queued  - not queued  - ended       - ended       - ended
release                queued 2      queued 1      running 2     canceling 2   running 3     running 2     - ended       - ended       - ended
reprioritize           queued 2      held 1        running 2     canceling 2   running 3     running 2     - ended       - ended       - ended
exited                 - not owner   - not owner   complete      canceled      complete      complete      - ended       - ended       - ended
time limit             - not owner   - not owner   TimeLimit     canceled      TimeLimit     TimeLimit     - ended       - ended       - ended
not found              - not owner   - not owner   NotFound      canceled      NotFound      NotFound      - ended       - ended       - ended
not executable         - not owner   - not owner   NotExecutable canceled      NotExecutable NotExecutable - ended       - ended       - ended
launch failed          - not owner   - not owner   queued 3      canceled      Launch        queued 3      - ended       - ended       - ended
image not ready        - not owner   - not owner   queued 3      canceled      Launch        queued 3      - ended       - ended       - ended
no image               - not owner   - not owner   Launch        canceled      Launch        Launch        - ended       - ended       - ended
vanished               - not owner   - not owner   queued 3      canceled      Poison        Lost          - ended       - ended       - ended
lose                   - not owner   - not owner   queued 3      canceled      Poison        Lost          - ended       - ended       - ended
exited, attempt before - not owner   - not owner   - not owner   - not owner   - not owner   - not owner   - ended       - ended       - ended
exited, other node     - not owner   - not owner   - not owner   - not owner   - not owner   - not owner   - ended       - ended       - ended
lose, attempt before   - not owner   - not owner   - not owner   - not owner   - not owner   - not owner   - ended       - ended       - ended
lose, other node       - not owner   - not owner   - not owner   - not owner   - not owner   - not owner   - ended       - ended       - ended
";

#[test]
fn the_whole_table_is_as_written_here() {
    let table = table();
    assert_eq!(table, TABLE, "the table is now:\n{table}");
}

#[test]
fn terminal_states_have_no_exits() {
    for (name, task) in states().into_iter().filter(|(_, task)| task.state.is_terminal()) {
        assert!(task.ended.is_some(), "{name} has no time of its end");
        for (what, make) in transitions() {
            assert_eq!(apply(&task, &make(task.attempt), WALL), Err(Illegal::Terminal), "{what} of {name}");
        }
    }
}

#[test]
fn cancel_beats_requeue() {
    let canceling = after(&second_attempt(), &Transition::Cancel(cancel()));
    for end in [lose(1, 2), finish(1, 2, Outcome::LaunchFailed("x".to_owned()))] {
        assert_eq!(after(&canceling, &end).state, TaskState::Canceled { cancel: cancel() });
    }
}

#[test]
fn cancel_beats_completion() {
    let canceling = after(&second_attempt(), &Transition::Cancel(cancel()));
    let ended = after(&canceling, &exited(1, 2));
    assert_eq!(ended.state, TaskState::Canceled { cancel: cancel() });
    assert_eq!(ended.attempts.last().map(|a| a.end.as_str()), Some("exit 0"), "how it ended stays readable");
}

#[test]
fn late_result_is_fenced() {
    let first = after(&queued_task(1), &steal(1));
    let requeued = after(&first, &lose(1, 1));
    assert_eq!(apply(&requeued, &exited(1, 1), WALL), Err(Illegal::NotOwner));
    let same_node_again = after(&requeued, &steal(1));
    assert_eq!(apply(&same_node_again, &exited(1, 1), WALL), Err(Illegal::NotOwner));
    let elsewhere = after(&requeued, &steal(2));
    assert_eq!(apply(&elsewhere, &exited(1, 2), WALL), Err(Illegal::NotOwner));
}

#[test]
fn a_task_that_is_lost_max_attempts_times_is_poison() {
    let mut task = queued_task(1);
    for attempt in 1..=task.spec.max_attempts {
        assert_eq!(task.state, TaskState::Queued, "before attempt {attempt}");
        task = after(&after(&task, &steal(u64::from(attempt))), &lose(u64::from(attempt), attempt));
    }
    let TaskState::Failed { failure } = &task.state else { panic!("{:?}", task.state) };
    assert_eq!(
        (&failure.kind, failure.message.as_str()),
        (&FailureKind::Poison, "its node was lost; attempt 3 of 3")
    );
}

#[test]
fn on_node_loss_fail_never_starts_a_second_time() {
    let once = after(&with_policy(queued_task(1), OnNodeLoss::Fail), &steal(1));
    for end in [lose(1, 1), finish(1, 1, Outcome::Vanished("its deadline passed".to_owned()))] {
        let TaskState::Failed { failure } = after(&once, &end).state else { panic!("{end:?}") };
        assert_eq!(failure.kind, FailureKind::Lost);
    }
}

#[test]
fn a_failed_launch_is_tried_again_even_with_on_node_loss_fail() {
    let once = after(&with_policy(queued_task(1), OnNodeLoss::Fail), &steal(1));
    let again = after(&once, &finish(1, 1, Outcome::LaunchFailed("no cgroup".to_owned())));
    assert_eq!((again.state, again.attempt), (TaskState::Queued, 2));
}

#[test]
fn an_image_that_is_gone_ends_the_task_at_once_with_the_reason() {
    let first = after(&queued_task(1), &steal(1));
    let ended = after(&first, &finish(1, 1, Outcome::NoImage("no image \"sha256:1\"".to_owned())));
    let TaskState::Failed { failure } = &ended.state else { panic!("{ended:?}") };
    assert_eq!(
        (failure.kind.clone(), failure.message.as_str()),
        (FailureKind::Launch, "no image \"sha256:1\"")
    );
}

#[test]
fn the_history_holds_each_attempt_once_and_at_most_max_attempts() {
    let task = after(&last_attempt(), &lose(1, 3));
    let numbers: Vec<u32> = task.attempts.iter().map(|a| a.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert!(task.attempts.iter().all(|a| a.ended.is_some() && a.end == "node lost"), "{:?}", task.attempts);
}

#[test]
fn the_wait_status_is_reported_as_it_was() {
    for how in [ExitHow::Code(0), ExitHow::Code(255), ExitHow::Signal(9)] {
        let exit = Exit { how, oom_killed: matches!(how, ExitHow::Signal(9)) };
        let ended = after(&second_attempt(), &finish(1, 2, Outcome::Exited(exit)));
        assert_eq!(ended.state, TaskState::Complete { exit });
    }
}

#[test]
fn the_wall_clock_changes_nothing_but_what_people_read() {
    for (_, task) in states() {
        for (what, make) in transitions() {
            let transition = make(task.attempt);
            let early = apply(&task, &transition, WallMs(i64::MIN)).map(|t| (t.state, t.attempt));
            let late = apply(&task, &transition, WallMs(i64::MAX)).map(|t| (t.state, t.attempt));
            assert_eq!(early, late, "{what}");
        }
    }
}
