//! Members of a task of several nodes find each other's files, on real nodes: whatever one of them does in its own directory, whoever is restarted, and never those of another
//! attempt.

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use shoal_proto::v1::{Attempt, GangEnd, GangPart, LogRequest, State, Task, TaskSpec};
use shoal_tests::api::{Api, exit_code};
use shoal_tests::cluster::{Cluster, Options};
use shoal_tests::node::Node;
use shoal_tests::tasks::sh;
use shoal_tests::{case, host, suite, wait};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
/// Of a member that makes ten thousand files in a shell.
const FLOOD: Duration = Duration::from_secs(240);

/// Waits in the task for a file of the gang's, for a minute at most.
const AWAIT: &str = "await() { n=0; while [ ! -e \"$1\" ]; do n=$((n+1)); [ $n -lt 1200 ] || { echo no $1; exit 9; }; sleep 0.05; done; }; \
    cd $SHOAL_GANG_DIR; ";
/// Each member says a number,
const SAY: &str = "echo $((SHOAL_RANK * 10 + 1)) >addr.$SHOAL_RANK; ";
/// waits for all of them and prints their sum.
const SUM: &str =
    "sum=0; for rank in 0 1 2; do await addr.$rank; sum=$((sum + $(cat addr.$rank))); done; echo $sum; ";

fn main() -> ExitCode {
    let patient = Options { lease_ttl: Duration::from_secs(30), ..Options::default() };
    suite::run(
        Options::default(),
        vec![
            case!(shared, members_find_each_others_files),
            case!(shared, a_hostile_member_harms_nobody_but_itself),
            case!(own patient, a_restarted_server_and_runner_go_on_carrying_files),
            case!(own Options::default(), the_next_attempt_begins_with_an_empty_directory),
        ],
    )
}

fn gang(of: TaskSpec) -> TaskSpec {
    TaskSpec { parts: vec![GangPart { nodes: 3, labels: Vec::new() }], ..of }
}

fn latest(task: &Task) -> Result<&Attempt> {
    task.attempts.last().context("it has begun")
}

async fn log_of(api: &Api, task: &str, rank: usize) -> Result<String> {
    let asked = LogRequest { task: task.to_owned(), rank: rank as u32, ..Default::default() };
    Ok(api.log_of(asked).await?.text())
}

/// The rank of the member on this node.
fn rank_on(task: &Task, node: &Node) -> Result<usize> {
    let members = &latest(task)?.members;
    members.iter().position(|member| member.node_name == node.name()).context("it is a member")
}

/// What members said is gone with their attempts.
async fn nothing_left(cluster: &Cluster) -> Result<()> {
    let keys = cluster.keys("/gang/").await?;
    ensure!(keys.is_empty(), "{keys:?}");
    Ok(())
}

async fn members_find_each_others_files(cluster: Arc<Cluster>) -> Result<()> {
    let api = cluster.api(0);
    // One of them comes late.
    let script =
        format!("[ $SHOAL_RANK = 2 ] && sleep 1; {AWAIT}{SAY}{SUM}[ ! -e .refused ] || cat .refused");
    for root in ["default", "host"] {
        let id = api.submit(gang(TaskSpec { root: root.to_owned(), ..sh(&script) })).await?;
        let task = api.wait_state(&id, State::Complete, SOON).await?;
        for rank in 0..3 {
            let log = log_of(api, &id, rank).await?;
            ensure!(exit_code(&task) == Some(0) && log == "33\n", "{root}, rank {rank}: {log:?}; {task:?}");
        }
    }
    nothing_left(&cluster).await?;
    let alone = api.submit(sh("echo ${SHOAL_GANG_DIR-none}; ls /run/shoal 2>/dev/null || echo none")).await?;
    api.wait_state(&alone, State::Complete, SOON).await?;
    ensure!(log_of(api, &alone, 0).await? == "none\nnone\n", "a task of one node has nobody to talk to");
    Ok(())
}

async fn a_hostile_member_harms_nobody_but_itself(cluster: Arc<Cluster>) -> Result<()> {
    // In one process where the shell can: ten thousand files, each linked a second time, and all that is no file.
    let attack = "ln -s /etc/passwd link; ln -s addr.0 at.2; ln -s / .refused; mkfifo pipe; mkdir -p a/b/c/d; : >a/b/c/d/e; \
        mknod null c 1 3; dd if=/dev/zero of=sparse bs=1 count=1 seek=1000000; : >'new\nline'; : >..x; \
        mv ../gang ../other; rmdir ../gang; umount ../gang; \
        i=0; while [ $i -lt 10000 ]; do : >f$((i % 100)); : >x$i; i=$((i+1)); [ $((i % 100)) = 0 ] && rm x*; done; ln f0 f1; mv f2 f3; \
        rm -rf ./*; ";
    let meet = "echo $SHOAL_RANK >at.$SHOAL_RANK; for rank in 0 2; do await at.$rank; cat at.$rank; done; ";
    let script = format!(
        "{AWAIT}if [ $SHOAL_RANK = 1 ]; then {{ {attack} }} 2>/dev/null; else {meet} fi; echo $SHOAL_RANK is through"
    );
    let api = cluster.api(0);
    let id = api.submit(gang(TaskSpec { gang_end: GangEnd::All.into(), ..sh(&script) })).await?;
    let task = api.wait_state(&id, State::Complete, FLOOD).await?;
    for (rank, expected) in
        ["0\n2\n0 is through\n", "1 is through\n", "0\n2\n2 is through\n"].iter().enumerate()
    {
        let log = log_of(api, &id, rank).await?;
        ensure!(log == *expected, "rank {rank}: {log:?}; {task:?}");
    }
    nothing_left(&cluster).await?;
    for node in cluster.nodes() {
        node.api().serving().await?;
    }
    Ok(())
}

async fn a_restarted_server_and_runner_go_on_carrying_files(cluster: Arc<Cluster>) -> Result<()> {
    let leader = cluster.leader().await?;
    let (api, victim) = (cluster.api(leader), cluster.node((leader + 1) % 3));
    // The member there speaks a while after all have seen each other, when its server is away.
    let name = victim.name();
    let script = format!(
        "{AWAIT}echo up >up.$SHOAL_RANK; for rank in 0 1 2; do await up.$rank; done; echo all up; \
        [ $SHOAL_NODE_NAME = {name} ] && sleep 1; {SAY}echo said; {SUM}"
    );
    // It may have heard the others before, and then ends while its server is away. With the runner away as well nobody would keep its last words: it waits for an answer.
    let answered = "echo $sum >sum.$SHOAL_RANK; for rank in 0 1 2; do await sum.$rank; done";
    for (runner_too, script) in [(false, script.clone()), (true, script + answered)] {
        let id = api.submit(gang(sh(&script))).await?;
        let running = api.wait_state(&id, State::Running, SOON).await?;
        let rank = rank_on(&running, victim)?;
        let log = victim.data_dir().join("attempts").join(format!("{id}.1/log"));
        wait::until("its member to see the others", SOON, async || {
            let said = std::fs::read_to_string(&log)?;
            ensure!(said.contains("all up"), "{said:?}");
            Ok(())
        })
        .await?;
        if runner_too {
            host::signal(victim.runner_pid()?, Signal::KILL)?;
        }
        victim.crash()?;
        // It has spoken, and only the others were heard.
        wait::until("its member to speak", SOON, async || {
            ensure!(std::fs::read_to_string(&log)?.contains("said"), "not yet");
            Ok(())
        })
        .await?;
        let heard = cluster.keys_at(leader, &format!("/gang/{id}/1/addr")).await?;
        ensure!(heard.len() == 2, "{heard:?}");
        victim.start()?;
        victim.ready(SOON).await?;
        let task = api.wait_state(&id, State::Complete, 2 * SOON).await?;
        for other in 0..3 {
            let log = log_of(api, &id, other).await?;
            ensure!(log == "all up\nsaid\n33\n", "rank {other} ({rank} was hit): {log:?}; {task:?}");
        }
        ensure!(exit_code(&task) == Some(0) && task.attempts.len() == 1, "{task:?}");
        nothing_left(&cluster).await?;
    }
    Ok(())
}

async fn the_next_attempt_begins_with_an_empty_directory(cluster: Arc<Cluster>) -> Result<()> {
    let leader = cluster.leader().await?;
    let (api, victim) = (cluster.api(leader), cluster.node((leader + 1) % 3));
    let script = format!(
        "cd $SHOAL_GANG_DIR; ls -A | grep -v at; {AWAIT}echo $SHOAL_ATTEMPT >at.$SHOAL_RANK; \
        for rank in 0 1 2; do await at.$rank; cat at.$rank; done; [ $SHOAL_ATTEMPT = 2 ] || sleep 300"
    );
    let id = api.submit(gang(sh(&script))).await?;
    let running = api.wait_state(&id, State::Running, SOON).await?;
    let rank = rank_on(&running, cluster.node(leader))?;
    wait::until("the first attempt's members to see each other", SOON, async || {
        let said = log_of(api, &id, rank).await?;
        ensure!(said == "1\n1\n1\n", "{said:?}");
        Ok(())
    })
    .await?;
    let keys = cluster.keys(&format!("/gang/{id}/1")).await?;
    ensure!(keys.len() == 4, "three and the attempt's own: {keys:?}");
    victim.crash()?;
    wait::until("the gang to be queued again", 2 * cluster.ttl() + SOON, async || {
        let task = api.get(&id).await?;
        ensure!(task.state() == State::Queued, "{task:?}");
        Ok(())
    })
    .await?;
    let keys = cluster.keys_at(leader, "/gang/").await?;
    ensure!(keys.is_empty(), "{keys:?}");
    victim.start()?;
    victim.ready(SOON).await?;
    let task = api.wait_state(&id, State::Complete, 2 * SOON).await?;
    ensure!(exit_code(&task) == Some(0) && task.attempts.len() == 2, "{task:?}");
    for rank in 0..3 {
        let said = log_of(api, &id, rank).await?;
        ensure!(said == "2\n2\n2\n", "rank {rank}: {said:?}");
    }
    nothing_left(&cluster).await
}
