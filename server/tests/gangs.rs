//! Goal: what one member of a task writes the others find, once and whole, whatever a member does in its own directory and whoever is restarted. Directories are
//! real, the store is the model.

#![allow(clippy::unwrap_used)] // a test may

use rustix::fs::{CWD, FileType, Mode, OFlags, mkfifoat, mknodat, open};
use shoal_core::gang_key::{GangEntry, GangValue, KEYS_MAX, VALUE_BYTES_MAX};
use shoal_core::id::{AttemptId, TaskId};
use shoal_server::gangs::{Gangs, Told};
use shoal_store::gang::publish;
use shoal_store::key::{self, Key};
use shoal_store::memory::MemoryStore;
use shoal_store::port::{ListOptions, Op, Store, Txn};
use shoal_store::record;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(20);

fn attempt(number: u32) -> AttemptId {
    AttemptId { task: TaskId(Uuid::from_u128(7)), number }
}

/// A server with the directories of its members.
struct Server {
    told: mpsc::UnboundedSender<Told>,
    stop: CancellationToken,
    work: JoinSet<anyhow::Result<()>>,
}

impl Server {
    fn start(store: &Arc<MemoryStore>, name: &str) -> Server {
        let (told, inbox) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let gangs = Gangs::new(store.clone(), name.to_owned()).unwrap();
        let mut work = JoinSet::new();
        work.spawn(gangs.run(inbox, stop.clone()));
        Server { told, work, stop }
    }

    fn has(&self, attempt: AttemptId, directory: &Path) {
        let fd = open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        self.told.send(Told::Directory(attempt.to_string(), fd)).unwrap();
    }

    async fn end(mut self) {
        self.stop.cancel();
        self.work.join_next().await.unwrap().unwrap().unwrap();
    }
}

/// A member's directory, in memory like a real one, and beside it a canary.
struct Place {
    _dir: tempfile::TempDir,
    path: PathBuf,
    canary: PathBuf,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let (path, canary) = (dir.path().join("gang"), dir.path().join("canary"));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o1777)).unwrap();
        fs::write(&canary, "canary").unwrap();
        Place { _dir: dir, path, canary }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    async fn shows(&self, name: &str, text: &str) {
        let shown = async || fs::read_to_string(self.at(name)).ok().filter(|shown| shown == text);
        wait(&format!("{name} with {text:?}"), async || shown().await.map(drop)).await;
    }

    async fn refuses(&self, line: &str) {
        let refused = || fs::read_to_string(self.at(".refused")).unwrap_or_default();
        wait(&format!("{line:?} among the refusals"), async || {
            refused().lines().any(|refused| refused == line).then_some(())
        })
        .await;
    }

    fn names(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(&self.path).unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }
}

async fn wait(what: &str, mut ask: impl AsyncFnMut() -> Option<()>) {
    let deadline = Instant::now() + PATIENCE;
    while ask().await.is_none() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A store in which this attempt runs.
async fn store_with(attempt: AttemptId) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    begin(&store, attempt).await;
    store
}

async fn begin(store: &MemoryStore, attempt: AttemptId) {
    let key = Key::Gang(attempt.task, attempt.number).to_string();
    let value = record::encode(&GangEntry { nodes: 2, unknown: Default::default() });
    store.txn(Txn { then: vec![Op::Put { key, value, lease: None }], ..Txn::default() }).await.unwrap();
}

async fn over(store: &MemoryStore) {
    let all = Op::DeleteRange(key::gang_of_task(attempt(1).task));
    store.txn(Txn { then: vec![all], ..Txn::default() }).await.unwrap();
}

async fn published(store: &MemoryStore, of: AttemptId) -> Vec<String> {
    let keys = store.list(key::gang_keys(of.task, of.number), ListOptions::default()).await.unwrap().kvs;
    let name = |text: &str| match Key::parse(text).unwrap() {
        Key::GangKey(_, _, name) => name,
        other => panic!("{other}"),
    };
    keys.iter().map(|kv| name(&kv.key)).collect()
}

/// Says something from a node that is not here.
async fn says(store: &MemoryStore, of: AttemptId, key: &str, text: &str) {
    store.txn(publish(of, [(key, &GangValue::new("elsewhere", text.as_bytes()))])).await.unwrap();
}

#[tokio::test]
async fn what_a_member_writes_its_other_members_find_and_nobody_else() {
    let (of, other) = (attempt(1), AttemptId { task: TaskId(Uuid::from_u128(8)), number: 1 });
    let store = store_with(of).await;
    begin(&store, other).await;
    let (one, two) = (Server::start(&store, "n1"), Server::start(&store, "n2"));
    let (first, second, stranger) = (Place::new(), Place::new(), Place::new());
    one.has(of, &first.path);
    two.has(of, &second.path);
    two.has(other, &stranger.path);
    fs::write(first.at("addr.0"), "10.0.0.1\n").unwrap();
    second.shows("addr.0", "10.0.0.1\n").await;
    let metadata = fs::metadata(second.at("addr.0")).unwrap();
    assert_eq!(metadata.mode() & 0o777, 0o644, "the task, another user, can read it");
    fs::write(second.at(".part"), "10.0.0.2\n").unwrap();
    fs::rename(second.at(".part"), second.at("addr.1")).unwrap();
    first.shows("addr.1", "10.0.0.2\n").await;
    File::create(first.at("ready.0")).unwrap();
    second.shows("ready.0", "").await;
    fs::write(second.at(".linked"), "by link").unwrap();
    fs::hard_link(second.at(".linked"), second.at("linked")).unwrap();
    first.shows("linked", "by link").await;
    fs::write(first.at("bytes"), b"\x00\xff").unwrap();
    wait("bytes", async || (fs::read(second.at("bytes")).ok()? == b"\x00\xff").then_some(())).await;
    assert_eq!(stranger.names(), BTreeSet::new());
    assert!(!first.at(".refused").exists() && !second.at(".refused").exists());
    one.end().await;
    two.end().await;
}

#[tokio::test]
async fn who_comes_late_finds_all_that_was_said_before() {
    let of = attempt(1);
    let store = store_with(of).await;
    for n in 0..100 {
        says(&store, of, &format!("k{n}"), "said").await;
    }
    let server = Server::start(&store, "n1");
    let place = Place::new();
    server.has(of, &place.path);
    wait("all of it", async || (place.names().len() == 100).then_some(())).await;
    server.end().await;
}

#[tokio::test]
async fn a_server_that_comes_back_misses_nothing_and_takes_no_half_file() {
    let of = attempt(1);
    let store = store_with(of).await;
    let place = Place::new();
    let server = Server::start(&store, "n1");
    server.has(of, &place.path);
    fs::write(place.at("before"), "x").unwrap();
    wait("the first", async || (published(&store, of).await == ["before"]).then_some(())).await;
    server.end().await;
    fs::write(place.at("between"), "y").unwrap();
    File::create(place.at("flag")).unwrap();
    let mut half = File::create(place.at("half")).unwrap();
    half.write_all(b"ha").unwrap();
    says(&store, of, "elsewhere", "z").await;
    let server = Server::start(&store, "n1");
    server.has(of, &place.path);
    server.has(of, &place.path); // said again, as after a new connection to the runner
    place.shows("elsewhere", "z").await;
    let expected = ["before", "between", "elsewhere", "flag"];
    wait("those", async || (published(&store, of).await == expected).then_some(())).await;
    half.write_all(b"lf").unwrap();
    drop(half);
    wait("the last", async || (published(&store, of).await.len() == 5).then_some(())).await;
    let key = Key::GangKey(of.task, of.number, "half".to_owned()).to_string();
    let value = record::decode_kv::<GangValue>(&store.get(&key).await.unwrap().0.unwrap()).unwrap().value;
    assert_eq!(value, GangValue::new("n1", b"half"));
    assert!(!place.at(".refused").exists(), "{:?}", fs::read_to_string(place.at(".refused")));
    server.end().await;
}

#[tokio::test]
async fn the_first_wins_and_the_other_is_told() {
    let of = attempt(1);
    let store = store_with(of).await;
    says(&store, of, "lead", "elsewhere").await;
    let (first, second) = (Place::new(), Place::new());
    fs::write(first.at("lead"), "me").unwrap();
    let server = Server::start(&store, "n1");
    server.has(of, &first.path);
    first.refuses("lead: published before, with other content").await;
    assert_eq!(fs::read_to_string(first.at("lead")).unwrap(), "me", "it is the member's own");
    server.has(AttemptId { number: 2, ..of }, &second.path);
    // Written again: what was published stays.
    fs::write(first.at("own"), "one").unwrap();
    wait("the first of it", async || (published(&store, of).await.len() == 2).then_some(())).await;
    fs::write(first.at("own"), "two").unwrap();
    first.refuses("own: published before, with other content").await;
    server.end().await;
}

#[tokio::test]
async fn what_is_no_small_plain_file_is_refused_with_the_reason() {
    let of = attempt(1);
    let store = store_with(of).await;
    let server = Server::start(&store, "n1");
    let place = Place::new();
    server.has(of, &place.path);
    fs::write(place.at("first"), "first").unwrap();
    wait("the server to look", async || (!published(&store, of).await.is_empty()).then_some(())).await;
    fs::write(place.at("large"), [b'x'; VALUE_BYTES_MAX + 1]).unwrap();
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(place.at("sparse"))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    fs::write(place.at("full"), [b'x'; VALUE_BYTES_MAX]).unwrap();
    fs::create_dir_all(place.at("dir/deep/er")).unwrap();
    symlink(&place.canary, place.at("link")).unwrap();
    symlink("full", place.at("link-inside")).unwrap();
    symlink("loop", place.at("loop")).unwrap();
    mkfifoat(CWD, place.at("pipe"), Mode::RWXU).unwrap();
    let _listener = UnixListener::bind(place.at("socket")).unwrap();
    // A device, which only root of the machine can make at all.
    mknodat(CWD, place.at("null"), FileType::CharacterDevice, Mode::RWXU, rustix::fs::makedev(1, 3)).unwrap();
    for name in ["a b", "a\nb: published", "ä", "#1", &"n".repeat(65)] {
        fs::write(place.at(name), "x").unwrap();
    }
    let name = "a name has 1 to 64 letters, digits, '.', '_' or '-'";
    for line in [
        "large: more than 4096 bytes",
        "sparse: more than 4096 bytes",
        "dir: not a regular file",
        "link: not a regular file",
        "link-inside: not a regular file",
        "loop: not a regular file",
        "pipe: not a regular file",
        "socket: not a regular file",
        "null: not a regular file",
        &format!("a b: {name}"),
        &format!("a\\nb: published: {name}"),
        &format!("ä: {name}"),
        &format!("#1: {name}"),
        &format!("{}: {name}", "n".repeat(64)),
    ] {
        place.refuses(line).await;
    }
    wait("what is one", async || (published(&store, of).await == ["first", "full"]).then_some(())).await;
    fs::write(place.at("large"), "small by now").unwrap();
    wait("the third", async || (published(&store, of).await.len() == 3).then_some(())).await;
    assert_eq!(fs::read_to_string(&place.canary).unwrap(), "canary");
    server.end().await;
}

#[tokio::test]
async fn what_stands_in_the_way_is_neither_followed_nor_replaced() {
    let of = attempt(1);
    let store = store_with(of).await;
    let server = Server::start(&store, "n1");
    let place = Place::new();
    symlink(&place.canary, place.at("a")).unwrap();
    symlink(&place.canary, place.at(".refused")).unwrap();
    mkfifoat(CWD, place.at("b"), Mode::RWXU).unwrap();
    fs::create_dir(place.at("c")).unwrap();
    server.has(of, &place.path);
    for key in ["a", "b", "c", "d"] {
        says(&store, of, key, "from another").await;
    }
    place.shows("d", "from another").await;
    assert!(fs::symlink_metadata(place.at("a")).unwrap().is_symlink());
    assert!(fs::symlink_metadata(place.at("c")).unwrap().is_dir());
    assert_eq!(fs::read_to_string(&place.canary).unwrap(), "canary");
    // As a pipe it is not waited for either.
    fs::remove_file(place.at(".refused")).unwrap();
    mkfifoat(CWD, place.at(".refused"), Mode::RWXU).unwrap();
    fs::write(place.at("large"), [b'x'; VALUE_BYTES_MAX + 1]).unwrap();
    says(&store, of, "e", "still").await;
    place.shows("e", "still").await;
    server.end().await;
}

#[tokio::test]
async fn ten_thousand_files_keep_nobody_else_waiting() {
    let (of, other) = (attempt(1), AttemptId { task: TaskId(Uuid::from_u128(8)), number: 1 });
    let store = store_with(of).await;
    begin(&store, other).await;
    let server = Server::start(&store, "n1");
    let (flood, calm) = (Place::new(), Place::new());
    server.has(of, &flood.path);
    server.has(other, &calm.path);
    let path = flood.path.clone();
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let flooding = std::thread::spawn(move || {
        for n in 0..10_000 {
            fs::write(path.join(format!("f{n}")), "x").unwrap();
        }
        // And then the same name, again and again, as a file, a link, and nothing.
        while !stopped.is_cancelled() {
            let _ = fs::write(path.join("x"), "y");
            let _ = fs::rename(path.join("x"), path.join("z"));
            let _ = fs::remove_file(path.join("z"));
            let _ = symlink("/etc/passwd", path.join("x"));
            let _ = fs::remove_file(path.join("x"));
        }
    });
    for n in 0..20 {
        let asked = Instant::now();
        fs::write(calm.at(&format!("k{n}")), "x").unwrap();
        wait("a key of the calm one", async || (published(&store, other).await.len() > n).then_some(()))
            .await;
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    }
    stop.cancel();
    flooding.join().unwrap();
    wait("all that it may have", async || (published(&store, of).await.len() >= KEYS_MAX).then_some(()))
        .await;
    assert!(published(&store, of).await.len() <= KEYS_MAX, "no more than that");
    assert!(fs::metadata(flood.at(".refused")).unwrap().len() <= 16 << 10);
    server.end().await;
}

#[tokio::test]
async fn files_that_change_while_they_are_read_do_no_harm() {
    let of = attempt(1);
    let store = store_with(of).await;
    let server = Server::start(&store, "n1");
    let place = Place::new();
    server.has(of, &place.path);
    let (path, canary) = (place.path.clone(), place.canary.clone());
    let changing = std::thread::spawn(move || {
        for n in 0..2_000 {
            let name = path.join(format!("k{}", n % 50));
            let other = path.join(".other");
            let _ = fs::write(&other, vec![b'x'; 100 + n * 7 % 8000]);
            let _ = fs::rename(&other, &name);
            if let Ok(file) = OpenOptions::new().write(true).open(&name) {
                let _ = file.set_len(1 << 30);
                let _ = file.set_len(n as u64 % 5000);
            }
            let _ = fs::remove_file(&name);
            let _ = symlink(&canary, &name);
            let _ = fs::remove_file(&name);
            let _ = fs::create_dir(&name);
            let _ = fs::remove_dir(&name);
        }
        fs::write(path.join("last"), "last").unwrap();
    });
    wait("the last of it", async || published(&store, of).await.contains(&"last".to_owned()).then_some(()))
        .await;
    changing.join().unwrap();
    for key in published(&store, of).await {
        let key = Key::GangKey(of.task, of.number, key).to_string();
        let value = record::decode_kv::<GangValue>(&store.get(&key).await.unwrap().0.unwrap()).unwrap().value;
        let bytes = value.bytes().expect("no longer than a value may be");
        assert!(bytes == b"last" || bytes.iter().all(|byte| matches!(byte, b'x' | 0)), "{key}");
    }
    assert_eq!(fs::read_to_string(&place.canary).unwrap(), "canary");
    server.end().await;
}

#[tokio::test]
async fn a_file_that_is_written_again_is_never_taken_in_between() {
    const WHOLE: &str = "a whole file";
    let of = attempt(1);
    let store = store_with(of).await;
    let server = Server::start(&store, "n1");
    let place = Place::new();
    server.has(of, &place.path);
    let path = place.path.clone();
    let writing = std::thread::spawn(move || {
        for n in 0..100 {
            // Cut to nothing and written again, each time.
            (0..20).for_each(|_| fs::write(path.join(format!("k{n}")), WHOLE).unwrap());
        }
    });
    wait("all of them", async || (published(&store, of).await.len() == 100).then_some(())).await;
    writing.join().unwrap();
    for kv in store.list(key::gang_keys(of.task, of.number), ListOptions::default()).await.unwrap().kvs {
        let value = record::decode_kv::<GangValue>(&kv).unwrap().value;
        assert_eq!(value.text.as_deref(), Some(WHOLE), "{}", kv.key);
    }
    assert!(!place.at(".refused").exists(), "{:?}", fs::read_to_string(place.at(".refused")));
    server.end().await;
}

#[tokio::test]
async fn a_members_last_words_are_said_after_its_end_and_none_to_an_attempt_that_is_over() {
    let of = attempt(1);
    let store = store_with(of).await;
    let (one, two) = (Server::start(&store, "n1"), Server::start(&store, "n2"));
    let (first, second) = (Place::new(), Place::new());
    one.has(of, &first.path);
    two.has(of, &second.path);
    fs::write(first.at("result"), "42").unwrap();
    one.told.send(Told::Ended(of.to_string())).unwrap();
    second.shows("result", "42").await;
    // Of one that ended while its server was away.
    let gone = Place::new();
    fs::write(gone.at("result.2"), "43").unwrap();
    one.has(of, &gone.path);
    one.told.send(Told::Ended(of.to_string())).unwrap();
    second.shows("result.2", "43").await;
    over(&store).await;
    fs::write(second.at("late"), "x").unwrap();
    two.told.send(Told::Alive(BTreeSet::new())).unwrap();
    // The next attempt begins with nothing, on the same server.
    begin(&store, attempt(2)).await;
    let third = Place::new();
    two.has(attempt(2), &third.path);
    fs::write(third.at("new"), "y").unwrap();
    wait("what is new", async || (published(&store, attempt(2)).await == ["new"]).then_some(())).await;
    assert_eq!(published(&store, of).await, [""; 0]);
    assert_eq!(third.names(), BTreeSet::from(["new".to_owned()]));
    one.end().await;
    two.end().await;
}

#[tokio::test]
async fn a_full_store_is_waited_for() {
    let of = attempt(1);
    let store = store_with(of).await;
    let server = Server::start(&store, "n1");
    let place = Place::new();
    server.has(of, &place.path);
    store.set_full(true);
    fs::write(place.at("a"), "first").unwrap();
    says_when_full(&store, of).await;
    store.set_full(false);
    wait("it", async || (published(&store, of).await == ["a"]).then_some(())).await;
    server.end().await;
}

/// A put is refused.
async fn says_when_full(store: &MemoryStore, of: AttemptId) {
    let refused = store.txn(publish(of, [("b", &GangValue::new("elsewhere", b""))])).await;
    assert!(refused.is_err(), "{refused:?}");
}

#[tokio::test]
async fn a_directory_without_room_shows_the_rest_once_there_is_some() {
    // A file system of its own, as a member has it.
    let place = Place::new();
    let small = place.path.clone();
    let context = rustix::mount::fsopen("tmpfs", rustix::mount::FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    rustix::mount::fsconfig_set_string(&context, "nr_inodes", "4").unwrap();
    rustix::mount::fsconfig_create(&context).unwrap();
    let flags = rustix::mount::FsMountFlags::FSMOUNT_CLOEXEC;
    let directory = rustix::mount::fsmount(&context, flags, rustix::mount::MountAttrFlags::empty()).unwrap();
    drop(small);
    let of = attempt(1);
    let store = store_with(of).await;
    let server = Server::start(&store, "n1");
    server.told.send(Told::Directory(of.to_string(), directory.try_clone().unwrap())).unwrap();
    let has = |name: &str| rustix::fs::statat(&directory, name, rustix::fs::AtFlags::empty()).is_ok();
    for name in ["own1", "own2"] {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        drop(rustix::fs::openat(&directory, name, flags, Mode::RWXU).unwrap());
    }
    wait("the own ones", async || (published(&store, of).await.len() == 2).then_some(())).await;
    says(&store, of, "a", "1").await;
    says(&store, of, "b", "2").await;
    wait("the first", async || has("a").then_some(())).await;
    assert!(!has("b"));
    rustix::fs::unlinkat(&directory, "own1", rustix::fs::AtFlags::empty()).unwrap();
    wait("the second", async || has("b").then_some(())).await;
    server.end().await;
}
