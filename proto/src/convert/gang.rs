//! Tasks of several nodes, and what is counted, for and from the wire.

use super::check::{Check, shown};
use super::{access, limits};
use crate::v1;
use shoal_core::counts::{Counts, NAME_CHARS_MAX, is_name};
use shoal_core::spec::{GangEnd, GangPart, TaskSpec};
use std::collections::{BTreeSet, HashMap};

/// The parts of a task, and the labels of all its nodes. What comes to one node in all is an ordinary task: its part's labels are the task's.
pub fn parts(
    wire: Vec<v1::GangPart>,
    labels: Vec<String>,
    field: &str,
    check: &mut Check,
) -> (Vec<GangPart>, Vec<String>) {
    let count = wire.len() as u64;
    if !limits::PARTS.contains(count) {
        check.refuse(field, format!("must be at most {} parts, was {count}", limits::PARTS.max));
        return (Vec::new(), labels);
    }
    let nodes: u64 = wire.iter().map(|part| u64::from(part.nodes)).sum();
    if nodes > limits::NODES.max {
        let (min, max) = (limits::NODES.min, limits::NODES.max);
        check.refuse(field, format!("must be between {min} and {max} nodes in all, was {nodes}"));
    }
    let parts: Vec<GangPart> =
        (0..).zip(wire).map(|(index, part)| one(part, &format!("{field}[{index}]"), check)).collect();
    match parts.as_slice() {
        [part] if part.nodes == 1 => (Vec::new(), joined(labels, &part.labels, field, check)),
        _ => (parts, labels),
    }
}

fn one(part: v1::GangPart, at: &str, check: &mut Check) -> GangPart {
    if part.nodes == 0 {
        check.refuse(format!("{at}.nodes"), format!("must be at least {}, was 0", limits::NODES.min));
    }
    GangPart { nodes: part.nodes, labels: access::labels(part.labels, &format!("{at}.labels"), check) }
}

fn joined(labels: Vec<String>, more: &[String], field: &str, check: &mut Check) -> Vec<String> {
    let all: BTreeSet<String> = labels.into_iter().chain(more.iter().cloned()).collect();
    if !limits::LABELS.contains(all.len() as u64) {
        let max = limits::LABELS.max;
        let text = format!("must be at most {max} labels with those of the task, was {}", all.len());
        check.refuse(format!("{field}[0].labels"), text);
    }
    all.into_iter().collect()
}

/// The same for the wire.
pub fn part_to_wire(part: &GangPart) -> v1::GangPart {
    v1::GangPart { nodes: part.nodes, labels: part.labels.clone() }
}

/// When it is over. Of a task of one node nothing but the usual is kept.
pub fn end(value: i32, is_gang: bool, field: &str, check: &mut Check) -> GangEnd {
    let end = match v1::GangEnd::try_from(value) {
        Ok(v1::GangEnd::Unspecified | v1::GangEnd::FirstFailure) => GangEnd::FirstFailure,
        Ok(v1::GangEnd::All) => GangEnd::All,
        Ok(v1::GangEnd::Lead) => GangEnd::Lead,
        Err(_) => {
            let known = "0 (default), 1 (first_failure), 2 (all) or 3 (lead)";
            check.refuse(field, format!("must be {known}, was {value}"));
            GangEnd::FirstFailure
        }
    };
    if is_gang { end } else { GangEnd::FirstFailure }
}

/// The same for the wire; unspecified of a task of one node.
pub fn end_to_wire(spec: &TaskSpec) -> v1::GangEnd {
    match spec.gang_end {
        _ if spec.parts.is_empty() => v1::GangEnd::Unspecified,
        GangEnd::FirstFailure => v1::GangEnd::FirstFailure,
        GangEnd::All => v1::GangEnd::All,
        GangEnd::Lead => v1::GangEnd::Lead,
    }
}

/// What it takes of what is counted.
pub fn counts(wire: HashMap<String, u32>, field: &str, check: &mut Check) -> Counts {
    let names = wire.len() as u64;
    if !limits::COUNT_NAMES.contains(names) {
        check.refuse(field, format!("must be at most {} names, was {names}", limits::COUNT_NAMES.max));
        return Counts::default();
    }
    let counts = Counts(wire.into_iter().collect());
    for (name, count) in &counts.0 {
        let (at, range) = (format!("{field}[{}]", shown(name)), limits::COUNT);
        if !is_name(name) {
            let what = "named by a lower-case letter, then lower-case letters, digits, '-' and '_'";
            check.refuse(at, format!("must be {what}, at most {NAME_CHARS_MAX} characters"));
        } else if !range.contains((*count).into()) {
            check.refuse(at, format!("must be between {} and {}, was {count}", range.min, range.max));
        }
    }
    counts
}

/// The same for the wire.
pub fn counts_to_wire(counts: &Counts) -> HashMap<String, u32> {
    counts.0.iter().map(|(name, count)| (name.clone(), *count)).collect()
}
