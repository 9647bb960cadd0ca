//! What becomes of logs: their times, their compression after the end, and the copy that outlives the loss of their node.

use anyhow::{Context, Result, bail, ensure};
use shoal_proto::v1::{LogRequest, Task, TaskSpec};
use shoal_tests::api::exit_code;
use shoal_tests::case;
use shoal_tests::cluster::{Cluster, Options};
use shoal_tests::node::Node;
use shoal_tests::suite;
use shoal_tests::tasks::{sh, with_cpu};
use shoal_tests::wait;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(30);
/// From a call to its refusal where a log cannot be had (P11).
const REFUSAL_LIMIT: Duration = Duration::from_secs(2);
/// The cap of a log in these tests.
const CAP: usize = 4 << 20;

fn main() -> ExitCode {
    let flags = |copies: &str| {
        ["--log-max", "4MiB", "--log-copies-max", copies].iter().map(|flag| (*flag).to_owned()).collect()
    };
    let options = Options { flags: flags("1GiB"), ..Options::default() };
    let without = Options { flags: flags("0"), ..Options::default() };
    suite::run(
        options.clone(),
        vec![
            case!(shared, lines_have_the_times_at_which_they_came),
            case!(shared, a_log_reads_the_same_while_it_is_compressed),
            case!(shared, a_copy_is_made_again_after_its_holder_has_lost_it),
            case!(own options, logs_outlive_the_node_that_ran_their_tasks),
            case!(own without, a_log_whose_only_disk_is_gone_is_unavailable_within_two_seconds),
        ],
    )
}

/// A log of many kilobytes that nobody could make up.
fn chatter(lines: usize) -> TaskSpec {
    sh(&format!(
        "i=0; while [ $i -lt {lines} ]; do echo \"line $i of a log that goes on for a while\"; i=$((i+1)); done; echo last >&2"
    ))
}

fn chatter_text(lines: usize) -> String {
    let line = |n: usize| format!("line {n} of a log that goes on for a while\n");
    (0..lines).map(line).collect::<String>() + "last\n"
}

fn node_of<'a>(cluster: &'a Cluster, task: &Task) -> Result<(usize, &'a Node)> {
    let name = &task.attempts.last().context("a task that ran has an attempt")?.node_name;
    let index = cluster.index_of(name)?;
    Ok((index, cluster.node(index)))
}

/// The file of this name in the directory of the task's first attempt.
fn file_of(node: &Node, task: &str, name: &str) -> PathBuf {
    node.data_dir().join("attempts").join(format!("{task}.1")).join(name)
}

fn copy_of(node: &Node, task: &str) -> PathBuf {
    node.data_dir().join("log-copies").join(format!("{task}.1"))
}

/// Waits until a node has a copy of the log of this task's first attempt; all that have one. A peer that was slow to say so may have one beside another's.
async fn copied(cluster: &Cluster, task: &str) -> Result<Vec<usize>> {
    wait::until(&format!("a copy of the log of {task}"), SOON, async || {
        let holders: Vec<usize> =
            (0..cluster.nodes().len()).filter(|index| copy_of(cluster.node(*index), task).exists()).collect();
        if holders.is_empty() { bail!("nobody has one") } else { Ok(holders) }
    })
    .await
}

async fn lines_have_the_times_at_which_they_came(cluster: Arc<Cluster>) -> Result<()> {
    let id = cluster.api(0).submit(sh("echo first; sleep 1; echo second; sleep 1; echo third")).await?;
    cluster.api(0).wait_end(&id, SOON).await?;
    let request = LogRequest { task: id.clone(), timestamps: true, ..Default::default() };
    let mut times = Vec::new();
    let mut stream = cluster.api(1).raw().log(request.clone()).await?.into_inner();
    while let Some(chunk) = stream.message().await? {
        times.extend(chunk.times);
    }
    let offsets: Vec<u64> = times.iter().map(|time| time.offset).collect();
    ensure!(offsets == [0, 6, 13], "{times:?}");
    for pair in times.windows(2) {
        let apart = pair[1].at_ms - pair[0].at_ms;
        ensure!((950..10_000).contains(&apart), "a second apart by the clock, {apart} ms by the index");
    }
    let now = wall_ms()?;
    ensure!((0..60_000).contains(&(now - times[2].at_ms)), "{times:?} seen at {now}");
    let since = LogRequest { since_ms: times[1].at_ms, timestamps: false, ..request.clone() };
    ensure!(cluster.api(2).log_of(since).await?.text() == "second\nthird\n", "since the second line");
    // The index is right to 50 ms.
    let after = LogRequest { since_ms: now + 1_000, ..request };
    ensure!(cluster.api(2).log_of(after).await?.text().is_empty(), "nothing came after the end");
    Ok(())
}

/// What a reader's watch shows: what the times of a log are for.
#[allow(clippy::disallowed_methods)]
fn wall_ms() -> Result<i64> {
    Ok(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis() as i64)
}

async fn a_log_reads_the_same_while_it_is_compressed(cluster: Arc<Cluster>) -> Result<()> {
    let id = cluster.api(0).submit(chatter(20_000)).await?;
    let expected = chatter_text(20_000);
    let task = cluster.api(0).wait_end(&id, SOON).await?;
    ensure!(exit_code(&task) == Some(0), "{task:?}");
    let (index, node) = node_of(&cluster, &task)?;
    // Read without a pause from all nodes until it is compressed, and once more.
    let packed = file_of(node, &id, "log.zst");
    for reads in 0.. {
        let done = packed.exists() && !file_of(node, &id, "log").exists();
        for reader in 0..3 {
            let log = cluster.api(reader).log(&id, false).await?;
            ensure!(
                log.end && log.text() == expected,
                "read {reads} from {reader}: {} bytes",
                log.bytes.len()
            );
        }
        if done {
            break;
        }
        ensure!(reads < 1000, "it is not compressed");
    }
    ensure!(!file_of(node, &id, "log.index").exists(), "the index is in it");
    let bytes = std::fs::metadata(&packed)?.len() as usize;
    ensure!(bytes < expected.len() / 5, "{bytes} bytes for {}", expected.len());
    let tail = LogRequest { task: id.clone(), tail_lines: 2, ..Default::default() };
    let last_two = "line 19999 of a log that goes on for a while\nlast\n";
    ensure!(cluster.api(index).log_of(tail).await?.text() == last_two, "its last lines");
    let part = LogRequest { task: id.clone(), offset: 500_000, ..Default::default() };
    ensure!(
        cluster.api((index + 1) % 3).log_of(part).await?.text() == expected[500_000..],
        "from the middle"
    );
    Ok(())
}

async fn a_copy_is_made_again_after_its_holder_has_lost_it(cluster: Arc<Cluster>) -> Result<()> {
    let id = cluster.api(0).submit(sh("echo kept")).await?;
    let task = cluster.api(0).wait_end(&id, SOON).await?;
    let (index, node) = node_of(&cluster, &task)?;
    let holders = copied(&cluster, &id).await?;
    ensure!(!holders.contains(&index), "a copy beside the original is none");
    for holder in holders {
        std::fs::remove_file(copy_of(cluster.node(holder), &id))?;
    }
    // The pass begins a while after a start.
    node.stop().await?;
    node.start()?;
    node.ready(SOON).await?;
    let limit = Duration::from_secs(100);
    wait::until("the copy to be made again", limit, async || {
        let again = (0..3).any(|index| copy_of(cluster.node(index), &id).exists());
        ensure!(again, "it is not there");
        Ok(())
    })
    .await
}

/// One of each kind on each node: nothing written, a little, much, more than the cap.
fn kinds(cpu_milli: u32) -> Vec<TaskSpec> {
    let bomb = sh("yes 'a line that comes again and again' | head -c 8388608");
    let specs = [sh("exit 0"), sh("echo little; echo more >&2"), chatter(20_000), bomb];
    specs.into_iter().cycle().take(24).map(|spec| with_cpu(spec, cpu_milli)).collect()
}

async fn logs_outlive_the_node_that_ran_their_tasks(cluster: Arc<Cluster>) -> Result<()> {
    let leader = cluster.leader().await?;
    let (victim, reader) = ((leader + 1) % 3, (leader + 2) % 3);
    let api = cluster.api(reader);
    let ids = api.submit_many(kinds(500)).await?;
    let tasks = api.wait_all(&ids, Duration::from_secs(60)).await?;
    let mut before = Vec::new();
    for id in &ids {
        let log = api.log(id, false).await?;
        ensure!(log.end, "the log of an ended task ends");
        let (ran_on, _) = node_of(&cluster, &tasks[id])?;
        let holders = copied(&cluster, id).await?;
        ensure!(!holders.contains(&ran_on), "a copy beside the original is none");
        before.push((id, ran_on, log));
    }
    let hit = before.iter().filter(|(_, ran_on, _)| *ran_on == victim).count();
    ensure!(hit >= 3, "{hit} tasks ran on the node to be lost");
    ensure!(before.iter().any(|(_, _, log)| log.truncated && log.bytes.len() > CAP), "one was cut");

    cluster.node(victim).crash()?;
    std::fs::remove_dir_all(cluster.node(victim).data_dir().join("attempts"))?;
    // At once, when its lease still lives, and again when all know that it is gone.
    for round in ["at once", "later"] {
        for (id, ran_on, log) in &before {
            let asked = Instant::now();
            for index in [reader, leader] {
                let now = cluster
                    .api(index)
                    .log(id, false)
                    .await
                    .with_context(|| format!("{round}: {id}, ran on {ran_on}"))?;
                ensure!(
                    now == *log,
                    "{round}: {id} read from {index}: {} bytes, were {}",
                    now.bytes.len(),
                    log.bytes.len()
                );
            }
            ensure!(asked.elapsed() < 2 * REFUSAL_LIMIT + SOON, "{round}: {:?}", asked.elapsed());
        }
        let (id, _, log) = before
            .iter()
            .find(|(_, ran_on, log)| *ran_on == victim && log.bytes.len() > 100_000)
            .context("a large one")?;
        let tail = LogRequest { task: (*id).clone(), tail_lines: 2, follow: true, ..Default::default() };
        let tail = api.log_of(tail).await?;
        ensure!(
            tail.end && log.bytes.ends_with(&tail.bytes) && !tail.bytes.is_empty(),
            "its last lines: {:?}",
            tail.text()
        );
        wait::until("the lost node to be gone", SOON, async || {
            ensure!(api.nodes().await?.len() == 2, "it is seen");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

async fn a_log_whose_only_disk_is_gone_is_unavailable_within_two_seconds(
    cluster: Arc<Cluster>,
) -> Result<()> {
    let leader = cluster.leader().await?;
    let (victim, reader) = ((leader + 1) % 3, (leader + 2) % 3);
    let api = cluster.api(reader);
    let ids = api.submit_many((0..24).map(|_| with_cpu(sh("echo alone; sleep 0.3"), 1000)).collect()).await?;
    let tasks = api.wait_all(&ids, SOON).await?;
    let hit = ids.iter().find(|id| node_of(&cluster, &tasks[*id]).is_ok_and(|(ran_on, _)| ran_on == victim));
    let hit = hit.context("none ran on the node to be lost")?;
    cluster.node(victim).crash()?;
    for round in ["at once", "later"] {
        for follow in [false, true] {
            let asked = Instant::now();
            let refused =
                api.log(hit, follow).await.err().with_context(|| format!("{round}: nobody has it"))?;
            let took = asked.elapsed();
            let code = refused.downcast_ref::<tonic::Status>().map(tonic::Status::code);
            ensure!(code == Some(tonic::Code::Unavailable), "{round}: {refused:#}");
            ensure!(took <= REFUSAL_LIMIT, "{round}: refused after {took:?}");
        }
        wait::until("the lost node to be gone", SOON, async || {
            ensure!(api.nodes().await?.len() == 2, "it is seen");
            Ok(())
        })
        .await?;
    }
    Ok(())
}
