//! What the tests of the embedded member share: the etcd to use, places and ports of their own, and waiting with a deadline.

#![allow(dead_code)] // each test program uses its part

use etcd_client::{Client, ConnectOptions};
use shoal_store::member::{Member, MemberConfig, MemberUrl, Started};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Generous: two cores may be shared with everything else.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The etcd under test: `SHOAL_ETCD`, else the one in `PATH`, else where `make` unpacks it.
pub fn etcd() -> PathBuf {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/etcd");
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    let candidates = std::env::var_os("SHOAL_ETCD").map(PathBuf::from).into_iter();
    let candidates =
        candidates.chain(std::env::split_paths(&in_path).map(|dir| dir.join("etcd"))).chain([unpacked]);
    candidates
        .into_iter()
        .find(|path| path.is_file())
        .expect("these tests need etcd: run `make`, or set SHOAL_ETCD")
}

/// URLs that nobody else has: a loopback address of this test's own, so that no outgoing connection of another test can sit on the
/// port, and a port that was free there.
pub fn fresh_url() -> MemberUrl {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    let address = format!("127.{}.{}.{}", 1 + process % 250, 1 + (process / 250) % 250, 1 + number % 250);
    let listener = TcpListener::bind((address.as_str(), 0)).expect("a loopback address has a free port");
    let port = listener.local_addr().expect("it is bound").port();
    format!("http://{address}:{port}").parse().expect("it is a url")
}

/// A member named `name` in `dir` that founds a cluster alone.
pub fn config(name: &str, dir: &TempDir) -> MemberConfig {
    let mut config = MemberConfig::new(name, dir.path().join(name), fresh_url(), fresh_url());
    config.binary = Some(etcd());
    config
}

/// Starts it as a member.
pub async fn start(config: MemberConfig) -> Member {
    let name = config.name.clone();
    match Member::start(config).await {
        Ok(Started::Member(member)) => member,
        other => panic!("{name} did not start as a member: {other:?}"),
    }
}

/// A client of one member.
pub async fn client(url: &MemberUrl) -> Client {
    let options = ConnectOptions::new().with_timeout(Duration::from_secs(5));
    Client::connect([url.to_string()], Some(options)).await.expect("connecting is lazy")
}

/// Writes a key, with a few tries: a new leader may just be elected.
pub async fn put(url: &MemberUrl, key: &str, value: &str) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match client(url).await.put(key, value, None).await {
            Ok(_) => return,
            Err(error) => assert!(Instant::now() < deadline, "put {key} at {url}: {error}"),
        }
    }
}

/// Reads a key, linearizably.
pub async fn get(url: &MemberUrl, key: &str) -> Option<String> {
    let answer = client(url).await.get(key, None).await.expect("a healthy member answers");
    answer.kvs().first().map(|kv| kv.value_str().expect("tests write text").to_owned())
}

/// Waits until `condition` holds for what the receiver has.
pub async fn wait_for<T: Clone + std::fmt::Debug>(
    what: &str,
    receiver: &mut tokio::sync::watch::Receiver<T>,
    condition: impl FnMut(&T) -> bool,
) -> T {
    let found = tokio::time::timeout(DEADLINE, receiver.wait_for(condition))
        .await
        .map(|found| found.map(|now| now.clone()));
    match found {
        Ok(Ok(now)) => now,
        Ok(Err(_)) => panic!("the member ended while waiting for {what}"),
        Err(_) => panic!("no {what} within {DEADLINE:?}; last {:?}", receiver.borrow()),
    }
}

/// Sends a signal to one process.
pub fn kill(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("pids are small"))
        .expect("pids are positive");
    rustix::process::kill_process(pid, signal).expect("it is ours and runs");
}

/// A handle on a process that is not necessarily a child, for [`ended`].
pub fn pidfd(pid: u32) -> std::os::fd::OwnedFd {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("pids are small"))
        .expect("pids are positive");
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("it runs")
}

/// Whether the process ends within `limit`.
pub fn ended(process: &std::os::fd::OwnedFd, limit: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let timeout = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: 0 };
    poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout)).expect("polling works") > 0
}
