//! What a task was expected to take is fixed at its submission and stands in its index entry wherever it waits or runs.

mod support;

use shoal_core::entry::StatusEntry;
use shoal_core::task::Task;
use shoal_core::transition::{Transition, apply};
use support::{WALL, node, queued_task, steal};

fn expected_of(task: &Task) -> u32 {
    match StatusEntry::of(task, Some(1)) {
        StatusEntry::Queued(entry) => entry.expected_s,
        StatusEntry::Running(entry) => entry.expected_s,
        StatusEntry::Ended(entry) => panic!("it has not ended: {entry:?}"),
    }
}

#[test]
fn the_expectation_stands_in_the_entries_of_all_attempts() {
    let submitted = Task { expected_s: 720, expected_from: 34, ..queued_task(1) };
    let running = apply(&submitted, &steal(1), WALL).expect("it is queued");
    let again = apply(&running, &Transition::Lose { node: node(1), attempt: 1 }, WALL).expect("it ran");
    assert_eq!([&submitted, &running, &again].map(expected_of), [720; 3]);
}

#[test]
fn a_task_of_which_nothing_is_known_is_written_as_before() {
    let text = serde_json::to_string(&queued_task(1)).expect("a record");
    assert!(!text.contains("expected"), "{text}");
    let StatusEntry::Queued(entry) = StatusEntry::of(&queued_task(1), None) else { panic!("it is queued") };
    let text = serde_json::to_string(&entry).expect("an entry");
    assert!(!text.contains("expected"), "{text}");
}
