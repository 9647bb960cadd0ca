//! Whether any live node could ever run a task. What can never run is refused at submit with the reason, and does not wait for ever.

use crate::seam::NodeInfo;
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
    let has_root = |node: &&NodeInfo| node.entry.roots.contains(&spec.root);
    if nodes.iter().any(|node| fits(&node) && has_root(&node)) {
        return None;
    }
    let violation = |kind: &str, field: &str, text: String| {
        Some(PreconditionViolation::new(kind, format!("tasks[{index}].{field}"), text))
    };
    if !nodes.iter().any(|node| has_root(&node)) {
        return violation("ROOT", "root", no_root(&spec.root, nodes));
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
    let text = format!("no single live node has {} and root {:?} together", spec.resources, spec.root);
    violation("RESOURCES", "resources", text)
}

fn no_root(root: &str, nodes: &[NodeInfo]) -> String {
    let mut known: Vec<&str> = nodes.iter().flat_map(|node| &node.entry.roots).map(String::as_str).collect();
    known.sort_unstable();
    known.dedup();
    format!("no live node has root {root:?}, there are: {}", known.join(", "))
}
