//! How long a name takes, learned by the nodes on which its tasks ran and known to all, on a cluster of three nodes.

use anyhow::{Result, ensure};
use shoal_proto::v1::{State, TaskSpec};
use shoal_tests::case;
use shoal_tests::cluster::{Cluster, Options};
use shoal_tests::tasks::sh;
use shoal_tests::{suite, wait};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    suite::run(
        Options::default(),
        vec![case!(shared, what_ran_on_one_node_is_expected_by_all_and_stays_as_it_was_submitted)],
    )
}

fn named(name: &str, script: &str) -> TaskSpec {
    TaskSpec { name: name.to_owned(), ..sh(script) }
}

async fn what_ran_on_one_node_is_expected_by_all_and_stays_as_it_was_submitted(
    cluster: Arc<Cluster>,
) -> Result<()> {
    let name = "unit tests/{quick} 100%";
    let first = cluster.api(0).submit(named(name, "sleep 2")).await?;
    let failed = cluster.api(0).submit(named("fails", "sleep 1; exit 1")).await?;
    cluster.api(0).wait_all(&[first.clone(), failed], SOON).await?;
    for node in 0..cluster.nodes().len() {
        let expected = wait::until("the name to be known", SOON, async || {
            let task = cluster.api(node).submit(named(name, "true")).await?;
            let task = cluster.api(node).get(&task).await?;
            ensure!(task.expected_ms > 0, "nothing is expected of it");
            Ok(task)
        })
        .await?;
        ensure!((1_000..10_000).contains(&expected.expected_ms), "{expected:?}");
        ensure!(expected.expected_from >= 1, "{expected:?}");
        let ended = cluster.api(0).wait_state(&expected.id, State::Complete, SOON).await?;
        ensure!(ended.expected_ms == expected.expected_ms, "{ended:?}");
    }
    let first = cluster.api(1).get(&first).await?;
    ensure!(first.expected_ms == 0, "nothing was known then: {first:?}");
    let fails = cluster.api(1).submit(named("fails", "true")).await?;
    let fails = cluster.api(1).get(&fails).await?;
    ensure!(fails.expected_ms == 0, "a failure teaches nothing: {fails:?}");
    Ok(())
}
