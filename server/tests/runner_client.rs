//! Goal: what was asked of a runner is carried out however often the connection to it breaks. The runner here is a socket and a script.

use futures::{SinkExt, StreamExt};
use shoal_container::protocol::{Event, FRAME_BYTES_MAX, Report, Request, Start, VERSION};
use shoal_server::gangs::Told;
use shoal_server::runner::{QUIET, Runner, RunnerConfig, Said};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::bytes::Bytes;
use tokio_util::codec::{Framed, LengthDelimitedCodec};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);

/// One connection that the client has made.
struct Connection(Framed<UnixStream, LengthDelimitedCodec>);

impl Connection {
    /// Accepts, hears the greeting and answers with these attempts, alive.
    async fn greet(listener: &UnixListener, alive: &[&str]) -> Connection {
        let mut connection = Connection::open(listener).await;
        connection.welcome(alive, false).await;
        connection
    }

    async fn open(listener: &UnixListener) -> Connection {
        let accepted = tokio::time::timeout(PATIENCE, listener.accept()).await;
        let (stream, _) = accepted.expect("the client did not connect").expect("a connection");
        let codec = LengthDelimitedCodec::builder().max_frame_length(FRAME_BYTES_MAX).new_codec();
        let mut connection = Connection(Framed::new(stream, codec));
        assert_eq!(connection.request("a greeting").await, Request::Hello { version: VERSION });
        connection
    }

    /// A list, or a part of one.
    async fn welcome(&mut self, alive: &[&str], more: bool) {
        let attempts =
            alive.iter().map(|id| Report { id: (*id).to_owned(), end: None, gang: false }).collect();
        self.tell(&Event::Welcome { version: VERSION, attempts, more, unenforced: Vec::new() }).await;
    }

    async fn request(&mut self, what: &str) -> Request {
        let frame = tokio::time::timeout(PATIENCE, self.0.next()).await;
        let frame = frame.unwrap_or_else(|_| panic!("{what} did not come")).expect("open").expect("a frame");
        serde_json::from_slice(&frame).expect("a request")
    }

    async fn tell(&mut self, event: &Event) {
        let bytes = serde_json::to_vec(event).expect("an event has a form");
        self.0.send(Bytes::from(bytes)).await.expect("the client listens");
    }

    /// Hands over this directory, the rest of the event some time after its first byte.
    async fn hand_over(&mut self, id: &str, directory: &std::path::Path) {
        let event = serde_json::to_vec(&Event::GangDirectory { id: id.to_owned(), ended: id == "b.1" })
            .expect("an event has a form");
        let frame = [&(event.len() as u32).to_be_bytes(), event.as_slice()].concat();
        let directory = std::fs::File::open(directory).expect("a directory");
        let descriptors = [directory.as_fd()];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = rustix::net::SendAncillaryBuffer::new(&mut space);
        ancillary.push(rustix::net::SendAncillaryMessage::ScmRights(&descriptors));
        let (first, rest) = frame.split_at(1);
        let flags = rustix::net::SendFlags::empty();
        let stream = self.0.get_mut();
        rustix::net::sendmsg(&*stream, &[std::io::IoSlice::new(first)], &mut ancillary, flags).expect("room");
        tokio::task::yield_now().await;
        stream.write_all(rest).await.expect("the client listens");
    }
}

struct World {
    listener: UnixListener,
    runner: Runner,
    said: mpsc::UnboundedReceiver<Said>,
    directories: mpsc::UnboundedReceiver<Told>,
    work: JoinSet<anyhow::Result<()>>,
    _dir: tempfile::TempDir,
}

fn world() -> World {
    world_with(QUIET)
}

/// Of a client that asks a runner for a sign of life after so much silence.
fn world_with(quiet: Duration) -> World {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let listener = UnixListener::bind(dir.path().join("runner.sock")).expect("a socket");
    let config = RunnerConfig {
        binary: Some("/nonexistent/runner".into()),
        require_limits: false,
        state_dir: dir.path().to_owned(),
        attempts_dir: dir.path().join("attempts"),
        policy: Default::default(),
        quiet,
    };
    let (say, said) = mpsc::unbounded_channel();
    let (tell, directories) = mpsc::unbounded_channel();
    let (runner, client) = Runner::new(config, say, tell, CancellationToken::new());
    let mut work = JoinSet::new();
    work.spawn(client);
    World { listener, runner, said, directories, work, _dir: dir }
}

fn stop(id: &str, grace_ms: u64) -> Request {
    Request::Stop { id: id.to_owned(), grace_ms }
}

#[tokio::test]
async fn a_stop_that_was_lost_with_its_runner_is_sent_to_the_next() {
    let mut world = world();
    let mut first = Connection::greet(&world.listener, &["a.1"]).await;
    world.runner.stop("a.1".to_owned(), 70).await.expect("the client runs");
    assert_eq!(first.request("the stop").await, stop("a.1", 70));
    // Killed before it did anything; the stub lives on, and the next runner adopts it.
    drop(first);
    let mut second = Connection::greet(&world.listener, &["a.1"]).await;
    assert_eq!(second.request("the stop, again").await, stop("a.1", 70));
    world.said.recv().await.expect("the client runs");
}

#[tokio::test]
async fn what_a_runner_does_not_enforce_is_told_whenever_that_changes() {
    let mut world = world();
    let lacks = |what: &[&str]| what.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    for (unenforced, told) in [
        (lacks(&["memory", "ids"]), Some(lacks(&["memory", "ids"]))),
        (lacks(&["memory", "ids"]), None),
        (lacks(&[]), Some(lacks(&[]))),
    ] {
        let mut connection = Connection::open(&world.listener).await;
        let welcome = Event::Welcome { version: VERSION, attempts: Vec::new(), more: false, unenforced };
        connection.tell(&welcome).await;
        let mut heard = None;
        loop {
            match tokio::time::timeout(PATIENCE, world.said.recv())
                .await
                .expect("it is told")
                .expect("it runs")
            {
                Said::Unenforced(what) => heard = Some(what),
                Said::Has(_) => break,
                Said::Started(_) | Said::Stuck(..) | Said::Ended(..) => {}
            }
        }
        assert_eq!(heard, told);
    }
}

#[tokio::test]
async fn a_stop_is_not_sent_again_once_its_attempt_has_ended() {
    let world = world();
    let mut first = Connection::greet(&world.listener, &["a.1", "b.1"]).await;
    for id in ["a.1", "b.1"] {
        world.runner.stop(id.to_owned(), 70).await.expect("the client runs");
        first.request("the stop").await;
    }
    drop(first);
    let mut second = Connection::greet(&world.listener, &["b.1"]).await;
    assert_eq!(second.request("the stop of the one that lives").await, stop("b.1", 70));
    world.runner.forget("a.1".to_owned()).await.expect("the client runs");
    assert_eq!(second.request("what comes next").await, Request::Forget { id: "a.1".to_owned() });
}

#[tokio::test]
async fn a_fence_is_asked_for_again_and_over_only_when_all_are_dead() {
    let world = world();
    let mut first = Connection::greet(&world.listener, &["a.1"]).await;
    let runner = world.runner.clone();
    let mut fence = Box::pin(runner.kill_all());
    assert!(futures::poll!(&mut fence).is_pending());
    assert_eq!(first.request("the fence").await, Request::KillAll);
    drop(first);
    let mut second = Connection::greet(&world.listener, &["a.1"]).await;
    assert_eq!(second.request("the fence, again").await, Request::KillAll);
    assert!(futures::poll!(&mut fence).is_pending());
    second.tell(&Event::AllDead).await;
    let over = tokio::time::timeout(PATIENCE, fence).await.expect("the fence does not end");
    over.expect("the client runs");
}

#[tokio::test]
async fn a_list_in_parts_is_heard_whole_and_half_a_list_not_at_all() {
    let mut world = world();
    let mut first = Connection::greet(&world.listener, &[]).await;
    assert_eq!(world.said.recv().await, Some(Said::Has(Vec::new())));
    first.welcome(&["a.1"], true).await;
    drop(first);
    let mut second = Connection::greet(&world.listener, &["b.1"]).await;
    let report = |id: &str| Report { id: id.to_owned(), end: None, gang: false };
    assert_eq!(world.said.recv().await, Some(Said::Has(vec![report("b.1")])), "what broke off is forgotten");
    second.welcome(&["c.1", "d.1"], true).await;
    second.welcome(&["e.1"], false).await;
    let whole = ["c.1", "d.1", "e.1"].map(report).to_vec();
    assert_eq!(world.said.recv().await, Some(Said::Has(whole)));
}

#[tokio::test]
async fn a_runner_that_hangs_ends_the_server() {
    let mut world = world_with(Duration::from_millis(20));
    let mut hung = Connection::greet(&world.listener, &[]).await;
    for _ in 0..4 {
        assert_eq!(hung.request("a question").await, Request::Hello { version: VERSION });
    }
    let ended = world.work.join_next().await.expect("the client").expect("no panic");
    assert!(ended.expect_err("it hangs").to_string().contains("it hangs"));
}

#[tokio::test]
async fn a_runner_that_is_merely_idle_is_asked_and_kept() {
    let world = world_with(Duration::from_millis(20));
    let mut idle = Connection::greet(&world.listener, &[]).await;
    for _ in 0..20 {
        assert_eq!(idle.request("a question").await, Request::Hello { version: VERSION });
        idle.tell(&Event::Welcome {
            version: VERSION,
            attempts: Vec::new(),
            more: false,
            unenforced: Vec::new(),
        })
        .await;
    }
}

/// An attempt of a task of several nodes.
fn member(id: &str) -> Start {
    let start = serde_json::json!({
        "id": id, "command": ["true"], "env": {}, "workdir": "/work", "root": "host", "hostname": "n", "gang": true,
        "limits": {"cpu_milli": 1, "memory_bytes": 1, "pids_max": 1}, "time_limit_ms": 0, "kill_grace_ms": 0,
        "log_bytes_max": 0, "deadline_page": "/page",
    });
    serde_json::from_value(start).expect("a start")
}

#[tokio::test]
async fn the_directories_of_members_come_with_their_events_however_these_are_cut() {
    let mut world = world();
    let mut first = Connection::greet(&world.listener, &[]).await;
    assert!(matches!(world.directories.recv().await, Some(Told::Alive(alive)) if alive.is_empty()));
    world.runner.start(member("a.1")).await.expect("the client runs");
    assert_eq!(first.request("the start").await, Request::Start(Box::new(member("a.1"))));
    let ask = |id: &str| Request::GangDirectory { id: id.to_owned() };
    assert_eq!(first.request("the question").await, ask("a.1"));
    // Lost with its runner; the next one is asked for all that it has.
    drop(first);
    let mut second = Connection::greet(&world.listener, &[]).await;
    assert_eq!(second.request("the start, again").await, Request::Start(Box::new(member("a.1"))));
    assert_eq!(second.request("the question, again").await, ask("a.1"));
    let alive = |id: &str| Report { id: id.to_owned(), end: None, gang: true };
    let attempts = vec![alive("a.1"), alive("b.1")];
    second.tell(&Event::Welcome { version: VERSION, attempts, more: false, unenforced: Vec::new() }).await;
    for id in ["a.1", "b.1"] {
        assert_eq!(second.request("a question").await, ask(id));
    }
    for id in ["a.1", "b.1"] {
        second.hand_over(id, std::path::Path::new(if id == "a.1" { "/proc" } else { "/dev" })).await;
        second.tell(&Event::Started { id: id.to_owned(), pid: 1 }).await;
    }
    let mut came = Vec::new();
    loop {
        let told = tokio::time::timeout(PATIENCE, world.directories.recv()).await.expect("it is told");
        if let Some(Told::Ended(id)) = &told {
            assert_eq!((id.as_str(), came.len()), ("b.1", 2), "its directory comes first");
            break;
        }
        if let Some(Told::Directory(id, directory)) = told {
            let path = std::fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd()));
            came.push((id, path.expect("an open file").display().to_string()));
        }
    }
    let expected = [("a.1", "/proc"), ("b.1", "/dev")];
    assert_eq!(came, expected.map(|(id, path)| (id.to_owned(), path.to_owned())));
}
