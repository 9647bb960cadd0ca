//! One embedded member with the real etcd: it serves, comes back, stops, ends with its server, and refuses what it must refuse.

#![allow(clippy::unwrap_used)] // a test's helper may panic like the test itself

mod member_support;

use member_support::{DEADLINE, config, ended, etcd, fresh_url, get, kill, pidfd, put, start, wait_for};
use rustix::process::Signal;
use shoal_store::member::data_dir::DataDirError;
use shoal_store::member::orphan::OrphanError;
use shoal_store::member::{
    Member, MemberConfig, MemberError, MemberState, Role, WaitError, binary, maintenance,
};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_single_member_serves_and_tells_its_version() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("a", &dir);
    let (url, data) = (config.client_url.clone(), config.data_dir.clone());
    let member = start(config).await;
    assert_eq!(member.wait_healthy(DEADLINE).await.unwrap(), Role::Voter);
    put(&url, "k", "v").await;
    assert_eq!(get(&url, "k").await.as_deref(), Some("v"));
    assert_eq!(member.endpoints(), [url.to_string()]);
    assert_eq!(member.voter_count(), 1);
    let status = maintenance::status(&url.to_string()).await.unwrap();
    assert_eq!(status.version, member.version().to_string());
    assert!(status.is_leader() && !status.is_learner && status.db_size_bytes > 0);
    assert_eq!(data.join("etcd").metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let pid = std::fs::read_to_string(data.join("etcd.pid")).unwrap();
    assert_eq!(pid.trim().parse().ok(), member.pid());
    member.stop().await;
}

#[tokio::test]
async fn stopping_ends_etcd_in_order_and_frees_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("a", &dir);
    let url = config.client_url.clone();
    let member = start(config.clone()).await;
    member.wait_healthy(DEADLINE).await.unwrap();
    put(&url, "k", "kept").await;
    let process = pidfd(member.pid().unwrap());
    let state = member.state();
    member.stop().await;
    assert!(ended(&process, Duration::ZERO), "etcd is gone when stop returns");
    assert_eq!(*state.borrow(), MemberState::Stopped);
    assert!(!config.data_dir.join("etcd.pid").exists());
    // The same directory, at once.
    let member = start(config).await;
    member.wait_healthy(DEADLINE).await.unwrap();
    assert_eq!(get(&url, "k").await.as_deref(), Some("kept"));
    member.stop().await;
}

#[tokio::test]
async fn a_killed_etcd_is_started_again_with_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("a", &dir);
    let url = config.client_url.clone();
    let member = start(config).await;
    member.wait_healthy(DEADLINE).await.unwrap();
    put(&url, "k", "kept").await;
    let first = member.pid().unwrap();
    let mut state = member.state();
    state.mark_unchanged();
    kill(first, Signal::KILL);
    let restarting =
        wait_for("restart", &mut state, |state| matches!(state, MemberState::Restarting { .. })).await;
    assert!(restarting.to_string().contains("signal: 9"), "{restarting}");
    member.wait_healthy(DEADLINE).await.unwrap();
    assert_ne!(member.pid(), Some(first));
    assert_eq!(get(&url, "k").await.as_deref(), Some("kept"));
    member.stop().await;
}

#[tokio::test]
async fn a_frozen_etcd_is_unhealthy_and_well_again_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let member = start(config("a", &dir)).await;
    member.wait_healthy(DEADLINE).await.unwrap();
    let mut state = member.state();
    kill(member.pid().unwrap(), Signal::STOP);
    wait_for("unhealthy", &mut state, |state| matches!(state, MemberState::Unhealthy { .. })).await;
    kill(member.pid().unwrap(), Signal::CONT);
    member.wait_healthy(DEADLINE).await.unwrap();
    member.stop().await;
}

#[tokio::test]
async fn data_of_another_member_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = config("a", &dir);
    let member = start(first.clone()).await;
    member.wait_healthy(DEADLINE).await.unwrap();
    // While it runs nobody else gets the directory, under whatever name.
    let second = MemberConfig { client_url: fresh_url(), peer_url: fresh_url(), ..first.clone() };
    let error = Member::start(second.clone()).await.unwrap_err();
    assert!(matches!(error, MemberError::DataDir(DataDirError::Locked { .. })), "{error}");
    member.stop().await;
    let error = Member::start(MemberConfig { name: "b".to_owned(), ..second }).await.unwrap_err();
    assert!(matches!(error, MemberError::DataDir(DataDirError::OtherMember { .. })), "{error}");
    assert!(first.data_dir.join("etcd/member").exists(), "the data are left alone");
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("a", &dir);
    let _stranger = std::net::TcpListener::bind(config.peer_url.listen_address().unwrap()).unwrap();
    let error = Member::start(config.clone()).await.unwrap_err();
    assert!(
        matches!(error, MemberError::Orphan(OrphanError::PortTaken { field: "etcd-peer-url", .. })),
        "{error}"
    );
    assert!(error.to_string().contains(&config.peer_url.to_string()), "{error}");
}

#[tokio::test]
async fn an_etcd_that_an_earlier_server_left_is_ended_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("a", &dir);
    let member = start(config.clone()).await;
    member.wait_healthy(DEADLINE).await.unwrap();
    put(&config.client_url, "k", "kept").await;
    member.stop().await;
    // As it is after a server's death: an etcd on our data and ports, with nobody who supervises it.
    let data = config.data_dir.canonicalize().unwrap().join("etcd");
    let mut orphan = Command::new(etcd())
        .arg(format!("--data-dir={}", data.display()))
        .arg(format!("--listen-client-urls={}", config.client_url))
        .arg(format!("--advertise-client-urls={}", config.client_url))
        .arg(format!("--listen-peer-urls={}", config.peer_url))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::fs::write(config.data_dir.join("etcd.pid"), orphan.id().to_string()).unwrap();
    let url = config.client_url.clone();
    let member = start(config).await;
    assert!(!orphan.wait().unwrap().success(), "it was ended by a signal");
    member.wait_healthy(DEADLINE).await.unwrap();
    assert_eq!(get(&url, "k").await.as_deref(), Some("kept"));
    member.stop().await;
}

#[tokio::test]
async fn an_etcd_that_always_ends_is_a_crash_loop_with_its_last_words() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config("a", &dir);
    config.binary = Some(script(
        dir.path(),
        "case $1 in --version) echo etcd Version: 3.5.16;; *) echo disk on fire >&2; exit 7;; esac",
    ));
    let member = start(config).await;
    let error = member.wait_healthy(DEADLINE).await.unwrap_err();
    assert!(matches!(&error, WaitError::Ended { state: MemberState::Failed { .. }, .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("disk on fire") && text.contains("exit status: 7"), "{text}");
    member.stop().await;
}

#[tokio::test]
async fn a_damaged_log_is_a_crash_loop_and_nothing_is_wiped() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("a", &dir);
    let member = start(config.clone()).await;
    member.wait_healthy(DEADLINE).await.unwrap();
    put(&config.client_url, "k", "v").await;
    member.stop().await;
    let wal = config.data_dir.join("etcd/member/wal");
    let segment = wal.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let segment =
        segment.filter(|path| path.extension().is_some_and(|extension| extension == "wal")).min().unwrap();
    let mut damaged = std::fs::read(&segment).unwrap();
    damaged[64..256].fill(0xa5);
    std::fs::write(&segment, &damaged).unwrap();
    let member = start(config).await;
    let error = member.wait_healthy(DEADLINE).await.unwrap_err();
    assert!(matches!(&error, WaitError::Ended { state: MemberState::Failed { .. }, .. }), "{error}");
    member.stop().await;
    assert!(std::fs::read(&segment).unwrap() == damaged, "the damaged file is as it was");
}

#[tokio::test]
async fn an_etcd_killed_before_its_first_entry_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("a", &dir);
    let member = start(config.clone()).await;
    member.wait_healthy(DEADLINE).await.unwrap();
    member.stop().await;
    // Back to the instant of the first 50 ms in which a kill is fatal: the log has its three opening records and nothing else.
    let wal = config.data_dir.join("etcd/member/wal");
    let segment = wal.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let segment =
        segment.filter(|path| path.extension().is_some_and(|extension| extension == "wal")).min().unwrap();
    let mut log = std::fs::read(&segment).unwrap();
    let opening = (0..3).fold(0, |at, _| {
        let length = u64::from_le_bytes(log[at..at + 8].try_into().unwrap());
        let padding = if length >> 63 == 1 { (length >> 56) & 7 } else { 0 };
        at + 8 + usize::try_from((length & ((1 << 56) - 1)) + padding).unwrap()
    });
    log[opening..].fill(0);
    std::fs::write(&segment, log).unwrap();
    let member = start(config.clone()).await;
    member.wait_healthy(DEADLINE).await.unwrap();
    assert!(config.data_dir.join("etcd.unborn/wal").exists(), "even that is kept");
    member.stop().await;
}

#[tokio::test]
async fn a_missing_old_new_or_odd_etcd_is_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let find = async |path: &Path| binary::Binary::find(Some(path)).await.unwrap_err().to_string();
    let missing = find(&dir.path().join("nothing")).await;
    assert!(missing.contains("no etcd at") && missing.contains("SHOAL_ETCD"), "{missing}");
    for (body, part) in [
        ("echo etcd Version: 3.3.27", "etcd 3.3.27, too old"),
        ("echo etcd Version: 3.7.0", "etcd 3.7.0, too new"),
        ("echo hello", "not a version of etcd"),
        ("exit 3", "exit status: 3"),
    ] {
        let error = find(&script(dir.path(), body)).await;
        assert!(error.contains(part), "{body}: {error}");
    }
}

#[tokio::test]
async fn a_full_store_takes_puts_again_after_making_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config("a", &dir);
    config.quota_bytes = 8 << 20;
    let url = config.client_url.clone();
    let member = start(config).await;
    member.wait_healthy(DEADLINE).await.unwrap();
    let mut client = member_support::client(&url).await;
    let deadline = Instant::now() + DEADLINE;
    let value = "x".repeat(1 << 20);
    while client.put("big", value.as_str(), None).await.is_ok() {
        assert!(Instant::now() < deadline, "the store never fills");
    }
    assert_eq!(maintenance::nospace_alarms(&url.to_string()).await.unwrap().len(), 1);
    let report = maintenance::recover_space(&[url.to_string()]).await.unwrap();
    assert_eq!(report.alarms_disarmed, 1);
    assert!(report.after_bytes < report.before_bytes, "{report:?}");
    client.put("small", "v", None).await.unwrap();
    member.stop().await;
}

/// Set in the process that [`etcd_dies_with_its_server`] starts and kills.
const VICTIM: &str = "SHOAL_TEST_MEMBER_VICTIM";

#[tokio::test]
async fn etcd_dies_with_its_server() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_server_that_is_killed", "--nocapture"])
        .env(VICTIM, dir.path())
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let etcd = tokio::task::spawn_blocking({
        let ready = dir.path().join("ready");
        move || wait_for_file(&ready)
    });
    let etcd = pidfd(etcd.await.unwrap().trim().parse().unwrap());
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(ended(&etcd, Duration::from_secs(10)), "etcd outlived its server by 10 s");
}

/// Not a test by itself: the server of [`etcd_dies_with_its_server`]. Ends at once when started otherwise.
#[test]
fn the_server_that_is_killed() {
    let Some(dir) = std::env::var_os(VICTIM).map(std::path::PathBuf::from) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut config = MemberConfig::new("a", dir.join("a"), fresh_url(), fresh_url());
        config.binary = Some(etcd());
        let member = start(config).await;
        member.wait_healthy(DEADLINE).await.unwrap();
        std::fs::write(dir.join("ready.new"), member.pid().unwrap().to_string()).unwrap();
        std::fs::rename(dir.join("ready.new"), dir.join("ready")).unwrap();
        std::future::pending::<()>().await;
    });
}

/// Waits for a file to appear, by watching its directory.
fn wait_for_file(path: &Path) -> String {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
    let watch = inotify::init(CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&watch, path.parent().unwrap(), WatchFlags::MOVED_TO).unwrap();
    let timeout = Timespec { tv_sec: DEADLINE.as_secs() as i64, tv_nsec: 0 };
    if !path.exists() {
        let ready = poll(&mut [PollFd::new(&watch, PollFlags::IN)], Some(&timeout)).unwrap();
        assert!(ready > 0, "{} did not appear within {DEADLINE:?}", path.display());
    }
    std::fs::read_to_string(path).unwrap()
}

/// A program that prints what an etcd might.
fn script(dir: &Path, body: &str) -> std::path::PathBuf {
    let path = dir.join(format!("etcd-{:x}", body.len() * 31 + body.bytes().map(usize::from).sum::<usize>()));
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}
