//! Requests: what may be repeated, what is refused and in which words, where a server listens.

use anyhow::{Context, Result, ensure};
use shoal_proto::v1::{GetRequest, ListRequest, LogRequest, Resources, State, SubmitRequest, TaskSpec};
use shoal_tests::case;
use shoal_tests::cluster::{Cluster, Options};
use shoal_tests::suite;
use shoal_tests::tasks::{command, sh, with_cpu};
use shoal_tests::wait;
use std::collections::{BTreeSet, HashMap};
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tonic::Code;
use tonic_types::StatusExt;

const SOON: Duration = Duration::from_secs(15);

fn main() -> ExitCode {
    suite::run(
        Options::default(),
        vec![
            case!(shared, a_submit_repeated_with_its_id_is_the_same_tasks),
            case!(shared, another_spec_under_a_used_id_is_refused),
            case!(shared, what_was_accepted_is_on_every_node_at_once),
            case!(shared, bad_input_is_refused_by_field_limit_and_value),
            case!(shared, validation_alone_queues_nothing),
            case!(shared, unknown_tasks_are_not_found),
            case!(shared, pages_show_every_task_once),
            case!(shared, a_server_refuses_to_listen_beyond_loopback),
        ],
    )
}

fn request(id: uuid::Uuid, tasks: Vec<TaskSpec>) -> SubmitRequest {
    SubmitRequest { request_id: id.to_string(), tasks, validate_only: false, allow_impossible: false }
}

async fn a_submit_repeated_with_its_id_is_the_same_tasks(cluster: Arc<Cluster>) -> Result<()> {
    let same = request(uuid::Uuid::now_v7(), vec![sh("exit 0"), sh("exit 1")]);
    let first = cluster.api(0).raw().submit(same.clone()).await?.into_inner().ids;
    let second = cluster.api(1).raw().submit(same.clone()).await?.into_inner().ids;
    ensure!(first.len() == 2 && first == second, "{first:?} then {second:?}");
    cluster.api(2).wait_all(&first, SOON).await?;
    let third = cluster.api(2).raw().submit(same.clone()).await?.into_inner().ids;
    ensure!(first == third, "after the end too: {third:?}");
    // At the same time from all nodes, for a request that none has seen.
    let fresh = request(uuid::Uuid::now_v7(), vec![sh("exit 0"); 5]);
    let at = |index: usize| {
        let (mut client, request) = (cluster.api(index).raw(), fresh.clone());
        async move { client.submit(request).await.map(|answer| answer.into_inner().ids) }
    };
    let (a, b, c) = futures::future::try_join3(at(0), at(1), at(2)).await?;
    ensure!(a == b && b == c, "{a:?} {b:?} {c:?}");
    let tasks = cluster.api(0).wait_all(&a, SOON).await?;
    ensure!(tasks.len() == 5 && tasks.values().all(|task| task.attempts.len() == 1), "{tasks:?}");
    Ok(())
}

async fn another_spec_under_a_used_id_is_refused(cluster: Arc<Cluster>) -> Result<()> {
    let id = uuid::Uuid::now_v7();
    let first = vec![sh("exit 0"), sh("exit 0")];
    let ids = cluster.api(0).raw().submit(request(id, first)).await?.into_inner().ids;
    for other in [vec![sh("exit 1")], vec![sh("exit 0"), sh("exit 1")], vec![with_cpu(sh("exit 0"), 200)]] {
        let answer = cluster.api(1).raw().submit(request(id, other.clone())).await;
        let status = answer.err().with_context(|| format!("{other:?} under a used id must be refused"))?;
        ensure!(status.code() == Code::AlreadyExists, "{status:?}");
    }
    let task = cluster.api(0).wait_end(&ids[0], SOON).await?;
    ensure!(
        task.spec.context("a task has its spec")?.command == ["sh", "-c", "exit 0"],
        "the first spec stays"
    );
    Ok(())
}

async fn what_was_accepted_is_on_every_node_at_once(cluster: Arc<Cluster>) -> Result<()> {
    for round in 0..20 {
        let id = cluster.api(round % 3).submit(sh("exit 0")).await?;
        for reader in 0..3 {
            cluster.api(reader).get(&id).await.with_context(|| format!("read from node {reader}"))?;
        }
    }
    Ok(())
}

async fn bad_input_is_refused_by_field_limit_and_value(cluster: Arc<Cluster>) -> Result<()> {
    let huge = "x".repeat(2 << 20);
    let mut env = HashMap::new();
    env.insert("A=B".to_owned(), "v".to_owned());
    let memory = |bytes| Some(Resources { cpu_milli: 100, memory_bytes: bytes });
    let cases: Vec<(&str, TaskSpec)> = vec![
        ("command", TaskSpec::default()),
        ("command", command(&[""])),
        ("command", command(&["sh", "a\0b"])),
        ("command", command(&["sh", &huge])),
        ("env", TaskSpec { env, ..sh("exit 0") }),
        ("memory_bytes", TaskSpec { resources: memory(1), ..sh("exit 0") }),
        ("workdir", TaskSpec { workdir: "relative".to_owned(), ..sh("exit 0") }),
        ("max_attempts", TaskSpec { max_attempts: 1_000_000, ..sh("exit 0") }),
        ("pids_max", TaskSpec { pids_max: u32::MAX, ..sh("exit 0") }),
    ];
    for (field, spec) in cases {
        let answer =
            cluster.api(0).raw().submit(request(uuid::Uuid::now_v7(), vec![sh("exit 0"), spec])).await;
        let status = answer.err().with_context(|| format!("bad {field} must be refused"))?;
        ensure!(status.code() == Code::InvalidArgument, "{field}: {status:?}");
        let details = status.get_error_details();
        let violations =
            details.bad_request().with_context(|| format!("{field}: no BadRequest in {status:?}"))?;
        let violation = violations.field_violations.first().context("a bad request names a field")?;
        ensure!(violation.field.contains(field), "{field} is named as {:?}", violation.field);
        ensure!(violation.field.contains('1'), "the second task is named: {:?}", violation.field);
        ensure!(violation.description.len() < 1000, "a short description for {field}");
    }
    let not_an_id = SubmitRequest {
        request_id: "no uuid".to_owned(),
        tasks: vec![sh("exit 0")],
        validate_only: false,
        allow_impossible: false,
    };
    let status =
        cluster.api(0).raw().submit(not_an_id).await.err().context("a bad request id must be refused")?;
    ensure!(status.code() == Code::InvalidArgument, "{status:?}");
    Ok(())
}

async fn validation_alone_queues_nothing(cluster: Arc<Cluster>) -> Result<()> {
    let before = cluster.api(0).list().await?.len();
    let mut only = request(uuid::Uuid::now_v7(), vec![sh("exit 0")]);
    only.validate_only = true;
    cluster.api(0).raw().submit(only).await?;
    ensure!(cluster.api(0).list().await?.len() == before, "validate_only queued a task");
    Ok(())
}

async fn unknown_tasks_are_not_found(cluster: Arc<Cluster>) -> Result<()> {
    let task = uuid::Uuid::now_v7().to_string();
    let got = cluster.api(0).raw().get(GetRequest { task: task.clone() }).await;
    ensure!(got.as_ref().err().map(tonic::Status::code) == Some(Code::NotFound), "{got:?}");
    let log = cluster.api(1).log_of(LogRequest { task, ..Default::default() }).await;
    let status = log.err().context("no log")?;
    let code = status.downcast_ref::<tonic::Status>().map(tonic::Status::code);
    ensure!(code == Some(Code::NotFound), "{status:?}");
    Ok(())
}

async fn pages_show_every_task_once(cluster: Arc<Cluster>) -> Result<()> {
    let ids = cluster.api(0).submit_many(vec![sh("exit 0"); 50]).await?;
    cluster.api(0).wait_all(&ids, SOON).await?;
    let mut seen = Vec::new();
    let mut page_token = String::new();
    let mut revisions = BTreeSet::new();
    loop {
        let request = ListRequest {
            states: vec![State::Complete as i32],
            page_size: 7,
            page_token: page_token.clone(),
            newest_first: true,
            ..Default::default()
        };
        // Each page from another node: a token is good everywhere.
        let page = cluster.api(seen.len() % 3).raw().list(request).await?.into_inner();
        ensure!(page.tasks.len() <= 7, "{} tasks on a page of seven", page.tasks.len());
        seen.extend(page.tasks.into_iter().map(|task| task.id));
        revisions.insert(page.revision);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    ensure!(seen.iter().collect::<BTreeSet<_>>().len() == seen.len(), "a task is on two pages");
    ensure!(ids.iter().all(|id| seen.contains(id)), "a task is on no page");
    ensure!(revisions.len() == 1, "all pages show one revision: {revisions:?}");
    Ok(())
}

async fn a_server_refuses_to_listen_beyond_loopback(cluster: Arc<Cluster>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut command = std::process::Command::new(shoal_tests::programs::built("shoald")?);
    command
        .args(["--name", "open", "--listen", "0.0.0.0:7499", "--data-dir"])
        .arg(folder.path())
        .args(["--etcd-endpoints", &format!("http://{}:2379", cluster.node(0).host())])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let ended =
        wait::until("the server to refuse", SOON, async || child.try_wait()?.context("it runs")).await;
    if ended.is_err() {
        child.kill()?;
    }
    let output = child.wait_with_output()?;
    let status = ended?;
    let text = String::from_utf8_lossy(&output.stderr).to_lowercase();
    ensure!(!status.success(), "it ended with {status}");
    ensure!(text.contains("loopback") && text.contains("0.0.0.0:7499"), "it says why: {text}");
    Ok(())
}
