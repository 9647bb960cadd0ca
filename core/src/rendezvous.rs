//! Highest-random-weight hashing: every node computes the same order of nodes for a task without talking to anybody, and
//! a node that comes or goes moves only its own share. (Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998.)

use crate::id::NodeId;
use uuid::Uuid;

/// The weight of `node` for `subject`; the highest wins. Stable across versions: nodes of different versions must agree.
pub fn weight(subject: Uuid, node: NodeId) -> u64 {
    let (a, b) = subject.as_u64_pair();
    let (c, d) = node.0.as_u64_pair();
    mix(mix(a ^ c.rotate_left(32)) ^ mix(b.rotate_left(17) ^ d))
}

/// A number for a name, the same on every node and in every version: FNV-1a (Fowler, Noll and Vo, 1991), and mixed, since names differ in their ends.
pub fn of_name(name: &str) -> u64 {
    mix(name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): every input bit changes half of the output bits.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The node that a subject prefers among `nodes`.
pub fn first(subject: Uuid, nodes: impl Iterator<Item = NodeId>) -> Option<NodeId> {
    nodes.max_by_key(|node| (weight(subject, *node), *node))
}

/// One of these, by a hash of the subject alone: as even as [`first`] and much cheaper, but when the list changes, most subjects change their pick.
pub fn pick<T>(subject: Uuid, from: &[T]) -> Option<&T> {
    let (high, low) = subject.as_u64_pair();
    let hash = u128::from(mix(high ^ mix(low)));
    from.get(((hash * from.len() as u128) >> 64) as usize)
}

/// The position of `me` among `nodes` for `subject`: 0 is the one that acts first. `me` need not be among them.
pub fn rank(subject: Uuid, me: NodeId, nodes: impl Iterator<Item = NodeId>) -> usize {
    let mine = (weight(subject, me), me);
    nodes.filter(|n| *n != me && (weight(subject, *n), *n) > mine).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u128) -> NodeId {
        NodeId(Uuid::from_u128(n << 64 | 0x7000_8000))
    }

    #[test]
    fn tasks_of_one_millisecond_spread_evenly_over_nodes() {
        let nodes: Vec<NodeId> = (1..=3).map(node).collect();
        let mut counts = [0u32; 3];
        for i in 0..3000 {
            let task = crate::id::TaskId::of_request(Uuid::from_u128(0x0192_0000_7000_8000 << 64), i);
            let best = (0..3).max_by_key(|n| weight(task.0, nodes[*n])).unwrap();
            counts[best] += 1;
        }
        assert!(counts.iter().all(|c| (850..1150).contains(c)), "{counts:?}");
    }

    #[test]
    fn ranks_are_a_permutation() {
        let nodes: Vec<NodeId> = (1..=5).map(node).collect();
        let mut ranks: Vec<usize> =
            nodes.iter().map(|n| rank(Uuid::from_u128(9), *n, nodes.iter().copied())).collect();
        ranks.sort();
        assert_eq!(ranks, [0, 1, 2, 3, 4]);
    }
}
