//! The ids of all tasks by their short form: what people type. Folded from the status keys; 24 bytes a task.

use crate::facts::{self, Seen};
use shoal_core::id::TaskId;
use shoal_store::key::Key;
use shoal_store::port::Change;
use std::collections::BTreeSet;

/// Digits of a short form.
const DIGITS: u32 = 8;

/// The index.
#[derive(Clone, Debug, Default)]
pub struct Index {
    ids: BTreeSet<(u32, TaskId)>,
}

fn tail(task: TaskId) -> u32 {
    (task.0.as_u128() >> 16) as u32
}

impl Index {
    /// Adds a task; fine where it is in already.
    pub fn insert(&mut self, task: TaskId) {
        self.ids.insert((tail(task), task));
    }

    /// Folds a change of a status key in. A task leaves with the key of its end, which only retention deletes; the other status keys go when
    /// it moves on to the next.
    pub fn fold(&mut self, seen: &Seen<'_>) {
        match (seen.change, &seen.key) {
            (Change::Put(_), key) => self.ids.extend(facts::task_of(key).map(|task| (tail(task), task))),
            (Change::Delete { .. }, Key::Ended(_, _, task)) => {
                self.ids.remove(&(tail(*task), *task));
            }
            (Change::Delete { .. }, _) => {}
        }
    }

    /// Begins anew.
    pub fn clear(&mut self) {
        self.ids.clear();
    }

    /// Up to `max` tasks whose short form begins with these hexadecimal digits.
    pub fn starting_with(&self, digits: &str, max: usize) -> Vec<TaskId> {
        let len = digits.len() as u32;
        let Some(value) = (1..=DIGITS).contains(&len).then(|| u32::from_str_radix(digits, 16).ok()).flatten()
        else {
            return Vec::new();
        };
        let spare = (DIGITS - len) * 4;
        let first = value << spare;
        let last = first | ((1u64 << spare) - 1) as u32;
        let nil = TaskId(uuid::Uuid::nil());
        let found = self.ids.range((first, nil)..).take_while(|(tail, _)| *tail <= last);
        found.map(|(_, task)| *task).take(max).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_store::key::{EndKind, Epoch};
    use shoal_store::port::KeyValue;
    use uuid::Uuid;

    #[test]
    fn finds_by_any_length_of_prefix() {
        let mut index = Index::default();
        let tasks: Vec<TaskId> = (0..500).map(|n| TaskId::of_request(Uuid::from_u128(5), n)).collect();
        tasks.iter().for_each(|task| index.insert(*task));
        for task in &tasks {
            assert_eq!(index.starting_with(&task.short(), 3), [*task]);
            let some = index.starting_with(&task.short()[..2], 1000);
            assert!(some.contains(task) && some.iter().all(|t| t.short()[..2] == task.short()[..2]));
        }
        assert!(index.starting_with("xyz", 3).is_empty());
        assert!(index.starting_with("", 3).is_empty());
        assert!(index.starting_with("123456789", 3).is_empty());
    }

    #[test]
    fn a_task_leaves_with_the_key_of_its_end_alone() {
        let task = TaskId::of_request(Uuid::from_u128(5), 0);
        let node = shoal_core::id::NodeId(Uuid::from_u128(6));
        let ended = Key::Ended(EndKind::Failed, Epoch::new(9), task);
        let put = |key: Key| {
            let (key, value) = (key.to_string(), Vec::new());
            Change::Put(KeyValue { key, value, create_revision: 1, mod_revision: 1, lease: None })
        };
        let delete = |key: Key| Change::Delete { key: key.to_string(), revision: 2 };
        let mut index = Index::default();
        let life = [
            put(Key::Queued(task)),
            delete(Key::Queued(task)),
            put(Key::Running(node, task)),
            // A node learns of the end and of what it replaces in any order.
            put(ended.clone()),
            delete(Key::Running(node, task)),
        ];
        for change in &life {
            facts::seen(std::slice::from_ref(change)).iter().for_each(|seen| index.fold(seen));
            assert_eq!(index.starting_with(&task.short(), 3), [task], "{change:?}");
        }
        facts::seen(&[delete(ended)]).iter().for_each(|seen| index.fold(seen));
        assert!(index.starting_with(&task.short(), 3).is_empty());
    }
}
