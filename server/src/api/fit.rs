//! Whether the nodes that are known could ever run a task. What can never run is refused at submit with the reason, and does not wait for ever.

mod several;

use shoal_core::amount::Amount;
use shoal_core::entry::NodeEntry;
use shoal_core::features::{Features, IMAGES, LOG_BYTES, Lack, NET_HOST, OPEN_FILES, PIDS, label, mount};
use shoal_core::spec::TaskSpec;
use tonic_types::PreconditionViolation;

/// Refusals reported at once.
const VIOLATIONS_MAX: usize = 20;

/// What these nodes could never run, whatever else runs there. There is one at least.
pub fn check(specs: &[TaskSpec], nodes: &[&NodeEntry]) -> Vec<PreconditionViolation> {
    let refused = specs.iter().enumerate().filter_map(|(index, spec)| {
        let against = match spec.parts.is_empty() {
            true => against(spec, nodes),
            false => several::against(spec, nodes),
        };
        against.map(|Against { kind, field, text }| {
            PreconditionViolation::new(kind, format!("tasks[{index}].{field}"), text)
        })
    });
    refused.take(VIOLATIONS_MAX).collect()
}

/// What speaks against a task.
struct Against {
    kind: &'static str,
    field: String,
    text: String,
}

/// Whether this node, empty, could run a task, or be one of its nodes.
fn could_run(node: &NodeEntry, spec: &TaskSpec, needs: &Features) -> bool {
    let all = Amount { resources: node.resources, counts: node.counts.clone() };
    let ask = Amount { resources: spec.resources, counts: spec.counts.clone() };
    all.fits(&ask) && node.has_root(&spec.root) && node.offers.meets(needs)
}

/// Why no single node could run it; `None` where one could.
fn against(spec: &TaskSpec, nodes: &[&NodeEntry]) -> Option<Against> {
    let needs = Features::needed_by(spec);
    if nodes.iter().any(|node| could_run(node, spec, &needs)) {
        return None;
    }
    let violation = |kind, field: &str, text| Some(Against { kind, field: field.to_owned(), text });
    if !nodes.iter().any(|node| node.has_root(&spec.root)) {
        return violation("ROOT", "root", no_root(&spec.root, nodes));
    }
    let offered = Features::of_any(nodes.iter().map(|node| &node.offers));
    if let Some(lack) = offered.lacks(&needs).next() {
        return violation("FEATURE", &field_of(&lack, spec), not_offered(&lack, spec, &offered));
    }
    let most_cores = nodes.iter().max_by_key(|node| node.resources.cpu_milli)?;
    let cores = most_cores.resources.cpu_milli;
    if cores < spec.resources.cpu_milli {
        let (asked, name) = (spec.resources.cpu_milli, &most_cores.name);
        let text =
            format!("no live node has {asked} thousandths of a core, the largest ({name}) has {cores}");
        return violation("RESOURCES", "resources.cpu_milli", text);
    }
    let most_memory = nodes.iter().max_by_key(|node| node.resources.memory_bytes)?;
    let memory = most_memory.resources.memory_bytes;
    if memory < spec.resources.memory_bytes {
        let (asked, name) = (spec.resources.memory_bytes, &most_memory.name);
        let text = format!("no live node has {asked} bytes of memory, the largest ({name}) has {memory}");
        return violation("RESOURCES", "resources.memory_bytes", text);
    }
    for (name, asked) in &spec.counts.0 {
        let most = nodes.iter().max_by_key(|node| node.counts.of(name))?;
        let there = most.counts.of(name);
        if there < *asked {
            let text = match there {
                0 => format!("no live node has any {name} (shoald --resource {name}=COUNT)"),
                _ => format!("no live node has {asked} {name}, the most ({}) is {there}", most.name),
            };
            return violation("RESOURCES", &format!("counts[{name:?}]"), text);
        }
    }
    let more = if needs.is_empty() { "" } else { " and what else it needs" };
    let amount = Amount { resources: spec.resources, counts: spec.counts.clone() };
    let text = format!("no single live node has {amount} and root {:?}{more} together", spec.root);
    violation("RESOURCES", "resources", text)
}

fn no_root(root: &str, nodes: &[&NodeEntry]) -> String {
    let mut known: Vec<&str> = nodes.iter().flat_map(|node| &node.roots).map(String::as_str).collect();
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
