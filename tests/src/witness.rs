//! The witness: what tasks themselves wrote about when they lived, read from the attempts' logs on the nodes' disks, without
//! asking the system under test. A task writes `start T`, `beat T`, `end T` with T of the boot-time clock; whatever else stands in
//! a log is ignored.

use crate::clock::Centis;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// The life of one attempt's process, by its own signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// The task's id.
    pub task: String,
    /// The attempt's number.
    pub attempt: u32,
    /// The node's name.
    pub node: String,
    /// Its first sign.
    pub first: Centis,
    /// Its last sign.
    pub last: Centis,
    /// How often it wrote `start`.
    pub starts: usize,
    /// How often it wrote `end`.
    pub ends: usize,
}

/// Two attempts at one task that lived at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap(pub Life, pub Life);

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Overlap(a, b) = self;
        let span = |life: &Life| {
            format!("attempt {} on {} [{}..{}]", life.attempt, life.node, life.first.0, life.last.0)
        };
        write!(f, "task {}: {} and {} (hundredths of a second)", a.task, span(a), span(b))
    }
}

/// Reads the lives of all attempts on nodes of the given names and data directories. An attempt without a sign of life (it
/// never ran, or does not bear witness) has none.
pub fn read_lives(nodes: impl IntoIterator<Item = (String, PathBuf)>) -> Result<Vec<Life>> {
    let mut lives = Vec::new();
    for (node, data_dir) in nodes {
        for id in crate::host::attempts_of(&data_dir) {
            let Some((task, number)) = id.rsplit_once('.') else { continue };
            let attempt = number.parse().with_context(|| format!("attempt directory {id:?}"))?;
            let text = log_of(&data_dir.join("attempts").join(&id));
            lives.extend(parse(task, attempt, &node, &String::from_utf8_lossy(&text)));
        }
    }
    Ok(lives)
}

/// What an attempt wrote, as it is on the disk: as it was written, or compressed, which comes before the other goes.
fn log_of(directory: &Path) -> Vec<u8> {
    let raw = fs::read(directory.join("log"));
    let text = raw.or_else(|_| zstd::stream::decode_all(fs::File::open(directory.join("log.zst"))?));
    text.unwrap_or_default()
}

fn parse(task: &str, attempt: u32, node: &str, text: &str) -> Option<Life> {
    let signs: Vec<(&str, Centis)> = text.lines().filter_map(sign).collect();
    let count = |kind: &str| signs.iter().filter(|(found, _)| *found == kind).count();
    Some(Life {
        task: task.to_owned(),
        attempt,
        node: node.to_owned(),
        first: signs.iter().map(|(_, at)| *at).min()?,
        last: signs.iter().map(|(_, at)| *at).max()?,
        starts: count("start"),
        ends: count("end"),
    })
}

fn sign(line: &str) -> Option<(&str, Centis)> {
    let (kind, at) = line.split_once(' ')?;
    let known = matches!(kind, "start" | "beat" | "end");
    known.then_some(())?;
    Some((kind, Centis::parse(at)?))
}

/// Every pair of attempts at one task whose lives share an instant; to touch counts.
pub fn overlaps(lives: &[Life]) -> Vec<Overlap> {
    let mut by_task: BTreeMap<&str, Vec<&Life>> = BTreeMap::new();
    for life in lives {
        by_task.entry(&life.task).or_default().push(life);
    }
    let mut found = Vec::new();
    for lives in by_task.values() {
        for (index, a) in lives.iter().enumerate() {
            for b in &lives[index + 1..] {
                if a.first <= b.last && b.first <= a.last {
                    found.push(Overlap((*a).clone(), (*b).clone()));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(attempt: u32, first: u64, last: u64) -> Life {
        Life {
            task: "t".to_owned(),
            attempt,
            node: format!("n{attempt}"),
            first: Centis(first),
            last: Centis(last),
            starts: 1,
            ends: 0,
        }
    }

    #[test]
    fn lives_one_after_the_other_do_not_overlap() {
        assert_eq!(overlaps(&[life(1, 0, 10), life(2, 11, 20)]), []);
    }

    #[test]
    fn a_planted_overlap_is_found() {
        assert_eq!(overlaps(&[life(1, 0, 12), life(2, 11, 20)]).len(), 1);
        assert_eq!(overlaps(&[life(2, 11, 20), life(1, 0, 11)]).len(), 1, "to touch counts");
        assert_eq!(overlaps(&[life(1, 0, 30), life(2, 11, 20)]).len(), 1, "one inside the other");
        assert_eq!(overlaps(&[life(1, 0, 5), life(2, 6, 9), life(3, 4, 4)]).len(), 1, "not neighbours");
    }

    #[test]
    fn other_tasks_may_live_at_the_same_time() {
        let other = Life { task: "u".to_owned(), ..life(1, 0, 10) };
        assert_eq!(overlaps(&[life(1, 0, 10), other]), []);
    }

    #[test]
    fn signs_are_read_and_the_rest_is_ignored() {
        let text = "start 10.00\nhello world\nbeat 10.02\nbeat\nend 10.50\nbeat 11.0";
        let life = parse("t", 1, "n1", text).expect("signs");
        assert_eq!((life.first, life.last), (Centis(1000), Centis(1050)));
        assert_eq!((life.starts, life.ends), (1, 1));
        assert_eq!(parse("t", 1, "n1", "no signs here\n"), None);
    }
}
