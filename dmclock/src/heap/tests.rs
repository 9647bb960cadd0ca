//! The reference's heap cases, by name (its `IndIntruHeap`). There, elements sit behind kinds of pointers; here they are slots, so that the three
//! cases of pointers are three ways to come to the same content.

use super::*;
use proptest::prelude::*;

const DATA: [i32; 7] = [2, 99, 1, -5, 12, -12, -7];
const SORTED: [i32; 7] = [-12, -7, -5, 1, 2, 12, 99];

fn filled<const ARITY: usize>(data: &[i32]) -> Heap<i32, ARITY> {
    let mut heap = Heap::new();
    for (slot, key) in data.iter().enumerate() {
        heap.set(slot as u32, *key);
    }
    heap
}

fn fixture() -> Heap<i32, 2> {
    filled(&DATA)
}

fn slot_of(key: i32) -> u32 {
    DATA.iter().position(|k| *k == key).unwrap() as u32
}

fn drained<const ARITY: usize>(mut heap: Heap<i32, ARITY>) -> Vec<i32> {
    let mut keys = Vec::new();
    while let Some((key, _)) = heap.top() {
        keys.push(key);
        heap.pop();
    }
    assert!(heap.is_empty());
    keys
}

#[test]
fn shared_ptr_content_comes_out_in_order() {
    assert!(fixture().clone().top() == fixture().top());
    assert_eq!(drained(fixture()), SORTED);
}

#[test]
fn unique_ptr_content_is_owned_by_the_heap_alone() {
    let heap = fixture();
    assert_eq!(drained(heap), SORTED);
}

#[test]
fn regular_ptr_content_outlives_the_heap() {
    let mut heap = fixture();
    heap.pop();
    assert_eq!(DATA[slot_of(-12) as usize], -12);
    assert_eq!(drained(heap), SORTED[1..]);
}

#[test]
fn k_3_comes_out_in_order() {
    assert_eq!(drained(filled::<3>(&DATA)), SORTED);
}

#[test]
fn k_4_comes_out_in_order() {
    assert_eq!(drained(filled::<4>(&DATA)), SORTED);
}

#[test]
fn k_10_comes_out_in_order() {
    assert_eq!(drained(filled::<10>(&DATA)), SORTED);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn multi_k_agree_on_250_values(data in prop::collection::vec(-100..=100, 250)) {
        let two = drained(filled::<2>(&data));
        prop_assert!(two.is_sorted());
        prop_assert_eq!(&two, &drained(filled::<3>(&data)));
        prop_assert_eq!(&two, &drained(filled::<4>(&data)));
        prop_assert_eq!(&two, &drained(filled::<10>(&data)));
    }

    #[test]
    fn every_mix_of_operations_keeps_the_order(
        steps in prop::collection::vec((0..4u8, 0..20u32, -50..50i32), 1..200),
    ) {
        let mut heap = Heap::<i32, 4>::new();
        let mut model = std::collections::BTreeMap::new();
        for (kind, slot, key) in steps {
            match kind {
                0 => { heap.set(slot, key); model.insert(slot, key); }
                1 => { prop_assert_eq!(heap.remove(slot), model.remove(&slot).is_some()); }
                2 => {
                    heap.lower(slot, key);
                    model.entry(slot).and_modify(|k| *k = key.min(*k)).or_insert(key);
                }
                _ if model.contains_key(&slot) && !model.contains_key(&(slot + 20)) => {
                    heap.rename(slot, slot + 20);
                    let key = model.remove(&slot).unwrap();
                    model.insert(slot + 20, key);
                    heap.set(slot + 20, key);
                }
                _ => {}
            }
            prop_assert_eq!(heap.top().map(|(key, _)| key), model.values().min().copied());
            for (slot, key) in &model {
                prop_assert_eq!(heap.key(*slot), Some(*key));
            }
        }
    }
}

#[test]
fn demote_moves_the_top_down() {
    let mut heap = fixture();
    heap.raise_top(24);
    assert_eq!(drained(heap), [-7, -5, 1, 2, 12, 24, 99]);
}

#[test]
fn demote_not_when_it_is_still_the_lowest() {
    let mut heap = fixture();
    heap.raise_top(-12);
    assert_eq!(drained(heap), SORTED);
}

#[test]
fn promote_and_demote_move_one_both_ways() {
    let (mut heap, one) = (fixture(), slot_of(1));
    heap.set(one, -99);
    assert_eq!(heap.top(), Some((-99, one)));
    heap.set(one, 999);
    assert_eq!(heap.top().unwrap().0, -12);
    heap.set(one, 9);
    assert_eq!(drained(heap), [-12, -7, -5, 2, 9, 12, 99]);
}

#[test]
fn adjust_finds_the_direction_itself() {
    let (mut heap, one) = (fixture(), slot_of(1));
    for (key, top) in [(999, -12), (-99, -99), (9, -12)] {
        heap.set(one, key);
        assert_eq!(heap.top().unwrap().0, top);
    }
    assert_eq!(drained(heap), [-12, -7, -5, 2, 9, 12, 99]);
}

#[test]
fn remove_careful_lets_what_fills_the_gap_rise() {
    let mut heap = filled::<2>(&[0, 10, 100, 20, 30, 200, 300, 40]);
    heap.remove(5);
    let keys: Vec<_> = heap.keys.clone();
    assert_eq!(keys, [0, 10, 40, 20, 30, 100, 300]);
}

#[test]
fn remove_greatest_reads_nothing_beyond_the_end() {
    let data: Vec<i32> = (0..4_096).map(|n| n * 1_021 % 4_096).collect();
    let mut heap = filled::<2>(&data);
    for (slot, key) in data.iter().enumerate() {
        if *key >= 2_048 {
            assert!(heap.remove(slot as u32));
        }
    }
    assert_eq!(drained(heap), (0..2_048).collect::<Vec<_>>());
}

#[test]
fn shared_data_stands_in_heaps_of_other_orders_and_arities() {
    let even_first = |key: i32| (key % 2 != 0, -key);
    let mut heap = fixture();
    let mut other = Heap::<(bool, i32), 3>::new();
    for (slot, key) in DATA.iter().enumerate() {
        other.set(slot as u32, even_first(*key));
    }
    heap.set(slot_of(1), 32);
    other.set(slot_of(1), even_first(32));
    assert_eq!(drained(heap), [-12, -7, -5, 2, 12, 32, 99]);
    let mut keys = Vec::new();
    while let Some((key, _)) = other.top() {
        keys.push(-key.1);
        other.pop();
    }
    assert_eq!(keys, [32, 12, 2, -12, 99, -5, -7]);
}

#[test]
fn iterator_basics_see_each_once_and_the_lowest_first() {
    let heap = fixture();
    assert_eq!(heap.keys[0], -12);
    let mut keys: Vec<_> = heap.keys.clone();
    keys.sort_unstable();
    assert_eq!(keys, SORTED);
}

#[test]
fn const_iterator_basics_need_no_exclusive_borrow() {
    let heap = fixture();
    let (one, two) = (&heap, &heap);
    assert_eq!(one.top(), two.top());
    assert_eq!(one.keys.len(), 7);
}

#[test]
fn iterator_find_rfind_find_by_slot_what_is_in_and_nothing_else() {
    let mut heap = fixture();
    assert_eq!(heap.key(slot_of(-7)), Some(-7));
    assert_eq!(heap.key(7), None);
    heap.set(7, -7);
    assert_eq!((heap.key(slot_of(-7)), heap.key(7)), (Some(-7), Some(-7)));
}

#[test]
fn const_iterator_find_rfind_ask_for_slots_never_seen() {
    let heap = fixture();
    assert_eq!(heap.key(4_000_000_000), None);
}

#[test]
fn iterator_remove_leaves_the_others() {
    let mut heap = fixture();
    assert!(heap.remove(slot_of(-7)) && !heap.remove(slot_of(-7)));
    assert_eq!(heap.key(slot_of(-7)), None);
    assert_eq!(drained(heap), [-12, -5, 1, 2, 12, 99]);
}

#[test]
fn four_tops_are_one() {
    let heap = fixture();
    assert_eq!(heap.top(), Some((-12, slot_of(-12))));
    assert_eq!(heap.key(slot_of(-12)), Some(-12));
}

#[test]
fn display_sorted_shows_the_low_before_the_high() {
    let shown = format!("{:?}", drained(fixture()));
    assert!(shown.find("-7").unwrap() < shown.find("99").unwrap());
}
