//! Nodes that are kept for people take no new tasks; which ones, every node finds alike, and there are as many as were asked for.
#![allow(clippy::unwrap_used)]

mod support;

use proptest::prelude::*;
use shoal_core::clock::Tick;
use shoal_core::features;
use shoal_core::lock::Lockable;
use shoal_core::plan::{Exclusions, Free, Plan, plan};
use shoal_core::reserve::kept_for_people;
use shoal_core::time::BootMs;
use shoal_core::view::{Fact, Snapshot, View};
use shoal_core::why::why;
use support::{cores, lock, node_entry, node_up, queued, reserve, task, view_of};

fn labelled(n: u64, label: &str) -> Fact {
    let mut entry = node_entry(&format!("n{n}"), cores(1));
    entry.offers.has.insert(features::label(label));
    Fact::NodeUp { node: support::node(n), entry, created: n as i64 }
}

fn locked(n: u64, until: Option<u64>) -> Fact {
    Fact::Locked { what: Lockable::Node(format!("n{n}")), entry: lock(until), revision: 9 }
}

fn planned(view: &View) -> Plan {
    plan(view, &Free::of(view), &Exclusions::default())
}

#[test]
fn what_is_kept_stays_free_under_load_until_nothing_is_kept() {
    let facts = (1..=4).map(|n| node_up(n, cores(1))).chain((0..9).map(|n| queued(n, cores(1))));
    let mut view = view_of(facts.chain([Fact::Reserve(Some(reserve(1, None)))]));
    let kept = kept_for_people(&view);
    assert_eq!(kept.len(), 1);
    let on: Vec<_> = planned(&view).placements.iter().map(|p| p.node).collect();
    assert!(on.len() == 3 && !on.iter().any(|node| kept.contains(node)), "{on:?}");
    let said = why(&view, &planned(&view), task(8), BootMs(0)).unwrap();
    let kept_ones = said.nodes.iter().filter(|(_, why)| why == "kept for people: 1 node by ann");
    assert_eq!(kept_ones.count(), 1, "{:?}", said.nodes);
    view.apply(&Fact::Reserve(None), BootMs(0));
    assert_eq!(planned(&view).placements.len(), 4);
}

#[test]
fn only_nodes_with_the_label_are_kept_and_a_task_that_needs_them_hears_why() {
    let nodes = [labelled(1, "gpu"), node_up(2, cores(1)), labelled(3, "gpu")];
    let view =
        view_of(nodes.into_iter().chain([Fact::Reserve(Some(reserve(9, Some("gpu")))), queued(0, cores(1))]));
    assert_eq!(kept_for_people(&view), [support::node(1), support::node(3)].into());
    let all =
        view_of([labelled(1, "gpu"), Fact::Reserve(Some(reserve(1, Some("gpu")))), queued(0, cores(1))]);
    let said = why(&all, &planned(&all), task(0), BootMs(0)).unwrap().summary;
    assert_eq!(said, "every node that could hold it is locked, drained or kept for people");
}

#[test]
fn who_works_on_a_node_has_one_of_those_that_are_kept_and_a_drained_one_is_nobodys() {
    let ups = || (1..=6).map(|n| node_up(n, cores(1))).chain([Fact::Reserve(Some(reserve(2, None)))]);
    let before = kept_for_people(&view_of(ups()));
    for n in 1..=6 {
        let with = |until| kept_for_people(&view_of(ups().chain([locked(n, until)])));
        let (person, drained) = (with(Some(9)), with(None));
        assert!(person.len() == 1 && person.is_subset(&before), "{person:?} of {before:?}");
        assert_eq!(drained.len(), 2);
        assert!(!person.contains(&support::node(n)) && !drained.contains(&support::node(n)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Exactly as many are kept as were asked for less those that people have, as far as there are so many; the same ones on every node, and in any order of
    /// events.
    #[test]
    fn exactly_as_many_are_kept_as_were_asked_for(
        count in 1..20u64, wanted in 0..25u32, locks in prop::collection::btree_map(1..20u64, prop::option::of(1..9u64), 0..8), now in 0..9u64,
    ) {
        let mut facts: Vec<Fact> = (1..=count).map(|n| node_up(n, cores(1))).collect();
        facts.extend(locks.iter().map(|(n, until)| locked(*n, *until)));
        facts.push(Fact::Reserve((wanted > 0).then(|| reserve(wanted, None))));
        facts.push(Fact::Clock { tick: Tick(now), revision: 3 });
        let view = view_of(facts.clone());
        let holds = |until: &Option<u64>| until.is_none_or(|until| now < until);
        let live = || locks.iter().filter(|(n, until)| **n <= count && holds(until));
        let held = live().filter(|(_, until)| until.is_some()).count();
        let open = count as usize - live().count();
        let kept = kept_for_people(&view);
        prop_assert_eq!(kept.len(), open.min((wanted as usize).saturating_sub(held)));
        facts.reverse();
        let mut other = View::default();
        other.reset(&Snapshot { revision: 9, facts }, BootMs(5));
        prop_assert_eq!(kept_for_people(&other), kept);
    }
}
