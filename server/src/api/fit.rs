//! Whether any live node could ever run a task. What can never run is refused at submit with the reason, and does not wait for ever.

use crate::seam::NodeInfo;
use shoal_core::features::{Features, IMAGES, LOG_BYTES, Lack, NET_HOST, OPEN_FILES, PIDS, label, mount};
use shoal_core::spec::TaskSpec;
use tonic_types::PreconditionViolation;

/// Refusals reported at once.
const VIOLATIONS_MAX: usize = 20;

/// What no live node can ever run. Without any live node in view nothing is refused: that is the view's state, not the task's fault.
pub fn check(specs: &[TaskSpec], nodes: &[NodeInfo]) -> Vec<PreconditionViolation> {
    if nodes.is_empty() {
        return Vec::new();
    }
    let refused = specs.iter().enumerate().filter_map(|(index, spec)| against(index, spec, nodes));
    refused.take(VIOLATIONS_MAX).collect()
}

fn against(index: usize, spec: &TaskSpec, nodes: &[NodeInfo]) -> Option<PreconditionViolation> {
    let fits = |node: &&NodeInfo| node.entry.resources.fits(&spec.resources);
    let has_root = |node: &&NodeInfo| node.entry.has_root(&spec.root);
    let needs = Features::needed_by(spec);
    let meets = |node: &&NodeInfo| node.entry.offers.meets(&needs);
    if nodes.iter().any(|node| fits(&node) && has_root(&node) && meets(&node)) {
        return None;
    }
    let violation = |kind: &str, field: &str, text: String| {
        Some(PreconditionViolation::new(kind, format!("tasks[{index}].{field}"), text))
    };
    if !nodes.iter().any(|node| has_root(&node)) {
        return violation("ROOT", "root", no_root(&spec.root, nodes));
    }
    let offered = Features::of_any(nodes.iter().map(|node| &node.entry.offers));
    if let Some(lack) = offered.lacks(&needs).next() {
        return violation("FEATURE", &field_of(&lack, spec), not_offered(&lack, spec, &offered));
    }
    let most_cores = nodes.iter().max_by_key(|node| node.entry.resources.cpu_milli)?;
    let cores = most_cores.entry.resources.cpu_milli;
    if cores < spec.resources.cpu_milli {
        let (asked, name) = (spec.resources.cpu_milli, &most_cores.entry.name);
        let text =
            format!("no live node has {asked} thousandths of a core, the largest ({name}) has {cores}");
        return violation("RESOURCES", "resources.cpu_milli", text);
    }
    let most_memory = nodes.iter().max_by_key(|node| node.entry.resources.memory_bytes)?;
    let memory = most_memory.entry.resources.memory_bytes;
    if memory < spec.resources.memory_bytes {
        let (asked, name) = (spec.resources.memory_bytes, &most_memory.entry.name);
        let text = format!("no live node has {asked} bytes of memory, the largest ({name}) has {memory}");
        return violation("RESOURCES", "resources.memory_bytes", text);
    }
    let more = if needs.is_empty() { "" } else { " and what else it needs" };
    let text = format!("no single live node has {} and root {:?}{more} together", spec.resources, spec.root);
    violation("RESOURCES", "resources", text)
}

fn no_root(root: &str, nodes: &[NodeInfo]) -> String {
    let mut known: Vec<&str> = nodes.iter().flat_map(|node| &node.entry.roots).map(String::as_str).collect();
    known.sort_unstable();
    known.dedup();
    format!("no live node has root {root:?}, there are: {}", known.join(", "))
}

/// The field of the request that asks for it.
fn field_of(lack: &Lack, spec: &TaskSpec) -> String {
    match lack {
        Lack::Word(word) if word == NET_HOST => "net".to_owned(),
        Lack::Word(word) if word == IMAGES => "root".to_owned(),
        Lack::Word(word) if spec.labels.iter().any(|asked| label(asked) == *word) => {
            let index = spec.labels.iter().position(|asked| label(asked) == *word).unwrap_or_default();
            format!("labels[{index}]")
        }
        Lack::Word(word) => match spec.mounts.iter().position(|asked| mount(&asked.name) == *word) {
            Some(index) => format!("mounts[{index}].name"),
            None => word.clone(),
        },
        Lack::Amount { what, .. } => match what.as_str() {
            PIDS => "pids_max".to_owned(),
            OPEN_FILES => "open_files_max".to_owned(),
            LOG_BYTES => "log_bytes_max".to_owned(),
            other => other.to_owned(),
        },
    }
}

fn not_offered(lack: &Lack, spec: &TaskSpec, offered: &Features) -> String {
    let Lack::Word(word) = lack else { return lack.nowhere() };
    if word == NET_HOST {
        return format!("{}; its operator would have to allow it (shoald --allow-host-net)", lack.nowhere());
    }
    if word == IMAGES {
        return lack.nowhere();
    }
    let is_label = spec.labels.iter().any(|asked| label(asked) == *word);
    let known: Vec<&str> = if is_label { offered.labels().collect() } else { offered.mounts().collect() };
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    format!("{}, there are: {known}", lack.nowhere())
}
