//! The account of a run: what was submitted against what the records say and what the witness saw. Nothing in it is taken on trust.

use crate::api::{exit_code, is_terminal};
use crate::witness::{Life, Overlap, overlaps};
use shoal_proto::v1::{State, Task};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Moved tasks that the printed account names one by one.
const MOVES_SHOWN: usize = 8;

/// The account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Ids that a submit returned.
    pub submitted: usize,
    /// Ended with exit code 0.
    pub completed: usize,
    /// Ended otherwise: other exit codes, signals, failures, cancels.
    pub ended_otherwise: usize,
    /// Neither ended nor lost.
    pub unfinished: usize,
    /// Accepted ids of which there is no record.
    pub lost: Vec<String>,
    /// Complete by the record, but the witness saw no end of the attempt that counts.
    pub unwitnessed: Vec<String>,
    /// Attempts at one task that lived at the same time.
    pub twice_at_once: Vec<Overlap>,
    /// Tasks that needed more than one attempt, and the nodes of their attempts in order.
    pub moved: BTreeMap<String, Vec<String>>,
    /// How many tasks each node completed.
    pub by_node: BTreeMap<String, usize>,
}

impl Account {
    /// Draws it up from the ids that were accepted, the records, and the lives that the witness read.
    pub fn draw_up(ids: &[String], tasks: &[Task], lives: &[Life]) -> Account {
        let known: BTreeMap<&str, &Task> = tasks.iter().map(|task| (task.id.as_str(), task)).collect();
        let ends: BTreeSet<(&str, u32)> = lives
            .iter()
            .filter(|life| life.ends == 1)
            .map(|life| (life.task.as_str(), life.attempt))
            .collect();
        let ours: BTreeSet<&str> = ids.iter().map(String::as_str).collect();
        let lives: Vec<Life> =
            lives.iter().filter(|life| ours.contains(life.task.as_str())).cloned().collect();
        let mut account =
            Account { submitted: ours.len(), twice_at_once: overlaps(&lives), ..Account::default() };
        for id in ours {
            match known.get(id) {
                Some(task) => account.enter(task, &ends),
                None => account.lost.push(id.to_owned()),
            }
        }
        account
    }

    fn enter(&mut self, task: &Task, ends: &BTreeSet<(&str, u32)>) {
        let nodes: Vec<String> = task.attempts.iter().map(|attempt| attempt.node_name.clone()).collect();
        if task.state() == State::Complete && exit_code(task) == Some(0) {
            self.completed += 1;
            let last = task.attempts.last().map_or(0, |attempt| attempt.number);
            if !ends.contains(&(task.id.as_str(), last)) {
                self.unwitnessed.push(task.id.clone());
            }
            if let Some(node) = nodes.last() {
                *self.by_node.entry(node.clone()).or_default() += 1;
            }
        } else if is_terminal(task.state()) {
            self.ended_otherwise += 1;
        } else {
            self.unfinished += 1;
        }
        if nodes.len() > 1 {
            self.moved.insert(task.id.clone(), nodes);
        }
    }

    /// Whether every promise was kept: everything completed, nothing lost, nothing twice at once.
    pub fn is_clean(&self) -> bool {
        self.completed == self.submitted
            && self.lost.is_empty()
            && self.unwitnessed.is_empty()
            && self.twice_at_once.is_empty()
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.moved.is_empty() {
            writeln!(f, "tasks that had to start again, and where:")?;
            for (id, nodes) in self.moved.iter().take(MOVES_SHOWN) {
                writeln!(f, "  {}  {}", &id[id.len().saturating_sub(12)..], nodes.join(" -> "))?;
            }
            if self.moved.len() > MOVES_SHOWN {
                writeln!(f, "  and {} more", self.moved.len() - MOVES_SHOWN)?;
            }
            writeln!(f)?;
        }
        let by_node = self.by_node.iter().map(|(node, count)| format!("{node} {count}"));
        writeln!(f, "submitted            {:>6}", self.submitted)?;
        writeln!(
            f,
            "completed            {:>6}   {}",
            self.completed,
            by_node.collect::<Vec<_>>().join(", ")
        )?;
        writeln!(f, "ended otherwise      {:>6}", self.ended_otherwise)?;
        writeln!(f, "unfinished           {:>6}", self.unfinished)?;
        writeln!(f, "started again        {:>6}", self.moved.len())?;
        writeln!(f, "lost                 {:>6}", self.lost.len())?;
        writeln!(f, "run twice at once    {:>6}", self.twice_at_once.len())?;
        for overlap in &self.twice_at_once {
            writeln!(f, "  {overlap}")?;
        }
        for id in self.lost.iter().chain(&self.unwitnessed) {
            writeln!(f, "  no trace of the end of {id}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Centis;
    use shoal_proto::v1::exit::How;
    use shoal_proto::v1::{Attempt, Exit};

    fn complete(id: &str, nodes: &[&str]) -> Task {
        let attempt = |(index, node): (usize, &&str)| Attempt {
            number: index as u32 + 1,
            node_name: (*node).to_owned(),
            ..Default::default()
        };
        Task {
            id: id.to_owned(),
            state: State::Complete as i32,
            exit: Some(Exit { how: Some(How::Code(0)), oom_killed: false }),
            attempts: nodes.iter().enumerate().map(attempt).collect(),
            ..Default::default()
        }
    }

    fn life(task: &str, attempt: u32, first: u64, last: u64, ends: usize) -> Life {
        let (first, last) = (Centis(first), Centis(last));
        Life { task: task.to_owned(), attempt, node: "n".to_owned(), first, last, starts: 1, ends }
    }

    fn ids(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_clean_run_is_clean() {
        let tasks = [complete("a", &["n1"]), complete("b", &["n2", "n1"])];
        let lives = [life("a", 1, 0, 5, 1), life("b", 1, 0, 3, 0), life("b", 2, 4, 9, 1)];
        let account = Account::draw_up(&ids(&["a", "b"]), &tasks, &lives);
        assert!(account.is_clean(), "{account}");
        assert_eq!(account.by_node["n1"], 2);
        assert_eq!(account.moved["b"], ["n2", "n1"]);
    }

    #[test]
    fn a_planted_loss_is_found() {
        let account =
            Account::draw_up(&ids(&["a", "b"]), &[complete("a", &["n1"])], &[life("a", 1, 0, 5, 1)]);
        assert_eq!(account.lost, ["b"]);
        assert!(!account.is_clean());
    }

    #[test]
    fn a_planted_overlap_is_found() {
        let lives = [life("a", 1, 0, 5, 0), life("a", 2, 4, 9, 1)];
        let account = Account::draw_up(&ids(&["a"]), &[complete("a", &["n1", "n2"])], &lives);
        assert_eq!(account.twice_at_once.len(), 1);
        assert!(!account.is_clean());
    }

    #[test]
    fn a_completion_that_nobody_saw_is_found() {
        let account = Account::draw_up(&ids(&["a"]), &[complete("a", &["n1"])], &[life("a", 1, 0, 5, 0)]);
        assert_eq!(account.unwitnessed, ["a"]);
        assert!(!account.is_clean());
    }
}
