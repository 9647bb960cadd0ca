//! Tasks of several nodes, nodes for oneself and what is counted, on real nodes: members start together or not at all, one attempt at a time, and end by the rule.

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use shoal_proto::v1::{
    Attempt, FailureKind, GangEnd, GangPart, LogRequest, State, Task, TaskSpec, WhyRequest,
};
use shoal_tests::api::{Api, exit_code};
use shoal_tests::cluster::{Cluster, Options};
use shoal_tests::tasks::{sh, with_cpu, witness};
use shoal_tests::witness::{Life, overlaps};
use shoal_tests::{case, suite, wait};
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(30);
/// From its submission to its start, however many small tasks come after it.
const STREAM_LIMIT: Duration = Duration::from_secs(90);
/// With a frozen node in the way: far less than its lease lives in that test.
const FROZEN_LIMIT: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let flags = |more: &[&str]| more.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>();
    let counted = Options { first_flags: flags(&["--resource", "gpu=1"]), ..Options::default() };
    let patient = Options { lease_ttl: Duration::from_secs(30), ..Options::default() };
    suite::run(
        counted.clone(),
        vec![
            case!(shared, the_first_failure_ends_all_members_and_is_the_result),
            case!(shared, all_and_lead_end_as_their_names_say),
            case!(shared, cancel_ends_all_members),
            case!(shared, the_time_limit_of_a_gang_ends_all_members_and_keeps_their_logs),
            case!(shared, each_members_log_is_read_from_another_node),
            case!(shared, who_has_a_node_to_itself_is_alone_there),
            case!(shared, what_is_counted_is_given_to_one_task_at_a_time),
            case!(shared, what_is_impossible_is_refused_or_queued_as_asked),
            case!(own Options::default(), a_gang_starts_in_the_middle_of_a_stream_of_small_tasks),
            case!(own Options::default(), a_gang_whose_node_dies_starts_again_when_all_of_it_is_dead),
            case!(own Options::default(), members_logs_outlive_their_node),
            case!(own patient, a_frozen_node_does_not_keep_a_gang_from_the_others),
        ],
    )
}

fn gang(nodes: u32, of: TaskSpec) -> TaskSpec {
    TaskSpec { parts: vec![GangPart { nodes, labels: Vec::new() }], ..of }
}

fn latest(task: &Task) -> Result<&Attempt> {
    task.attempts.last().context("it has begun")
}

fn ends(attempt: &Attempt) -> Vec<&str> {
    attempt.members.iter().map(|member| member.end.as_str()).collect()
}

async fn log_of(api: &Api, task: &str, rank: u32) -> Result<String> {
    let log = api.log_of(LogRequest { task: task.to_owned(), rank, ..Default::default() }).await?;
    Ok(log.text())
}

async fn a_gang_starts_in_the_middle_of_a_stream_of_small_tasks(cluster: Arc<Cluster>) -> Result<()> {
    let limited = |of: TaskSpec| TaskSpec { time_limit_ms: 5_000, ..of };
    let small = || with_cpu(limited(sh("sleep 0.3")), 1_000);
    let api = cluster.api(0);
    let mut others = api.submit_many((0..60).map(|_| small()).collect()).await?;
    let say = "echo $SHOAL_RANK of $SHOAL_NODES: $SHOAL_NODE_NAMES at $SHOAL_NODE_ADDRESSES";
    let three = gang(3, with_cpu(sh(say), 3_000));
    let ids = api.submit_many(vec![three, gang(2, with_cpu(limited(sh("true")), 3_000))]).await?;
    let asked = Instant::now();
    let mut waited = Vec::new();
    // Twelve cores, each of which does three a second at most: the queue never gets empty.
    while waited.len() < ids.len() {
        ensure!(asked.elapsed() < STREAM_LIMIT, "{waited:?} have begun after {:?}", asked.elapsed());
        for id in &ids {
            let begun = api.get(id).await?.state() != State::Queued;
            if begun && !waited.iter().any(|(known, _)| known == id) {
                waited.push((id.clone(), asked.elapsed()));
            }
        }
        if api.status().await?.queued < 60 {
            others.extend(api.submit_many((0..30).map(|_| small()).collect()).await?);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (id, two) = (ids[0].clone(), &ids[1]);
    let task = api.wait_state(two, State::Complete, SOON).await?;
    ensure!(exit_code(&task) == Some(0), "{task:?}");
    let task = api.wait_state(&id, State::Complete, SOON).await?;
    ensure!(exit_code(&task) == Some(0), "{task:?}");
    let attempt = latest(&task)?;
    let nodes: Vec<&str> = attempt.members.iter().map(|member| member.node_name.as_str()).collect();
    ensure!(nodes.iter().collect::<BTreeSet<_>>().len() == 3, "{nodes:?}");
    let host = |name: &&str| Ok::<_, anyhow::Error>(cluster.node(cluster.index_of(name)?).host().to_string());
    let hosts = nodes.iter().map(host).collect::<Result<Vec<_>>>()?;
    for (rank, _) in nodes.iter().enumerate() {
        let expected = format!("{rank} of 3: {} at {}\n", nodes.join(","), hosts.join(","));
        let said = log_of(cluster.api(rank), &id, rank as u32).await?;
        ensure!(said == expected, "rank {rank} said {said:?}, not {expected:?}");
    }
    eprintln!("gangs of 3 and 2 waited {waited:.1?} among {} small tasks", others.len());
    let small = api.wait_all(&others, 2 * SOON).await?;
    ensure!(small.values().all(|task| exit_code(task) == Some(0)), "the stream goes on");
    Ok(())
}

async fn the_first_failure_ends_all_members_and_is_the_result(cluster: Arc<Cluster>) -> Result<()> {
    let fails = sh("if [ $SHOAL_RANK = 1 ]; then sleep 1; exit 3; fi; sleep 300");
    let id = cluster.api(0).submit(gang(3, fails)).await?;
    let task = cluster.api(1).wait_state(&id, State::Complete, SOON).await?;
    let attempt = latest(&task)?;
    ensure!(exit_code(&task) == Some(3) && task.attempts.len() == 1, "{task:?}");
    let name = &attempt.members[1].node_name;
    ensure!(attempt.end == format!("exit 3 (member 1 on {name})"), "{}", attempt.end);
    ensure!(ends(attempt) == ["signal 15", "exit 3", "signal 15"], "{:?}", ends(attempt));
    Ok(())
}

async fn all_and_lead_end_as_their_names_say(cluster: Arc<Cluster>) -> Result<()> {
    let rule = |end: GangEnd, script: &str| TaskSpec { gang_end: end.into(), ..gang(3, sh(script)) };
    let all = rule(GangEnd::All, "[ $SHOAL_RANK = 1 ] && exit 3; sleep 5; echo done");
    let lead = rule(GangEnd::Lead, "[ $SHOAL_RANK = 0 ] && { sleep 1; exit 0; }; sleep 300");
    let ids = cluster.api(0).submit_many(vec![all, lead]).await?;
    // A member's log ends with the member, whoever reads it, and not with the task.
    cluster.api(1).wait_state(&ids[0], State::Running, SOON).await?;
    for reader in 0..3 {
        let asked = LogRequest { task: ids[0].clone(), rank: 1, follow: true, ..Default::default() };
        ensure!(cluster.api(reader).log_of(asked).await?.end, "it ends");
    }
    let task = cluster.api(1).get(&ids[0]).await?;
    ensure!(task.state() == State::Running, "the others go on: {task:?}");
    let all = cluster.api(2).wait_state(&ids[0], State::Complete, SOON).await?;
    ensure!(exit_code(&all) == Some(3), "{all:?}");
    ensure!(ends(latest(&all)?) == ["exit 0", "exit 3", "exit 0"], "{all:?}");
    ensure!(log_of(cluster.api(0), &ids[0], 2).await? == "done\n", "the others went on to their ends");
    let lead = cluster.api(2).wait_state(&ids[1], State::Complete, SOON).await?;
    ensure!(exit_code(&lead) == Some(0), "{lead:?}");
    ensure!(ends(latest(&lead)?) == ["exit 0", "signal 15", "signal 15"], "{lead:?}");
    Ok(())
}

async fn the_time_limit_of_a_gang_ends_all_members_and_keeps_their_logs(cluster: Arc<Cluster>) -> Result<()> {
    let stubborn = "trap 'echo asked to end' TERM; while :; do sleep 0.1; done";
    let limited = TaskSpec { time_limit_ms: 1_000, kill_grace_ms: 1_000, ..sh(stubborn) };
    let id = cluster.api(0).submit(gang(3, limited)).await?;
    let task = cluster.api(1).wait_state(&id, State::Failed, SOON).await?;
    let failure = task.failure.clone().context("a failed task says why")?;
    ensure!(failure.kind() == FailureKind::TimeLimit && task.attempts.len() == 1, "{task:?}");
    ensure!(latest(&task)?.members.iter().all(|member| !member.end.is_empty()), "{task:?}");
    for rank in 0..3 {
        let log = log_of(cluster.api(2), &id, rank).await?;
        ensure!(log.contains("asked to end"), "member {rank} had its grace: {log:?}");
    }
    Ok(())
}

async fn cancel_ends_all_members(cluster: Arc<Cluster>) -> Result<()> {
    let id = cluster.api(0).submit(gang(3, witness(300_000))).await?;
    members_alive(&cluster, &id, 1, 3).await?;
    let status = cluster.api(2).status().await?;
    ensure!(status.running == 1, "a task of three nodes is one: {status:?}");
    cluster.api(1).cancel(&id, "enough").await?;
    let task = cluster.api(2).wait_state(&id, State::Canceled, SOON).await?;
    ensure!(ends(latest(&task)?).iter().all(|end| *end == "signal 15"), "{task:?}");
    let now = shoal_tests::clock::Centis::now();
    let signs = lives_of(&cluster, &id)?;
    ensure!(signs.iter().all(|life| life.last <= now && life.ends == 0), "{signs:?}");
    tokio::time::sleep(Duration::from_millis(200)).await;
    ensure!(lives_of(&cluster, &id)? == signs, "nobody gives signs any more");
    Ok(())
}

fn lives_of(cluster: &Cluster, task: &str) -> Result<Vec<Life>> {
    Ok(cluster.lives()?.into_iter().filter(|life| life.task == task).collect())
}

/// Waits until so many members of this attempt have given a sign of life.
async fn members_alive(cluster: &Cluster, task: &str, attempt: u32, members: usize) -> Result<()> {
    let what = format!("a sign of life of {members} members of attempt {attempt}");
    wait::until(&what, 2 * SOON, async || {
        let alive = lives_of(cluster, task)?.iter().filter(|life| life.attempt == attempt).count();
        ensure!(alive == members, "{alive} live");
        Ok(())
    })
    .await
}

async fn each_members_log_is_read_from_another_node(cluster: Arc<Cluster>) -> Result<()> {
    let script = "echo begin $SHOAL_RANK; sleep 2; echo end $SHOAL_RANK";
    let id = cluster.api(0).submit(gang(3, sh(script))).await?;
    cluster.api(0).wait_state(&id, State::Running, SOON).await?;
    let follow = async |reader: usize, rank: u32| {
        let asked = LogRequest { task: id.clone(), rank, follow: true, ..Default::default() };
        cluster.api(reader).log_of(asked).await
    };
    // Each of the three reads each of the three, two of them over another node.
    for rank in 0..3 {
        let both = tokio::join!(follow(rank as usize, rank), follow((rank as usize + 1) % 3, rank));
        for log in [both.0?, both.1?] {
            let text = format!("begin {rank}\nend {rank}\n");
            ensure!(log.end && log.text() == text, "rank {rank}: {:?}", log.text());
        }
    }
    let refused = log_of(cluster.api(0), &id, 3).await.err().context("there is no fourth")?;
    ensure!(format!("{refused:#}").contains("must be between 0 and 2"), "{refused:#}");
    Ok(())
}

async fn members_logs_outlive_their_node(cluster: Arc<Cluster>) -> Result<()> {
    let lines = "i=0; while [ $i -lt 5000 ]; do echo line $i of rank $SHOAL_RANK; i=$((i+1)); done";
    let id = cluster.api(0).submit(gang(3, sh(lines))).await?;
    let task = cluster.api(0).wait_state(&id, State::Complete, SOON).await?;
    let members = &latest(&task)?.members;
    let text = |rank: u32| (0..5000).map(|n| format!("line {n} of rank {rank}\n")).collect::<String>();
    let leader = cluster.leader().await?;
    let victim = (leader + 1) % 3;
    let name = cluster.node(victim).name();
    let lost = members.iter().position(|member| member.node_name == name).context("a member")? as u32;
    for rank in 0..3_u32 {
        let copy = if rank == 0 { format!("{id}.1") } else { format!("{id}.1.{rank}") };
        wait::until(&format!("a copy of the log of rank {rank}"), SOON, async || {
            let holds =
                |node: &&shoal_tests::node::Node| node.data_dir().join("log-copies").join(&copy).exists();
            let holders: Vec<&str> = cluster.nodes().iter().filter(holds).map(|node| node.name()).collect();
            ensure!(!holders.is_empty(), "nobody has one");
            ensure!(!holders.contains(&members[rank as usize].node_name.as_str()), "beside the original");
            Ok(())
        })
        .await?;
    }
    cluster.node(victim).crash()?;
    std::fs::remove_dir_all(cluster.node(victim).data_dir().join("attempts"))?;
    for reader in [leader, (leader + 2) % 3] {
        // What the lost node held copies of is still on the nodes that wrote it.
        for rank in [lost, (lost + 1) % 3, (lost + 2) % 3] {
            ensure!(log_of(cluster.api(reader), &id, rank).await? == text(rank), "rank {rank} from {reader}");
        }
    }
    Ok(())
}

async fn a_gang_whose_node_dies_starts_again_when_all_of_it_is_dead(cluster: Arc<Cluster>) -> Result<()> {
    let leader = cluster.leader().await?;
    let victim = cluster.node((leader + 1) % 3);
    let api = cluster.api(leader);
    let three = api.submit(gang(3, with_cpu(witness(8_000), 500))).await?;
    members_alive(&cluster, &three, 1, 3).await?;
    victim.crash()?;
    let two = api.submit(gang(2, with_cpu(witness(1_000), 500))).await?;
    wait::until("the gang to be queued again", 2 * cluster.ttl() + SOON, async || {
        let task = api.get(&three).await?;
        ensure!(task.state() == State::Queued, "{:?}: {:?}", task.state(), ends(latest(&task)?));
        let first = &task.attempts[0];
        ensure!(first.members.iter().all(|member| !member.end.is_empty()), "{first:?}");
        ensure!(ends(first).contains(&"node lost"), "{first:?}");
        Ok(())
    })
    .await?;
    // Two nodes are enough for two, and three wait until there are three.
    let task = api.wait_state(&two, State::Complete, SOON).await?;
    ensure!(exit_code(&task) == Some(0), "{task:?}");
    wait::until("the reason why it waits", SOON, async || {
        let why = api.raw().why(WhyRequest { task: three.clone() }).await?.into_inner();
        ensure!(why.summary.contains("it takes 3 nodes at once, and only 2 live ones"), "{}", why.summary);
        Ok(())
    })
    .await?;
    // A node that is away for a while makes nothing impossible.
    let later = api.submit(gang(3, with_cpu(witness(100), 500))).await?;
    victim.start()?;
    victim.ready(SOON).await?;
    let task = api.wait_state(&three, State::Complete, 2 * SOON).await?;
    ensure!(exit_code(&task) == Some(0) && task.attempts.len() == 2, "{task:?}");
    let task = api.wait_state(&later, State::Complete, SOON).await?;
    ensure!(exit_code(&task) == Some(0), "{task:?}");

    // A gang that could go on with the nodes that are left does, after all of it is dead.
    let again = api.submit(gang(2, with_cpu(witness(8_000), 500))).await?;
    members_alive(&cluster, &again, 1, 2).await?;
    let running = api.get(&again).await?;
    let members = &latest(&running)?.members;
    let hit = members.iter().map(|member| cluster.index_of(&member.node_name)).collect::<Result<Vec<_>>>()?;
    let hit = hit.into_iter().find(|index| *index != leader).context("two members")?;
    cluster.node(hit).crash()?;
    let task = api.wait_state(&again, State::Complete, 2 * cluster.ttl() + 2 * SOON).await?;
    ensure!(exit_code(&task) == Some(0) && task.attempts.len() == 2, "{task:?}");
    no_two_attempts_at_once(&cluster)
}

/// Members of one attempt live at the same time, and nobody else of their task does.
fn no_two_attempts_at_once(cluster: &Cluster) -> Result<()> {
    let found = overlaps(&cluster.lives()?);
    match found.iter().find(|overlap| overlap.0.attempt != overlap.1.attempt) {
        Some(overlap) => bail!("{overlap}"),
        None => Ok(()),
    }
}

async fn a_frozen_node_does_not_keep_a_gang_from_the_others(cluster: Arc<Cluster>) -> Result<()> {
    let leader = cluster.leader().await?;
    let frozen = cluster.node((leader + 1) % 3);
    let api = cluster.api(leader);
    frozen.signal_server(Signal::STOP)?;
    let mut slowest = Duration::ZERO;
    for round in 0..4 {
        let asked = Instant::now();
        let id = api.submit(gang(2, with_cpu(sh("true"), 500))).await?;
        let task = api.wait_state(&id, State::Complete, FROZEN_LIMIT).await;
        let task = task.with_context(|| format!("round {round}"))?;
        slowest = slowest.max(asked.elapsed());
        let on_frozen = latest(&task)?.members.iter().any(|member| member.node_name == frozen.name());
        ensure!(exit_code(&task) == Some(0) && !on_frozen, "{task:?}");
    }
    eprintln!("with a frozen node a gang of the two others was over after {slowest:.1?} at most");
    frozen.signal_server(Signal::CONT)
}

async fn who_has_a_node_to_itself_is_alone_there(cluster: Arc<Cluster>) -> Result<()> {
    let api = cluster.api(0);
    let small = || with_cpu(witness(400), 500);
    let mut ids = api.submit_many((0..30).map(|_| small()).collect()).await?;
    let alone = TaskSpec { exclusive: true, time_limit_ms: 60_000, ..witness(1_500) };
    let alone = api.submit(gang(2, alone)).await?;
    ids.extend(api.submit_many((0..60).map(|_| small()).collect()).await?);
    ids.push(alone.clone());
    let tasks = api.wait_all(&ids, 4 * SOON).await?;
    ensure!(tasks.values().all(|task| exit_code(task) == Some(0)), "all end well");
    let lives = cluster.lives()?;
    let own: Vec<&Life> = lives.iter().filter(|life| life.task == alone).collect();
    ensure!(own.len() == 2, "{own:?}");
    for own in own {
        let beside = lives.iter().find(|life| {
            life.task != alone && life.node == own.node && life.first <= own.last && own.first <= life.last
        });
        ensure!(beside.is_none(), "{own:?} is not alone: {beside:?}");
    }
    Ok(())
}

async fn what_is_counted_is_given_to_one_task_at_a_time(cluster: Arc<Cluster>) -> Result<()> {
    let api = cluster.api(1);
    let gpu = |of: TaskSpec| TaskSpec { counts: [("gpu".to_owned(), 1)].into(), ..of };
    let first = api.submit(gpu(sh("echo has $SHOAL_RESOURCE_GPU; sleep 300"))).await?;
    let running = api.wait_state(&first, State::Running, SOON).await?;
    ensure!(latest(&running)?.node_name == "n1", "{running:?}");
    let second = api.submit(gpu(witness(100))).await?;
    wait::until("the reason why the second waits", SOON, async || {
        let why = api.raw().why(WhyRequest { task: second.clone() }).await?.into_inner();
        let said: Vec<String> =
            why.nodes.iter().map(|node| format!("{}: {}", node.node_name, node.reason)).collect();
        let expected = ["n1: full: waits for a task there to end", "n2: too small: has 0 gpu, not 1"];
        ensure!(expected.iter().all(|reason| said.iter().any(|said| said == reason)), "{said:?}");
        Ok(())
    })
    .await?;
    let nodes = api.nodes().await?;
    let counts: Vec<_> =
        nodes.iter().map(|node| (node.counts.get("gpu"), node.counts_free.get("gpu"))).collect();
    ensure!(counts == [(Some(&1), Some(&0)), (None, None), (None, None)], "{counts:?}");
    ensure!(log_of(api, &first, 0).await? == "has 1\n", "a task is told how many it may use");
    api.cancel(&first, "the second's turn").await?;
    let task = api.wait_state(&second, State::Complete, SOON).await?;
    ensure!(latest(&task)?.node_name == "n1", "{task:?}");
    Ok(())
}

async fn what_is_impossible_is_refused_or_queued_as_asked(cluster: Arc<Cluster>) -> Result<()> {
    let api = cluster.api(0);
    let refused = api.submit(gang(4, sh("true"))).await.err().context("there are three")?;
    let said = format!("{refused:#}");
    ensure!(said.contains("it takes 4 nodes at once, and only 3 could be among them"), "{said}");
    let request = shoal_proto::v1::SubmitRequest {
        tasks: vec![gang(4, sh("true"))],
        allow_impossible: true,
        ..Default::default()
    };
    let answer = api.raw().submit(request).await?.into_inner();
    ensure!(answer.impossible.len() == 1 && answer.ids.len() == 1, "{answer:?}");
    let task = api.get(&answer.ids[0]).await?;
    ensure!(task.state() == State::Queued, "{task:?}");
    api.cancel(&answer.ids[0], "it never starts").await?;
    Ok(())
}
