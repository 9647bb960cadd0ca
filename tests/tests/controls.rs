//! What people do to the queue and the nodes beside priorities and locks, on a cluster of three nodes: moves, nodes that are kept for people, any node for
//! oneself, and the wait for a node to be empty.

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use shoal_proto::v1::move_task_request::To;
use shoal_proto::v1::{
    LockAnyRequest, LockNodeRequest, MoveTaskRequest, Node, ReserveRequest, State, TaskSpec,
    UnlockNodeRequest, WaitDrainedRequest, WhyRequest,
};
use shoal_tests::api::{Api, is_terminal};
use shoal_tests::case;
use shoal_tests::cluster::{Cluster, Options};
use shoal_tests::suite;
use shoal_tests::tasks::{sh, with_cpu, witness};
use shoal_tests::wait;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);
/// Many starts and ends of short tasks.
const A_WHILE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    suite::run(
        Options::default(),
        vec![
            case!(own one_slot(), a_move_changes_what_starts_next),
            case!(shared, what_was_moved_is_next_on_whichever_node_comes_free),
            case!(shared, a_node_that_is_kept_for_people_stays_idle_until_it_is_not),
            case!(shared, who_asks_for_any_node_gets_one_that_is_kept),
            case!(shared, a_drained_node_has_nothing_and_starts_nothing_once_the_wait_has_answered),
            case!(own Options::default(), the_wait_does_not_answer_for_a_node_that_has_not_seen_the_lock),
        ],
    )
}

fn one_slot() -> Options {
    Options { nodes: 1, cpus: 1, ..Options::default() }
}

fn whole(cluster: &Cluster, spec: TaskSpec) -> TaskSpec {
    with_cpu(spec, cluster.options().cpus * 1000)
}

/// Tasks that take a whole node each, until they are canceled.
async fn fill(cluster: &Cluster) -> Result<Vec<String>> {
    let fillers = (0..cluster.nodes().len()).map(|_| whole(cluster, sh("sleep 60"))).collect();
    let ids = cluster.api(0).submit_many(fillers).await?;
    for id in &ids {
        cluster.api(0).wait_state(id, State::Running, SOON).await?;
    }
    Ok(ids)
}

async fn waiting(cluster: &Cluster, count: usize) -> Result<Vec<String>> {
    cluster.api(0).submit_many((0..count).map(|_| whole(cluster, witness(200))).collect()).await
}

async fn move_to(api: &Api, task: &str, to: To) -> Result<()> {
    let request = MoveTaskRequest { task: task.to_owned(), to: Some(to), by: "ann".to_owned() };
    api.raw().move_task(request).await?;
    Ok(())
}

/// The tasks' ids in the order of their first signs of life.
async fn order_of(cluster: &Cluster, ids: &[String]) -> Result<Vec<String>> {
    cluster.api(0).wait_all(ids, Duration::from_secs(60)).await?;
    let mut lives: Vec<_> = cluster.lives()?.into_iter().filter(|life| ids.contains(&life.task)).collect();
    lives.sort_by_key(|life| life.first);
    Ok(lives.into_iter().map(|life| life.task).collect())
}

async fn cancel_all(cluster: &Cluster, ids: &[String]) -> Result<()> {
    for id in ids {
        // It may have ended by itself.
        let _ = cluster.api(0).cancel(id, "make room").await;
    }
    cluster.api(0).wait_all(ids, SOON).await?;
    Ok(())
}

async fn a_move_changes_what_starts_next(cluster: Arc<Cluster>) -> Result<()> {
    let api = cluster.api(0);
    let fillers = fill(&cluster).await?;
    let ids = waiting(&cluster, 5).await?;
    move_to(api, &ids[4], To::First(true)).await?;
    move_to(api, &ids[0], To::Last(true)).await?;
    move_to(api, &ids[3], To::Before(ids[2].clone())).await?;
    let why = api.raw().why(WhyRequest { task: ids[0].clone() }).await?.into_inner();
    ensure!(why.summary.ends_with("; ann has moved it last") && why.ahead == 4, "{why:?}");
    cancel_all(&cluster, &fillers).await?;
    let order = order_of(&cluster, &ids).await?;
    let expected = [4, 1, 3, 2, 0].map(|n: usize| ids[n].clone());
    // Of those that were not moved, equals may start in any order: only the one that stands before none of them is left.
    ensure!(order[0] == expected[0] && order[4] == expected[4], "{order:?}, not {expected:?}");
    let at = |id: &String| order.iter().position(|other| other == id);
    ensure!(at(&ids[1]) < at(&ids[3]) && at(&ids[3]) < at(&ids[2]), "{order:?}, not {expected:?}");
    Ok(())
}

async fn what_was_moved_is_next_on_whichever_node_comes_free(cluster: Arc<Cluster>) -> Result<()> {
    for filler in 0..3 {
        let fillers = fill(&cluster).await?;
        let ids = waiting(&cluster, 8).await?;
        move_to(cluster.api(1), &ids[7], To::First(true)).await?;
        for reader in 0..3 {
            wait::until("every node to see the move", SOON, async || {
                let why =
                    cluster.api(reader).raw().why(WhyRequest { task: ids[7].clone() }).await?.into_inner();
                ensure!(why.ahead == 0 && why.state() == State::Queued, "{why:?}");
                Ok(())
            })
            .await?;
        }
        cluster.api(0).cancel(&fillers[filler], "make room").await?;
        let order = order_of(&cluster, &ids).await?;
        ensure!(order[0] == ids[7], "{} first, not {}", order[0], ids[7]);
        cancel_all(&cluster, &fillers).await?;
    }
    Ok(())
}

async fn reserve(cluster: &Cluster, nodes: u32) -> Result<()> {
    let request = ReserveRequest { nodes, label: String::new(), by: "ann".to_owned() };
    cluster.api(0).raw().reserve(request).await?;
    for reader in 0..cluster.nodes().len() {
        wait::until("every node to see the reserve", SOON, async || {
            let seen = cluster.api(reader).status().await?.reserve.map_or(0, |reserve| reserve.nodes);
            ensure!(seen == nodes, "it sees {seen}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

async fn kept(cluster: &Cluster, reader: usize) -> Result<Vec<String>> {
    let nodes = cluster.api(reader).nodes().await?;
    Ok(nodes.into_iter().filter(|node| node.kept).map(|node| node.name).collect())
}

/// Where tasks of a whole node have run.
async fn ran_on(cluster: &Cluster, count: usize) -> Result<Vec<String>> {
    let ids = cluster.api(1).submit_many((0..count).map(|_| whole(cluster, witness(40))).collect()).await?;
    let tasks = cluster.api(0).wait_all(&ids, Duration::from_secs(60)).await?;
    tasks.values().map(|task| Ok(task.attempts.last().context("it ran")?.node_name.clone())).collect()
}

async fn a_node_that_is_kept_for_people_stays_idle_until_it_is_not(cluster: Arc<Cluster>) -> Result<()> {
    reserve(&cluster, 1).await?;
    let chosen = kept(&cluster, 0).await?;
    ensure!(chosen.len() == 1, "{chosen:?}");
    for reader in 1..3 {
        ensure!(kept(&cluster, reader).await? == chosen, "node {reader} keeps another one");
    }
    let names = ran_on(&cluster, 24).await?;
    ensure!(!names.contains(&chosen[0]), "{chosen:?} took tasks: {names:?}");
    reserve(&cluster, 0).await?;
    let names = ran_on(&cluster, 40).await?;
    ensure!(names.contains(&chosen[0]), "{chosen:?} takes tasks again: {names:?}");
    Ok(())
}

async fn lock_any(api: &Api, nodes: u32) -> Result<Vec<String>, tonic::Status> {
    let request = LockAnyRequest {
        request_id: uuid::Uuid::now_v7().to_string(),
        nodes,
        by: "ann".to_owned(),
        for_ms: 600_000,
        ..LockAnyRequest::default()
    };
    Ok(api.raw().lock_any(request).await?.into_inner().nodes.into_iter().map(|node| node.node).collect())
}

async fn unlock(cluster: &Cluster, node: &str) -> Result<()> {
    let request = UnlockNodeRequest { node: node.to_owned(), by: "ann".to_owned(), force: false };
    cluster.api(0).raw().unlock_node(request).await?;
    for reader in 0..cluster.nodes().len() {
        wait::until("every node to see that it is unlocked", SOON, async || {
            let node = seen(cluster, reader, node).await?;
            ensure!(node.lock.is_none(), "it is still locked");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

async fn seen(cluster: &Cluster, reader: usize, name: &str) -> Result<Node> {
    cluster.api(reader).nodes().await?.into_iter().find(|node| node.name == name).context("it lives")
}

async fn who_asks_for_any_node_gets_one_that_is_kept(cluster: Arc<Cluster>) -> Result<()> {
    reserve(&cluster, 1).await?;
    let chosen = kept(&cluster, 2).await?;
    let locked = lock_any(cluster.api(2), 1).await?;
    ensure!(locked == chosen, "{locked:?}, not {chosen:?}");
    // It is the person's now, so no other is kept for people.
    wait::until("nobody to be kept", SOON, async || {
        ensure!(kept(&cluster, 1).await?.is_empty(), "somebody is");
        Ok(())
    })
    .await?;
    match lock_any(cluster.api(1), 3).await {
        Ok(names) => bail!("{names:?} were locked"),
        Err(refused) => ensure!(refused.message().starts_with("2 nodes could be locked, not 3"), "{refused}"),
    }
    unlock(&cluster, &locked[0]).await?;
    reserve(&cluster, 0).await
}

async fn lock(cluster: &Cluster, over: usize, node: &str) -> Result<()> {
    let (node, by) = (node.to_owned(), "ann".to_owned());
    let request = LockNodeRequest { node, by, ..LockNodeRequest::default() };
    cluster.api(over).raw().lock_node(request).await?;
    Ok(())
}

async fn wait_drained(api: Api, node: String) -> Result<()> {
    loop {
        let request = WaitDrainedRequest { node: node.clone() };
        if api.raw().wait_drained(request).await?.into_inner().drained {
            return Ok(());
        }
    }
}

/// What runs on the node, as the records say.
async fn running_on(cluster: &Cluster, node: &str) -> Result<usize> {
    let tasks = cluster.api(0).list().await?;
    let there = |task: &shoal_proto::v1::Task| {
        task.state() == State::Running
            && task.attempts.last().is_some_and(|attempt| attempt.node_name == node)
    };
    Ok(tasks.iter().filter(|task| there(task)).count())
}

async fn a_drained_node_has_nothing_and_starts_nothing_once_the_wait_has_answered(
    cluster: Arc<Cluster>,
) -> Result<()> {
    for round in 0..6 {
        let node = cluster.nodes()[round % 3].name().to_owned();
        // So many that steals are under way all the time.
        let specs = (0..400).map(|_| with_cpu(sh("exit 0"), 1_000)).collect();
        let ids = cluster.api((round + 1) % 3).submit_many(specs).await?;
        tokio::time::sleep(Duration::from_millis(100 * round as u64)).await;
        lock(&cluster, (round + 1) % 3, &node).await?;
        tokio::time::timeout(SOON, wait_drained(cluster.api((round + 2) % 3).clone(), node.clone()))
            .await??;
        let attempts = |tasks: &[shoal_proto::v1::Task]| {
            let all = tasks.iter().flat_map(|task| &task.attempts);
            all.filter(|attempt| attempt.node_name == node).count()
        };
        let before = attempts(&cluster.api(0).list().await?);
        ensure!(running_on(&cluster, &node).await? == 0, "round {round}: something runs on {node}");
        let open = cluster.api(0).list().await?.iter().filter(|task| !is_terminal(task.state())).count();
        tokio::time::sleep(A_WHILE).await;
        let after = attempts(&cluster.api(0).list().await?);
        ensure!(
            before == after,
            "round {round}: {} starts on {node} after it, {open} were open",
            after - before
        );
        unlock(&cluster, &node).await?;
        cluster.api(0).wait_all(&ids, Duration::from_secs(60)).await?;
    }
    Ok(())
}

async fn the_wait_does_not_answer_for_a_node_that_has_not_seen_the_lock(cluster: Arc<Cluster>) -> Result<()> {
    let node = cluster.node(1);
    // Nothing runs there, and nothing says that a start is not under way: it stands still.
    node.signal_server(Signal::STOP)?;
    lock(&cluster, 0, node.name()).await?;
    let mut waiting = Box::pin(wait_drained(cluster.api(2).clone(), node.name().to_owned()));
    let early = tokio::time::timeout(Duration::from_secs(2), &mut waiting).await;
    node.signal_server(Signal::CONT)?;
    ensure!(early.is_err(), "it answered for a node that stands still");
    tokio::time::timeout(SOON, waiting).await??;
    unlock(&cluster, node.name()).await?;

    // A node that is gone says nothing any more; what it had is dead and runs elsewhere before the wait answers.
    let specs = (0..3).map(|_| whole(&cluster, sh("sleep 5"))).collect();
    let ids = cluster.api(0).submit_many(specs).await?;
    for id in &ids {
        cluster.api(0).wait_state(id, State::Running, SOON).await?;
    }
    lock(&cluster, 0, node.name()).await?;
    let waiting = wait_drained(cluster.api(2).clone(), node.name().to_owned());
    let crash = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        node.crash()
    };
    let waited = tokio::time::timeout(Duration::from_secs(40), waiting);
    let (waited, crashed) = tokio::join!(waited, crash);
    crashed?;
    waited??;
    ensure!(running_on(&cluster, node.name()).await? == 0, "it has something still");
    cluster.api(0).wait_all(&ids, Duration::from_secs(60)).await?;
    Ok(())
}
