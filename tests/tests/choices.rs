//! What a task may choose and what an operator must allow first: the network, the host's directories, the user inside, tighter limits. From the API to
//! what the task's own process sees.

use anyhow::{Context, Result, anyhow, ensure};
use shoal_proto::v1::{Mount, Net, RunAs, State, Task, TaskSpec, WhyRequest};
use shoal_tests::api::exit_code;
use shoal_tests::case;
use shoal_tests::cluster::{Cluster, Options};
use shoal_tests::tasks::{sh, with_cpu, with_memory};
use shoal_tests::{suite, wait};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tonic::Code;
use tonic_types::StatusExt;

const SOON: Duration = Duration::from_secs(30);
/// Owns what tasks may write to; nobody on any machine that runs this.
const OWNER: u32 = 61_234;
/// What is in the directory that tasks may read.
const TEXT: &str = "some data\n";

fn main() -> ExitCode {
    let folder = match directories() {
        Ok(folder) => folder,
        Err(why) => {
            eprintln!("directories to mount: {why:#}");
            return ExitCode::FAILURE;
        }
    };
    let generous = Options { nodes: 1, flags: generous(folder.path()), ..Options::default() };
    let first_flags = ["--allow-host-net", "--label", "type=smithi,rack=7"].map(str::to_owned).to_vec();
    let mixed = Options { nodes: 2, first_flags, ..Options::default() };
    let strict = Options { nodes: 1, flags: vec!["--no-host-root".to_owned()], ..Options::default() };
    suite::run(
        generous,
        vec![
            case!(shared, the_network_is_as_asked),
            case!(shared, a_mount_is_read_only_unless_the_operator_says_otherwise),
            case!(shared, what_tasks_write_to_a_mount_is_its_owners),
            case!(shared, a_task_may_be_root_inside_and_is_nobody_outside),
            case!(shared, tighter_limits_are_the_tasks_own),
            case!(shared, an_allowed_increase_is_given_and_more_is_refused),
            case!(shared, a_log_is_cut_where_its_task_says),
            case!(own strict.clone(), what_the_operator_did_not_allow_is_refused_at_submit),
            case!(own mixed.clone(), what_one_node_offers_runs_there_and_the_other_says_why_not),
            case!(own mixed.clone(), a_task_runs_only_where_its_labels_are),
        ],
    )
}

/// `data` for tasks to read, `out` for them to write to.
fn directories() -> Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix("shoal-mounts-").tempdir()?;
    for name in ["data", "out"] {
        let dir = folder.path().join(name);
        std::fs::create_dir(&dir)?;
        std::fs::write(dir.join("text"), TEXT)?;
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o755))?;
    }
    chown(folder.path().join("out"), Some(OWNER), Some(OWNER))?;
    Ok(folder)
}

fn generous(folder: &Path) -> Vec<String> {
    let mount = |name: &str, mode: &str| format!("{name}={}{mode}", folder.join(name).display());
    let flags = ["--allow-host-net", "--task-pids-max", "2048", "--log-max", "256KiB"].map(str::to_owned);
    let mounts = ["--mount".to_owned(), mount("data", ""), "--mount".to_owned(), mount("out", ":rw")];
    flags.into_iter().chain(mounts).collect()
}

/// The host's directory of this name.
fn host_directory(cluster: &Cluster, name: &str) -> Result<PathBuf> {
    let named =
        |flag: &String| Some(flag.strip_prefix(name)?.strip_prefix('=')?.trim_end_matches(":rw").to_owned());
    let found = cluster.options().flags.iter().find_map(named);
    Ok(found.with_context(|| format!("the mount {name} is among the flags"))?.into())
}

fn mount(name: &str, target: &str, read_only: bool) -> Mount {
    Mount { name: name.to_owned(), target: target.to_owned(), read_only }
}

/// The task's end and its log.
async fn outcome(cluster: &Cluster, spec: TaskSpec) -> Result<(Task, String)> {
    let id = cluster.api(0).submit(spec).await?;
    let task = cluster.api(0).wait_end(&id, SOON).await?;
    let log = cluster.api(0).log(&id, false).await?.text();
    Ok((task, log))
}

/// The log of a task that must succeed.
async fn said(cluster: &Cluster, spec: TaskSpec) -> Result<String> {
    let (task, log) = outcome(cluster, spec).await?;
    ensure!(exit_code(&task) == Some(0), "{task:?}: {log}");
    Ok(log)
}

async fn the_network_is_as_asked(cluster: Arc<Cluster>) -> Result<()> {
    // The routing table has 127.0.0.1 where a loopback interface is up.
    let script = "readlink /proc/self/ns/net; grep -c 127.0.0.1 /proc/net/fib_trie; true";
    let hosts = std::fs::read_link("/proc/self/ns/net")?.display().to_string();
    let seen = async |net: Net| said(&cluster, TaskSpec { net: net.into(), ..sh(script) }).await;
    let host = seen(Net::Host).await?;
    ensure!(host.starts_with(&hosts), "host: {host:?} is not {hosts}");
    for (net, up) in [(Net::Unspecified, true), (Net::Loopback, true), (Net::None, false)] {
        let own = seen(net).await?;
        ensure!(own.starts_with("net:") && !own.starts_with(&hosts), "{net:?}: {own:?}");
        ensure!(own.ends_with("\n0\n") != up, "{net:?}: {own:?}");
    }
    Ok(())
}

async fn a_mount_is_read_only_unless_the_operator_says_otherwise(cluster: Arc<Cluster>) -> Result<()> {
    let script = "cat /data/text; touch /data/new 2>&1; echo more >>/data/text; true";
    let closed = TaskSpec { mounts: vec![mount("data", "/data", false)], ..sh(script) };
    let log = said(&cluster, closed).await?;
    ensure!(log.starts_with(TEXT) && log.contains("new: Read-only file system"), "{log:?}");
    let asked = TaskSpec { mounts: vec![mount("out", "/data", true)], ..sh(script) };
    let log = said(&cluster, asked).await?;
    ensure!(log.starts_with(TEXT) && log.contains("new: Read-only file system"), "{log:?}");
    for name in ["data", "out"] {
        let dir = host_directory(&cluster, name)?;
        ensure!(std::fs::read_to_string(dir.join("text"))? == TEXT, "a task wrote to {name}");
        ensure!(!dir.join("new").exists(), "a task made a file in {name}");
    }
    Ok(())
}

async fn what_tasks_write_to_a_mount_is_its_owners(cluster: Arc<Cluster>) -> Result<()> {
    let dir = host_directory(&cluster, "out")?;
    for (name, run_as) in [("nobody", None), ("root", Some(RunAs { uid: 0, gid: 0 }))] {
        let script = format!("echo $(id -u) >/work/deep/out/{name} && stat -c %u /work/deep/out/{name}");
        let spec = TaskSpec { mounts: vec![mount("out", "/work/deep/out", false)], run_as, ..sh(&script) };
        let log = said(&cluster, spec).await?;
        let inside = run_as.map_or(65_534, |user| user.uid);
        ensure!(log == format!("{inside}\n"), "inside the file is the task's own: {log:?}");
        let written = std::fs::metadata(dir.join(name))?;
        ensure!(
            (written.uid(), written.gid()) == (OWNER, OWNER),
            "{name}: {} {}",
            written.uid(),
            written.gid()
        );
        ensure!(std::fs::read_to_string(dir.join(name))? == log, "what was written is there");
        std::fs::remove_file(dir.join(name))?;
    }
    Ok(())
}

async fn a_task_may_be_root_inside_and_is_nobody_outside(cluster: Arc<Cluster>) -> Result<()> {
    let script = "id -u; id -g; echo $HOME; touch $HOME/x /tmp/x || exit 1; grep -h Cap /proc/self/status; cat /proc/self/uid_map";
    for (uid, gid) in [(0, 0), (1000, 7), (65_534, 65_534)] {
        let log = said(&cluster, TaskSpec { run_as: Some(RunAs { uid, gid }), ..sh(script) }).await?;
        ensure!(log.starts_with(&format!("{uid}\n{gid}\n/work\n")), "{log}");
        let capabilities = log.lines().filter_map(|line| line.strip_prefix("Cap")?.split_whitespace().nth(1));
        ensure!(capabilities.clone().count() == 5, "{log}");
        ensure!(capabilities.into_iter().all(|set| u64::from_str_radix(set, 16) == Ok(0)), "{log}");
        let map = log.lines().last().context("the map is the last line")?;
        let ids: Vec<u32> = map.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        ensure!(ids[0] == 0 && ids[1] >= 65_536, "inside 0 is {map:?} outside");
    }
    Ok(())
}

async fn tighter_limits_are_the_tasks_own(cluster: Arc<Cluster>) -> Result<()> {
    let script = "ulimit -n; ulimit -Hn; df -k /work | tail -n 1; dd if=/dev/zero of=/work/large bs=64k count=48 2>&1 && echo it fits; true";
    let log_of = |spec: TaskSpec| said(&cluster, with_memory(spec, 64 << 20));
    let usual = log_of(sh(script)).await?;
    ensure!(usual.ends_with("it fits\n"), "{usual}");
    let tight = TaskSpec { open_files_max: 64, disk_bytes_max: 1 << 20, ..sh(script) };
    let tight = log_of(tight).await?;
    ensure!(tight.starts_with("64\n64\n"), "{tight}");
    ensure!(tight.contains("No space left on device") && !tight.contains("it fits"), "{tight}");
    let size = tight.lines().nth(2).and_then(|line| line.split_whitespace().nth(1));
    let size: u64 = size.with_context(|| format!("df: {tight}"))?.parse()?;
    ensure!(size <= 1024, "the private layer has {size} KiB");
    Ok(())
}

async fn an_allowed_increase_is_given_and_more_is_refused(cluster: Arc<Cluster>) -> Result<()> {
    let (task, log) = outcome(&cluster, TaskSpec { pids_max: 2048, ..sh("true") }).await?;
    ensure!(exit_code(&task) == Some(0), "{task:?}: {log}");
    let more = refused(&cluster, TaskSpec { pids_max: 2049, ..sh("true") }).await?;
    ensure!(
        more == "tasks[0].pids_max: no live node gives a task 2049 processes and threads, the most is 2048",
        "{more}"
    );
    let log = refused(&cluster, TaskSpec { log_bytes_max: 1 << 20, ..sh("true") }).await?;
    ensure!(
        log == "tasks[0].log_bytes_max: no live node gives a task 1048576 bytes of log, the most is 262144",
        "{log}"
    );
    Ok(())
}

async fn a_log_is_cut_where_its_task_says(cluster: Arc<Cluster>) -> Result<()> {
    let script = "head -c 200000 /dev/zero | tr '\\0' x";
    for (max, cut) in [(0, false), (64 << 10, true)] {
        let id = cluster.api(0).submit(TaskSpec { log_bytes_max: max, ..sh(script) }).await?;
        let task = cluster.api(0).wait_end(&id, SOON).await?;
        ensure!(exit_code(&task) == Some(0), "the cap does not end the task: {task:?}");
        let log = cluster.api(0).log(&id, false).await?;
        let kept = log.bytes.iter().take_while(|byte| **byte == b'x').count();
        ensure!(log.end && log.truncated == cut, "at most {max}: {kept} bytes, truncated {}", log.truncated);
        ensure!(if cut { kept <= 64 << 10 } else { kept == 200_000 }, "at most {max}: {kept} bytes");
    }
    Ok(())
}

async fn what_the_operator_did_not_allow_is_refused_at_submit(cluster: Arc<Cluster>) -> Result<()> {
    let host = refused(&cluster, TaskSpec { net: Net::Host.into(), ..sh("true") }).await?;
    ensure!(host.starts_with("tasks[0].net: no live node offers the host's network"), "{host}");
    let data = TaskSpec { mounts: vec![mount("data", "/data", true)], ..sh("true") };
    let data = refused(&cluster, data).await?;
    ensure!(
        data == "tasks[0].mounts[0].name: no live node offers the mount \"data\", there are: none",
        "{data}"
    );
    let root = refused(&cluster, TaskSpec { root: "host".to_owned(), ..sh("true") }).await?;
    ensure!(root == "tasks[0].root: no live node has root \"host\", there are: default", "{root}");
    ensure!(cluster.api(0).list().await?.is_empty(), "nothing was queued");
    // The runner would not do it either: its policy is what the flags say.
    let policy = std::fs::read(cluster.node(0).data_dir().join("runner/policy.json"))?;
    let printed = cluster.node(0).command()?.arg("--print-policy").output()?;
    let json = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text);
    ensure!(json(&policy)? == json(&printed.stdout)?, "{}", String::from_utf8_lossy(&printed.stdout));
    ensure!(
        json(&policy)?["host_net"] == false && json(&policy)?["host_root"] == false,
        "the policy is strict"
    );
    Ok(())
}

async fn what_one_node_offers_runs_there_and_the_other_says_why_not(cluster: Arc<Cluster>) -> Result<()> {
    let net = |spec: TaskSpec| TaskSpec { net: Net::Host.into(), ..spec };
    let ids = cluster.api(1).submit_many(vec![net(sh("exit 0")); 8]).await?;
    for task in cluster.api(1).wait_all(&ids, SOON).await?.values() {
        let node = &task.attempts.last().context("it ran")?.node_name;
        ensure!(exit_code(task) == Some(0) && node == "n1", "{task:?}");
    }
    // Fill the one that offers it: the next waits, although the other is empty.
    let whole = cluster.options().cpus * 1000;
    let busy = cluster.api(0).submit(with_cpu(net(sh("sleep 1000")), whole)).await?;
    cluster.api(0).wait_state(&busy, State::Running, SOON).await?;
    let waits = cluster.api(0).submit(net(sh("exit 0"))).await?;
    let words = BTreeMap::from([
        ("n1", "full: waits for a task there to end"),
        ("n2", "does not offer the host's network"),
    ]);
    let why = wait::until("the second node to say why", SOON, async || {
        let request = WhyRequest { task: waits.clone() };
        let why = cluster.api(1).raw().why(request).await?.into_inner();
        let said = why.nodes.iter().map(|node| (node.node_name.as_str(), node.reason.as_str()));
        if said.collect::<BTreeMap<_, _>>() == words { Ok(why) } else { Err(anyhow!("{why:?}")) }
    })
    .await?;
    ensure!(why.state() == State::Queued, "{why:?}");
    cluster.api(1).cancel(&busy, "room for the next").await?;
    let task = cluster.api(1).wait_end(&waits, SOON).await?;
    ensure!(exit_code(&task) == Some(0), "{task:?}");
    Ok(())
}

async fn a_task_runs_only_where_its_labels_are(cluster: Arc<Cluster>) -> Result<()> {
    let labelled = |labels: &[&str]| TaskSpec {
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        ..sh("exit 0")
    };
    let ids = cluster.api(1).submit_many(vec![labelled(&["type=smithi", "rack=7"]); 8]).await?;
    for task in cluster.api(1).wait_all(&ids, SOON).await?.values() {
        ensure!(task.attempts.last().context("it ran")?.node_name == "n1", "{task:?}");
    }
    let words = refused(&cluster, labelled(&["type=mira"])).await?;
    ensure!(words.contains("label \"type=mira\", there are: rack=7, type=smithi"), "{words}");
    Ok(())
}

/// The words with which a task is refused that no node can ever run.
async fn refused(cluster: &Cluster, spec: TaskSpec) -> Result<String> {
    let error = cluster.api(0).submit(spec).await.err().context("it must be refused")?;
    let status: tonic::Status = error.downcast()?;
    ensure!(status.code() == Code::FailedPrecondition, "{status}");
    let details = status.get_details_precondition_failure().context("it has details")?;
    let violation = details.violations.first().context("one at least")?;
    Ok(format!("{}: {}", violation.subject, violation.description))
}
