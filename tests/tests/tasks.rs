//! What becomes of tasks on a healthy cluster of three nodes: where they run, how they end, what their logs hold.

use anyhow::{Context, Result, ensure};
use shoal_proto::v1::{FailureKind, LogRequest, State, Task, TaskSpec, WatchRequest};
use shoal_tests::api::{exit_code, exit_signal};
use shoal_tests::case;
use shoal_tests::cluster::{Cluster, Options};
use shoal_tests::tasks::{command, sh, with_cpu, with_memory, witness};
use shoal_tests::{suite, witness as signs};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(15);

fn main() -> ExitCode {
    suite::run(
        Options::default(),
        vec![
            case!(shared, submitted_to_one_node_runs_on_another_and_the_third_shows_its_log),
            case!(shared, five_hundred_tasks_complete_once_each),
            case!(shared, exit_codes_and_signals_are_the_kernels),
            case!(shared, a_task_killed_for_lack_of_memory_is_flagged),
            case!(shared, a_command_that_does_not_exist_fails_and_has_no_exit_code),
            case!(shared, a_file_that_cannot_be_executed_fails_as_such),
            case!(shared, a_task_past_its_time_limit_fails_as_such),
            case!(shared, a_followed_log_ends_with_its_task),
            case!(shared, a_followed_log_never_waits_for_the_slow_reconcile),
            case!(shared, a_log_is_cut_at_its_cap_and_says_so),
            case!(shared, a_watch_shows_every_state_in_order),
            case!(shared, the_host_root_runs_the_hosts_own_programs_and_cannot_write_to_it),
            case!(shared, cores_in_use_never_exceed_what_nodes_offer),
        ],
    )
}

fn last_node(task: &Task) -> Result<&str> {
    Ok(&task.attempts.last().context("a task that ran has an attempt")?.node_name)
}

async fn submitted_to_one_node_runs_on_another_and_the_third_shows_its_log(
    cluster: Arc<Cluster>,
) -> Result<()> {
    // Each of them fills a node, so that each node has one.
    let whole_node = cluster.options().cpus * 1000;
    let specs = (0..3).map(|n| with_cpu(sh(&format!("echo task {n}; sleep 1")), whole_node)).collect();
    let ids = cluster.api(0).submit_many(specs).await?;
    let tasks = cluster.api(0).wait_all(&ids, SOON).await?;
    let nodes: BTreeSet<&str> = tasks.values().map(last_node).collect::<Result<_>>()?;
    ensure!(nodes.len() == 3, "three tasks of a whole node each ran on {nodes:?}");
    for (index, id) in ids.iter().enumerate() {
        let ran_on = cluster.index_of(last_node(&tasks[id])?)?;
        for reader in 0..3 {
            let log = cluster.api(reader).log(id, false).await?;
            ensure!(
                log.text() == format!("task {index}\n"),
                "from node {reader}, ran on {ran_on}: {:?}",
                log.text()
            );
            ensure!(log.end && !log.truncated, "the log of an ended task ends");
        }
    }
    Ok(())
}

async fn five_hundred_tasks_complete_once_each(cluster: Arc<Cluster>) -> Result<()> {
    let before = cluster.lives()?.len();
    let specs: Vec<TaskSpec> = (0..500).map(|_| witness(20)).collect();
    let ids = cluster.api(1).submit_many(specs).await?;
    ensure!(ids.iter().collect::<BTreeSet<_>>().len() == 500, "500 tasks have 500 ids");
    let tasks = cluster.api(2).wait_all(&ids, Duration::from_secs(60)).await?;
    for task in tasks.values() {
        ensure!(exit_code(task) == Some(0), "{task:?}");
        ensure!(task.attempts.len() == 1, "one attempt is enough on a healthy cluster: {task:?}");
    }
    let lives = cluster.lives()?;
    ensure!(lives.len() - before == 500, "500 tasks lived {} times", lives.len() - before);
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for life in &lives {
        ensure!(life.starts == 1 && life.ends == 1, "started or ended more than once: {life:?}");
        *count.entry(&life.node).or_default() += 1;
    }
    ensure!(count.len() == 3, "all three nodes took part: {count:?}");
    ensure!(signs::overlaps(&lives).is_empty(), "overlaps");
    Ok(())
}

async fn exit_codes_and_signals_are_the_kernels(cluster: Arc<Cluster>) -> Result<()> {
    let api = cluster.api(0);
    let codes = [0, 1, 2, 126, 127, 128, 137, 255];
    // Not 3: the shell itself ignores SIGQUIT.
    let signals = [1, 2, 6, 9, 10, 11, 13, 15];
    let by_code = codes.iter().map(|code| sh(&format!("exit {code}")));
    let by_signal = signals.iter().map(|signal| sh(&format!("kill -{signal} $$; sleep 5")));
    let ids = api.submit_many(by_code.chain(by_signal).collect()).await?;
    let tasks = api.wait_all(&ids, SOON).await?;
    for (id, code) in ids.iter().zip(codes) {
        let task = &tasks[id];
        ensure!(
            task.state() == State::Complete && exit_code(task) == Some(code),
            "exit {code} is shown as {task:?}"
        );
    }
    for (id, signal) in ids[codes.len()..].iter().zip(signals) {
        let task = &tasks[id];
        ensure!(exit_signal(task) == Some(signal), "signal {signal} is shown as {task:?}");
        ensure!(!task.exit.is_some_and(|exit| exit.oom_killed), "nobody ran out of memory: {task:?}");
    }
    Ok(())
}

async fn a_task_killed_for_lack_of_memory_is_flagged(cluster: Arc<Cluster>) -> Result<()> {
    let api = cluster.api(0);
    // tail keeps what it reads, and the last line of /dev/zero never ends.
    let hungry = with_memory(command(&["tail", "/dev/zero"]), 32 << 20);
    let modest = with_memory(sh("head -c 1000000 /dev/zero | tail -c 1 >/dev/null"), 32 << 20);
    let ids = api.submit_many(vec![hungry, modest]).await?;
    let tasks = api.wait_all(&ids, SOON).await?;
    let killed = &tasks[&ids[0]];
    ensure!(exit_signal(killed) == Some(9), "{killed:?}");
    ensure!(killed.exit.is_some_and(|exit| exit.oom_killed), "{killed:?}");
    let fine = &tasks[&ids[1]];
    ensure!(exit_code(fine) == Some(0) && !fine.exit.is_some_and(|exit| exit.oom_killed), "{fine:?}");
    Ok(())
}

async fn a_command_that_does_not_exist_fails_and_has_no_exit_code(cluster: Arc<Cluster>) -> Result<()> {
    fails_with(&cluster, command(&["no-such-program", "x"]), FailureKind::NotFound, "no-such-program")
        .await?;
    fails_with(&cluster, command(&["/no/such/path"]), FailureKind::NotFound, "/no/such/path").await
}

async fn a_file_that_cannot_be_executed_fails_as_such(cluster: Arc<Cluster>) -> Result<()> {
    fails_with(&cluster, command(&["/proc/uptime"]), FailureKind::NotExecutable, "/proc/uptime").await
}

async fn a_task_past_its_time_limit_fails_as_such(cluster: Arc<Cluster>) -> Result<()> {
    let spec =
        TaskSpec { time_limit_ms: 300, kill_grace_ms: 300, ..sh("trap '' TERM; while :; do sleep 1; done") };
    fails_with(&cluster, spec, FailureKind::TimeLimit, "300").await
}

async fn fails_with(cluster: &Cluster, spec: TaskSpec, kind: FailureKind, words: &str) -> Result<()> {
    let id = cluster.api(0).submit(spec).await?;
    let task = cluster.api(1).wait_state(&id, State::Failed, SOON).await?;
    let failure = task.failure.clone().context("a failed task says why")?;
    ensure!(failure.kind() == kind, "{failure:?}");
    ensure!(failure.message.contains(words), "the message names {words}: {:?}", failure.message);
    ensure!(task.exit.is_none(), "a failure has no exit status: {task:?}");
    ensure!(task.attempts.len() == 1, "what would fail everywhere is not tried again: {task:?}");
    Ok(())
}

async fn a_followed_log_ends_with_its_task(cluster: Arc<Cluster>) -> Result<()> {
    let id = cluster
        .api(0)
        .submit(sh("for i in 1 2 3 4 5; do echo line $i; sleep 0.2; done; echo oops >&2; exit 3"))
        .await?;
    let whole = "line 1\nline 2\nline 3\nline 4\nline 5\noops\n";
    let follow = |reader: usize| {
        let api = cluster.api(reader).clone();
        let id = id.clone();
        async move { api.log(&id, true).await }
    };
    let logs =
        tokio::time::timeout(SOON, futures::future::try_join3(follow(0), follow(1), follow(2))).await??;
    for log in [logs.0, logs.1, logs.2] {
        ensure!(log.text() == whole && log.end, "{log:?}");
    }
    // From an offset, and the last lines only.
    let from = LogRequest { task: id.clone(), offset: 7, ..Default::default() };
    ensure!(cluster.api(1).log_of(from).await?.text() == whole[7..], "the log from its seventh byte");
    let tail = LogRequest { task: id, tail_lines: 2, ..Default::default() };
    ensure!(cluster.api(2).log_of(tail).await?.text() == "line 5\noops\n", "the last two lines");
    Ok(())
}

/// A missed end shows only after the 10 s reconcile; that is easy to overlook in a longer wait.
async fn a_followed_log_never_waits_for_the_slow_reconcile(cluster: Arc<Cluster>) -> Result<()> {
    for n in 0..30 {
        let api = cluster.api(n % 3);
        let id = api.submit(sh("echo done")).await?;
        let followed = tokio::time::timeout(Duration::from_secs(5), api.log(&id, true)).await;
        let log = followed.with_context(|| format!("log {n} did not end with its task"))??;
        ensure!(log.text() == "done\n" && log.end, "{log:?}");
    }
    Ok(())
}

async fn a_log_is_cut_at_its_cap_and_says_so(cluster: Arc<Cluster>) -> Result<()> {
    // The cluster keeps 256 KiB; this task writes four times as much, without a single newline.
    let id = cluster.api(0).submit(sh("head -c 1048576 /dev/zero | tr '\\0' x")).await?;
    let task = cluster.api(0).wait_end(&id, SOON).await?;
    ensure!(exit_code(&task) == Some(0), "the cap does not end the task: {task:?}");
    let log = cluster.api(1).log(&id, false).await?;
    ensure!(log.truncated && log.end, "truncated {} end {}", log.truncated, log.end);
    // What is kept, then one line that says that more was written.
    let kept = log.bytes.iter().take_while(|byte| **byte == b'x').count();
    let rest = &log.text()[kept..];
    ensure!((128 << 10..=256 << 10).contains(&kept), "{kept} bytes are kept");
    ensure!(rest.len() < 100 && rest.trim().lines().count() <= 1, "after them: {rest:?}");
    Ok(())
}

async fn a_watch_shows_every_state_in_order(cluster: Arc<Cluster>) -> Result<()> {
    let id = cluster.api(0).submit(sh("sleep 0.5")).await?;
    let mut stream = cluster.api(2).raw().watch(WatchRequest { tasks: vec![id] }).await?.into_inner();
    let mut seen = Vec::new();
    let mut revision = 0;
    while seen.last() != Some(&State::Complete) {
        let event = tokio::time::timeout(SOON, stream.message())
            .await??
            .context("the stream goes on until the end")?;
        let state = event.task.context("an event has a task")?.state();
        ensure!(event.revision >= revision, "revisions go up");
        revision = event.revision;
        if seen.last() != Some(&state) {
            seen.push(state);
        }
    }
    let order = [State::Queued, State::Running, State::Complete];
    ensure!(order.ends_with(&seen), "{seen:?}");
    ensure!(seen.contains(&State::Running), "half a second is long enough to see it run: {seen:?}");
    Ok(())
}

async fn the_host_root_runs_the_hosts_own_programs_and_cannot_write_to_it(
    cluster: Arc<Cluster>,
) -> Result<()> {
    let script = "cat /etc/os-release && echo x >out && cat out && ! touch /usr/shoal-was-here 2>/dev/null";
    let spec = TaskSpec { root: "host".to_owned(), ..command(&["/bin/sh", "-c", script]) };
    let id = cluster.api(0).submit(with_memory(spec, 64 << 20)).await?;
    let task = cluster.api(0).wait_end(&id, SOON).await?;
    let log = cluster.api(0).log(&id, false).await?.text();
    ensure!(exit_code(&task) == Some(0), "{task:?}: {log}");
    let own = std::fs::read_to_string("/etc/os-release")?;
    ensure!(log == format!("{own}x\n"), "{log}");
    ensure!(!std::path::Path::new("/usr/shoal-was-here").exists(), "a task wrote to the host");
    Ok(())
}

async fn cores_in_use_never_exceed_what_nodes_offer(cluster: Arc<Cluster>) -> Result<()> {
    // Thirty tasks of 1.5 cores on three nodes of four: at most two on each at any time.
    let before: BTreeSet<String> = cluster.lives()?.into_iter().map(|life| life.task).collect();
    let ids = cluster.api(0).submit_many((0..30).map(|_| with_cpu(witness(200), 1500)).collect()).await?;
    cluster.api(0).wait_all(&ids, Duration::from_secs(60)).await?;
    let lives: Vec<_> = cluster.lives()?.into_iter().filter(|life| !before.contains(&life.task)).collect();
    for one in &lives {
        // Whoever is alive at one's first sign, itself included.
        let beside =
            lives.iter().filter(|o| o.node == one.node && o.first <= one.first && one.first < o.last);
        let count = beside.count().max(1);
        ensure!(count <= 2, "{count} tasks of 1.5 cores at once on {} which has 4", one.node);
    }
    Ok(())
}
