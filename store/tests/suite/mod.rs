//! The conformance suite: programs that hold every implementation of the store port to its text. `tests/memory.rs` runs them against the
//! model, `tests/etcd.rs` against the real etcd.

// Each test binary uses its own part of the helpers.
#![allow(dead_code)]

pub mod gang;
pub mod kv;
pub mod learn;
pub mod lease;
pub mod list;
pub mod moves;
pub mod sample;
pub mod watch;

use async_trait::async_trait;
use shoal_store::port::{
    Change, KeyRange, KeyValue, LeaseId, Op, Revision, Store, Txn, TxnReply, Watch, WatchItem,
};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// What a program may wait for anything.
const DEADLINE: Duration = Duration::from_secs(30);

/// What a store cannot be asked for by the port.
#[async_trait]
pub trait Control: Send + Sync {
    /// Compacts up to a revision.
    async fn compact(&self, revision: Revision);
    /// Lets this much time pass, where time does not pass by itself.
    async fn let_pass(&self, time: Duration);
}

/// A fresh, empty store and its controls.
pub struct Bench {
    pub store: Arc<dyn Store>,
    pub control: Box<dyn Control>,
}

impl Bench {
    pub async fn txn(&self, then: Vec<Op>) -> TxnReply {
        self.store.txn(Txn { then, ..Txn::default() }).await.expect("plain transaction")
    }
    pub async fn put(&self, key: &str, value: &str) -> Revision {
        self.txn(vec![put(key, value)]).await.revision
    }
    pub async fn delete(&self, key: &str) -> Revision {
        self.txn(vec![Op::Delete(key.to_owned())]).await.revision
    }
    pub async fn get(&self, key: &str) -> Option<KeyValue> {
        self.store.get(key).await.expect("get").0
    }
    pub async fn watch(&self, ranges: &[&str], from: Revision) -> Box<dyn Watch> {
        let ranges = ranges.iter().map(|prefix| KeyRange::prefix(prefix)).collect();
        self.store.watch(ranges, from).await.expect("watch")
    }
}

pub fn put(key: &str, value: &str) -> Op {
    Op::Put { key: key.to_owned(), value: value.into(), lease: None }
}

pub fn put_leased(key: &str, lease: LeaseId) -> Op {
    Op::Put { key: key.to_owned(), value: Vec::new(), lease: Some(lease) }
}

/// Fails with what it waited for, instead of hanging.
pub async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(DEADLINE, wait).await;
    waited.unwrap_or_else(|_| panic!("waited {} s for {what}", DEADLINE.as_secs()))
}

/// The next item that is more than a sign of life.
pub async fn next_item(watch: &mut dyn Watch) -> WatchItem {
    within("a watch item", async {
        loop {
            match watch.next().await {
                WatchItem::Progress(_) => {}
                item => return item,
            }
        }
    })
    .await
}

/// At least `count` changes, with the items that they came in.
pub async fn next_changes(watch: &mut dyn Watch, count: usize) -> Vec<Vec<Change>> {
    let mut items = Vec::new();
    let mut have = 0;
    while have < count {
        match next_item(watch).await {
            WatchItem::Changes { changes, revision } => {
                assert_eq!(revision_of(changes.last().expect("never empty")), revision);
                have += changes.len();
                items.push(changes);
            }
            other => panic!("changes expected, got {other:?}"),
        }
    }
    items
}

pub fn revision_of(change: &Change) -> Revision {
    match change {
        Change::Put(kv) => kv.mod_revision,
        Change::Delete { revision, .. } => *revision,
    }
}

pub fn key_of(change: &Change) -> &str {
    match change {
        Change::Put(kv) => &kv.key,
        Change::Delete { key, .. } => key,
    }
}

/// One test for each program, against the bench that `$start` makes.
#[allow(unused_macros)]
macro_rules! conformance {
    ($start:path) => {
        conformance!(@ $start;
            kv::a_put_sets_both_revisions_and_a_change_only_the_second,
            kv::a_compare_with_zero_means_absent,
            kv::a_failed_compare_takes_the_other_branch_and_writes_nothing,
            kv::a_nested_transaction_fails_alone,
            kv::nested_compares_see_the_state_before_the_whole,
            kv::reads_in_a_transaction_see_its_writes,
            kv::two_writes_of_one_key_are_refused,
            kv::a_delete_of_nothing_makes_no_revision,
            kv::too_many_operations_and_too_many_bytes_are_too_large,
            kv::stale_reads_keep_the_order_asked_for,
            kv::a_key_that_must_exist_may_have_any_revision,
            kv::a_range_is_deleted_as_one,
            list::an_old_revision_shows_the_old_state,
            list::limits_order_and_projections,
            list::a_list_longer_than_a_page_is_whole_and_at_one_revision,
            list::compacted_and_future_revisions_are_refused,
            watch::a_watch_from_an_old_revision_replays_all,
            watch::changes_of_one_revision_come_in_one_item,
            watch::thousands_of_revisions_come_in_order,
            watch::two_ranges_on_one_watch_deliver_both_and_nothing_else,
            watch::a_watch_from_a_compacted_revision_is_lost_for_ever,
            watch::a_dropped_next_loses_nothing,
            watch::a_watch_without_range_or_revision_is_refused,
            lease::an_expired_lease_deletes_its_keys_in_one_revision,
            lease::a_renewed_lease_lives_on,
            lease::a_dead_lease_is_not_renewed,
            lease::a_put_with_a_dead_lease_refuses_the_whole_transaction,
            lease::a_revoke_deletes_the_keys_and_may_be_repeated,
            moves::a_task_of_several_nodes_starts_on_all_of_them_or_on_none,
            moves::an_offer_is_taken_back_or_has_become_a_start,
            moves::the_widest_task_starts_among_a_full_batch,
            moves::a_life_leaves_one_status_key_at_each_step,
            moves::of_sixteen_stealers_one_wins,
            moves::a_lost_race_costs_only_its_own_move,
            moves::a_guard_holds_off_the_dead_and_the_hasty,
            moves::a_full_batch_is_accepted,
            moves::an_unknown_outcome_is_decided_by_reading_back,
            gang::a_member_tells_the_others_once_and_the_first_wins,
            gang::many_keys_are_told_at_once_and_each_is_judged_alone,
            gang::what_members_told_goes_with_their_attempt,
            gang::an_attempt_that_begins_again_begins_with_nothing,
            learn::two_nodes_that_learn_of_one_name_lose_nothing,
            learn::names_go_for_others_unless_they_have_learned_meanwhile,
            learn::a_record_of_a_newer_program_is_left_as_it_is,
        );
    };
    (@ $start:path; $($module:ident :: $program:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $program() {
                let bench = $start().await;
                suite::$module::$program(&bench).await;
            }
        )*
    };
}
