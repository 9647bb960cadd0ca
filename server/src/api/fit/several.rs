//! The same for tasks of several nodes: each part must have its nodes, and all parts together theirs, none twice.

use super::{Against, could_run};
use shoal_core::entry::NodeEntry;
use shoal_core::features::Features;
use shoal_core::spec::{GangPart, TaskSpec};
use std::collections::BTreeSet;

/// Names that a refusal lists.
const NAMES_MAX: usize = 8;

/// Why no set of these nodes could run it; `None` where one could.
pub(super) fn against(spec: &TaskSpec, nodes: &[&NodeEntry]) -> Option<Against> {
    let parts: Vec<TaskSpec> = spec.parts.iter().map(|part| of_one(spec, part)).collect();
    for (index, (part, one)) in spec.parts.iter().zip(&parts).enumerate() {
        if let Some(mut against) = super::against(one, nodes) {
            let field = &against.field;
            let own = |label: &String| part.labels.contains(label) && !spec.labels.contains(label);
            if one
                .labels
                .iter()
                .enumerate()
                .any(|(at, label)| own(label) && *field == format!("labels[{at}]"))
            {
                against.field = format!("parts[{index}].labels");
            }
            return Some(against);
        }
    }
    let needs: Vec<Features> = parts.iter().map(Features::needed_by).collect();
    let able: Vec<u32> = nodes
        .iter()
        .map(|node| {
            let able = needs.iter().enumerate().filter(|(_, needs)| could_run(node, spec, needs));
            able.map(|(index, _)| 1 << index).sum()
        })
        .collect();
    let short = too_few(&spec.parts, &able)?;
    let nodes = nodes.iter().zip(&able).filter(|(_, able)| *able & short != 0).map(|(node, _)| *node);
    Some(Against { kind: "NODES", field: "parts".to_owned(), text: text(spec, short, nodes) })
}

/// As if it were a task of one node, which is of this part.
fn of_one(spec: &TaskSpec, part: &GangPart) -> TaskSpec {
    let labels: BTreeSet<&String> = spec.labels.iter().chain(&part.labels).collect();
    TaskSpec { labels: labels.into_iter().cloned().collect(), ..spec.clone() }
}

/// Parts, a bit for each, that together want more nodes than could be any of them: the fewest such parts. By Hall's theorem there are some wherever the parts
/// cannot all have their nodes. `able` has, for each node, the parts that it could be of. There are eight parts at most.
fn too_few(parts: &[GangPart], able: &[u32]) -> Option<u32> {
    let wanted = |set: u32| -> usize {
        let within = parts.iter().enumerate().filter(|(index, _)| set & (1 << index) != 0);
        within.map(|(_, part)| part.nodes as usize).sum()
    };
    let there = |set: u32| able.iter().filter(|able| *able & set != 0).count();
    let sets = 1..1_u32 << parts.len();
    sets.filter(|set| wanted(*set) > there(*set)).min_by_key(|set| (set.count_ones(), *set))
}

fn text<'a>(spec: &TaskSpec, short: u32, nodes: impl Iterator<Item = &'a NodeEntry>) -> String {
    let parts = spec.parts.iter().enumerate().filter(|(index, _)| short & (1 << index) != 0);
    let parts: Vec<&GangPart> = parts.map(|(_, part)| part).collect();
    let wanted: u32 = parts.iter().map(|part| part.nodes).sum();
    let labels = |part: &GangPart| match part.labels.is_empty() {
        true => part.nodes.to_string(),
        false => format!("{} with {}", part.nodes, part.labels.join(", ")),
    };
    let asked = match parts.as_slice() {
        [part] => labels(part),
        parts => {
            format!("{wanted} ({})", parts.iter().map(|part| labels(part)).collect::<Vec<_>>().join(" and "))
        }
    };
    let mut names: Vec<&str> = nodes.map(|node| node.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let count = names.len();
    let shown = names.iter().take(NAMES_MAX).copied().collect::<Vec<_>>().join(", ");
    let more = if count > NAMES_MAX { ", ..." } else { "" };
    format!("it takes {asked} nodes at once, and only {count} could be among them: {shown}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(nodes: u32) -> GangPart {
        GangPart { nodes, labels: Vec::new() }
    }

    #[test]
    fn parts_that_share_their_nodes_must_have_enough_together() {
        let parts = [part(2), part(1)];
        assert_eq!(too_few(&parts, &[0b11, 0b11, 0b11]), None);
        assert_eq!(too_few(&parts, &[0b11, 0b01, 0b00]), Some(0b11));
        assert_eq!(too_few(&parts, &[0b10, 0b10, 0b01]), Some(0b01), "the first part alone is short");
        assert_eq!(too_few(&parts, &[0b01, 0b01, 0b10]), None);
        assert_eq!(too_few(&parts, &[]), Some(0b01));
    }
}
