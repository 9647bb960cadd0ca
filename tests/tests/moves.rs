//! Goal: nodes without containers, as `shoal-bench moves` measures them, move real tasks through a real etcd: each ends exactly once.

use anyhow::Result;
use shoal_tests::moves::bare::{self, Bare};
use shoal_tests::moves::cluster::{self, Trial};
use shoal_tests::moves::members::Members;
use shoal_tests::moves::strawman::Choice;
use std::time::Duration;

const TASKS: usize = 200;
const LIMIT: Duration = Duration::from_secs(60);

fn trial(choice: Choice) -> Trial {
    Trial { nodes: 3, slots: 4, tasks: TASKS, mean_ms: 10, choice, limit: LIMIT }
}

/// That each ended after one attempt is looked up in the records by the measurement itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_end_each_of_two_hundred_tasks_exactly_once() -> Result<()> {
    let mut members = Members::start(1).await?;
    for choice in [Choice::Plan, Choice::First, Choice::RandomOf32] {
        let outcome = cluster::measure(&mut members, trial(choice)).await?;
        assert_eq!(outcome.counts.won, TASKS as u64, "{choice:?}");
        // A steal and a finish each; what was lost may have been seen to be before it was sent.
        let (least, lost, moves) = (2 * TASKS as u64, outcome.counts.lost, outcome.counts.moves);
        assert!((least..=least + lost).contains(&moves), "{choice:?}: {moves} moves, {lost} lost");
    }
    members.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bare_client_writes_the_same_and_its_watchers_see_it() -> Result<()> {
    let mut members = Members::start(1).await?;
    let bare = Bare { connections: 3, batch: 40, reads: true, tasks: TASKS, watchers: 3, limit: LIMIT };
    let outcome = bare::measure(&mut members, bare).await?;
    assert_eq!(outcome.counts.moves, 2 * TASKS as u64);
    members.stop().await;
    Ok(())
}
