//! The weighted priority queue: strict above the cutoff, a draw below, turns within.

#![allow(clippy::unwrap_used)]

mod support;

use dmclock::WeightedPriorityQueue;
use std::collections::BTreeMap;
use support::sim::Rng;

const PULLS: u32 = 100_000;

/// Which part of the pulls each (priority, cost) gets, all of them with a backlog.
fn parts(classes: &[(u32, u32)]) -> Vec<f64> {
    let mut queue = WeightedPriorityQueue::new(64);
    let mut rng = Rng(1);
    let mut chance = || rng.next();
    let add = |queue: &mut WeightedPriorityQueue<&str, usize>, n: usize| {
        queue.add(&"one", n, classes[n].0, classes[n].1)
    };
    (0..classes.len()).for_each(|n| add(&mut queue, n));
    let mut counts = vec![0.0; classes.len()];
    for _ in 0..PULLS {
        let (_, n) = queue.pull(&mut chance).unwrap();
        counts[n] += 1.0 / f64::from(PULLS);
        add(&mut queue, n);
    }
    counts
}

#[test]
fn equal_costs_are_drawn_by_priority() {
    // Trim, I/O, deletion of placement groups, recovery: the corrected table of the specification.
    for (part, expected) in
        parts(&[(5, 1), (3, 1), (2, 1), (1, 1)]).into_iter().zip([0.455, 0.273, 0.182, 0.091])
    {
        assert!((part - expected).abs() < 0.006, "{part} instead of {expected}");
    }
}

#[test]
fn the_dear_are_taken_less_often_but_never_starve() {
    // Drawn alike; taken with 1 - 0.9 of what the dearest costs, and 1 - 0.45.
    let parts = parts(&[(10, 100), (10 + 1, 50)]);
    let (dear, half) = (10.0 * 0.1, 11.0 * 0.55);
    assert!((parts[0] - dear / (dear + half)).abs() < 0.01, "{parts:?}");
}

#[test]
fn at_the_cutoff_priorities_are_strict() {
    let mut queue = WeightedPriorityQueue::new(64);
    [(1, 63), (2, 64), (3, 196), (4, 64)].iter().for_each(|(n, priority)| queue.add(&0, *n, *priority, 1));
    let mut rng = Rng(1);
    let order: Vec<_> = std::iter::from_fn(|| queue.pull(&mut || rng.next())).map(|(_, n)| n).collect();
    assert_eq!(order, [3, 2, 4, 1]);
    assert!(queue.is_empty());
}

#[test]
fn clients_of_a_priority_take_turns_each_in_its_order() {
    let mut queue = WeightedPriorityQueue::new(64);
    [(1, 1), (1, 2), (1, 3), (2, 4), (3, 5), (2, 6)]
        .iter()
        .for_each(|(client, n)| queue.add(client, *n, 10, 1));
    let order: Vec<_> = std::iter::from_fn(|| queue.pull(&mut || 0)).map(|(_, n)| n).collect();
    assert_eq!(order, [1, 4, 5, 2, 6, 3]);
}

#[test]
fn chance_that_is_none_ends_all_the_same() {
    for stuck in [0, u64::MAX] {
        let mut queue = WeightedPriorityQueue::new(64);
        [0, 1, 7, u32::MAX >> 27].iter().for_each(|priority| queue.add(&0, *priority, *priority, u32::MAX));
        let mut served = BTreeMap::new();
        while let Some((_, n)) = queue.pull(&mut || stuck) {
            *served.entry(n).or_insert(0) += 1;
        }
        assert_eq!((served.len(), queue.len()), (4, 0));
    }
}

#[test]
fn removal_leaves_the_others() {
    let mut queue = WeightedPriorityQueue::new(64);
    [(1, 1, 10), (2, 2, 10), (1, 3, 80)]
        .iter()
        .for_each(|(client, n, priority)| queue.add(client, *n, *priority, 1));
    assert_eq!(queue.remove_client(&1), [1, 3]);
    assert_eq!((queue.len(), queue.pull(&mut || 0)), (1, Some((2, 2))));
}
