//! Which node is which part of a task: a matching of the nodes wanted with those that could be them, by augmenting paths (Kuhn's algorithm). With one part it
//! is the first so many; with several, whose nodes may overlap, it finds an assignment wherever there is one.

use super::desk::Place;
use crate::shape::Part;
use std::collections::BTreeMap;

/// For each node wanted, part by part, one of that part's candidates, none twice; `None` when there is no such assignment. Earlier candidates are preferred.
pub(super) fn assign(parts: &[Part], candidates: &[Vec<Place>]) -> Option<Vec<Place>> {
    let slots: Vec<usize> = parts
        .iter()
        .enumerate()
        .flat_map(|(part, wanted)| std::iter::repeat_n(part, wanted.nodes as usize))
        .collect();
    if parts.iter().zip(candidates).any(|(part, able)| able.len() < part.nodes as usize) {
        return None;
    }
    let mut by_place: BTreeMap<Place, usize> = BTreeMap::new();
    for slot in 0..slots.len() {
        let mut tried = vec![false; slots.len()];
        if !find(slot, &slots, candidates, &mut by_place, &mut tried) {
            return None;
        }
    }
    let mut places = vec![0; slots.len()];
    for (place, slot) in by_place {
        places[slot] = place;
    }
    Some(places)
}

/// Finds a place for this slot, moving other slots where that helps.
fn find(
    slot: usize,
    slots: &[usize],
    candidates: &[Vec<Place>],
    by_place: &mut BTreeMap<Place, usize>,
    tried: &mut [bool],
) -> bool {
    tried[slot] = true;
    let able = &candidates[slots[slot]];
    if let Some(place) = able.iter().find(|place| !by_place.contains_key(place)) {
        by_place.insert(*place, slot);
        return true;
    }
    for place in able {
        let Some(other) = by_place.get(place).copied() else { continue };
        // Slots of one part are alike: moving one of them helps no more than the first try of it did.
        if slots[other] != slots[slot] && !tried[other] && find(other, slots, candidates, by_place, tried) {
            by_place.insert(*place, slot);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Features;
    use proptest::prelude::*;

    fn parts(of: &[u32]) -> Vec<Part> {
        of.iter().map(|nodes| Part { nodes: *nodes, needs: Features::default() }).collect()
    }

    #[test]
    fn the_first_candidates_are_taken() {
        assert_eq!(assign(&parts(&[2]), &[vec![5, 3, 9]]), Some(vec![5, 3]));
        assert_eq!(assign(&parts(&[2]), &[vec![5]]), None);
    }

    #[test]
    fn overlapping_parts_give_way_to_each_other() {
        let candidates = [vec![1, 2], vec![2, 3], vec![1, 3]];
        let mut found = assign(&parts(&[1, 1, 1]), &candidates).unwrap();
        found.sort_unstable();
        assert_eq!(found, [1, 2, 3]);
        assert_eq!(assign(&parts(&[2, 1]), &[vec![1, 2], vec![1, 2]]), None);
    }

    /// Tries everything.
    fn exists(slots: &[usize], candidates: &[Vec<Place>], taken: &mut Vec<Place>) -> bool {
        let Some((first, rest)) = slots.split_first() else { return true };
        candidates[*first].iter().any(|place| {
            if taken.contains(place) {
                return false;
            }
            taken.push(*place);
            let found = exists(rest, candidates, taken);
            taken.pop();
            found
        })
    }

    proptest! {
        #[test]
        fn an_assignment_is_found_exactly_where_there_is_one(
            wanted in prop::collection::vec(1_u32..3, 1..4),
            able in prop::collection::vec(prop::collection::btree_set(0_u32..6, 0..6), 3),
        ) {
            let candidates: Vec<Vec<Place>> = able.iter().map(|set| set.iter().copied().collect()).collect();
            let candidates = &candidates[..wanted.len()];
            let slots: Vec<usize> = wanted.iter().enumerate()
                .flat_map(|(part, nodes)| std::iter::repeat_n(part, *nodes as usize)).collect();
            let found = assign(&parts(&wanted), candidates);
            prop_assert_eq!(found.is_some(), exists(&slots, candidates, &mut Vec::new()));
            if let Some(places) = found {
                let distinct: std::collections::BTreeSet<_> = places.iter().collect();
                prop_assert_eq!(distinct.len(), slots.len());
                prop_assert!(slots.iter().zip(&places).all(|(part, place)| candidates[*part].contains(place)));
            }
        }
    }
}
