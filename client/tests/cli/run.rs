//! `shoal run`.

use crate::support::{Node, Running, Shared, shoal};
use shoal_proto::v1::State;
use shoal_proto::v1::exit::How;

fn node() -> (Shared, Node) {
    let shared = Shared::new();
    let node = Node::start(&shared, "node-1");
    (shared, node)
}

#[test]
fn the_log_is_stdout_and_nothing_else_is() {
    let (_shared, node) = node();
    let ran = shoal(&node.address, &["run", "--", "echo", "hello", "world"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "hello world\n", ""));
}

#[test]
fn every_end_has_its_exit_code_and_a_line_on_stderr() {
    let (_shared, node) = node();
    let cases: [(&[&str], i32, &str); 8] = [
        (&["exit", "3"], 3, "exit 3"),
        (&["exit", "255"], 255, "exit 255"),
        (&["signal", "15"], 143, "signal 15"),
        (&["oom"], 137, "out of memory"),
        (&["missing"], 127, "not_found"),
        (&["noexec"], 126, "not_executable"),
        (&["slow"], 124, "time_limit"),
        (&["exit", "0"], 0, ""),
    ];
    for (command, code, said) in cases {
        let args: Vec<&str> = ["run", "--"].iter().chain(command).copied().collect();
        let ran = shoal(&node.address, &args);
        assert_eq!(ran.code, code, "{command:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(said), "{command:?}: {}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), usize::from(code != 0), "{}", ran.stderr);
    }
}

#[test]
fn options_after_the_command_are_the_commands() {
    let (shared, node) = node();
    let ran = shoal(&node.address, &["run", "--cpus", "0.5", "echo", "-o", "--cpus"]);
    assert_eq!(ran.stdout, "-o --cpus\n");
    let spec = shared.lock().tasks[0].spec.clone().unwrap();
    assert_eq!((spec.resources.unwrap().cpu_milli, spec.user.as_str()), (500, "ann"));
}

#[test]
fn the_first_interrupt_cancels_and_waits() {
    let (shared, node) = node();
    let run = Running::start(&node.address, &["run", "--", "hold"]);
    let id = shared.first_task();
    run.interrupt();
    let ended = run.finish();
    assert_eq!(ended.code, 130, "{}", ended.stderr);
    assert!(ended.stderr.contains("canceling"), "{}", ended.stderr);
    let world = shared.lock();
    let task = world.task(&id).unwrap();
    assert_eq!((task.state(), task.cancel.clone().unwrap().by.as_str()), (State::Canceled, "ann"));
}

#[test]
fn the_second_interrupt_leaves_and_prints_the_id() {
    let (shared, node) = node();
    let mut run = Running::start(&node.address, &["run", "--", "hold"]);
    let id = shared.first_task();
    shared.change(|world| {
        world.stubborn = true;
        world.write(&id, b"up\n");
    });
    // Its log is there: it listens to signals since before it submitted.
    assert_eq!(run.line(), "up\n");
    run.interrupt();
    shared.until("the cancel request", |world| world.task(&id).unwrap().cancel.clone());
    run.interrupt();
    let ended = run.finish();
    assert_eq!(ended.code, 130);
    assert!(ended.stderr.contains(&id), "{}", ended.stderr);
    assert_eq!(shared.lock().task(&id).unwrap().state(), State::Running);
}

#[test]
fn after_a_lost_node_the_next_attempts_log_is_shown_from_its_start() {
    let (shared, node) = node();
    let mut run = Running::start(&node.address, &["run", "--", "hold"]);
    let id = shared.first_task();
    shared.change(|world| world.write(&id, b"first\n"));
    assert_eq!(run.line(), "first\n");
    shared.change(|world| world.lose(&id));
    shared.change(|world| {
        world.start(&id, "node-2");
        world.write(&id, b"second\n");
        world.exit(&id, How::Code(0), false);
    });
    let ended = run.finish();
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "second\n"), "{}", ended.stderr);
    assert!(ended.stderr.contains("attempt 1 on node-1 is over (node lost)"), "{}", ended.stderr);
}

#[test]
fn a_timeout_leaves_the_task_alone() {
    let (shared, node) = node();
    let ran = shoal(&node.address, &["run", "--timeout", "300ms", "--", "hold"]);
    assert_eq!(ran.code, 124, "{}", ran.stderr);
    assert!(ran.stderr.contains("the task goes on"), "{}", ran.stderr);
    assert_eq!(shared.lock().tasks[0].state(), State::Running);
}

#[test]
fn a_reader_that_goes_away_ends_the_task_without_a_word() {
    let (shared, node) = node();
    let mut run = Running::start(&node.address, &["run", "--", "hold"]);
    let id = shared.first_task();
    shared.change(|world| world.write(&id, b"one\n"));
    assert_eq!(run.line(), "one\n");
    let child = run.close_stdout();
    shared.change(|world| world.write(&id, b"two\n"));
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(141));
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
    assert_eq!(shared.lock().task(&id).unwrap().state(), State::Canceled);
}

#[test]
fn quiet_says_nothing_about_a_failure() {
    let (_shared, node) = node();
    let ran = shoal(&node.address, &["run", "-q", "--", "exit", "4"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (4, ""));
}
