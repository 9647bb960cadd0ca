//! A runner of one test's own: a real process, driven over its socket by a small blocking client. It kills nothing but what it started.
#![allow(dead_code, clippy::unwrap_used)]

pub mod crowd;
pub mod groups;

use groups::{Service, hierarchies, joining};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use shoal_container::deadline::{DeadlinePage, boottime_ns};
use shoal_container::policy::Policy;
use shoal_container::protocol::{
    Cause, End, Event, Limits, Net, Report, Request, Root, Start, User, VERSION,
};
use shoal_container::wire::{Decoder, encode};
use std::collections::{BTreeMap, VecDeque};
use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long any wait may take before it says what it waited for, at full speed.
const PATIENCE: Duration = Duration::from_secs(20);
/// The default search path of test tasks.
pub const PATH: &str = "/bin";

/// How many times slower than usual this machine is, which lengthens all that depends on its speed: 1, unless whoever runs the tests
/// knows better (an emulated machine).
pub fn slowness() -> u64 {
    std::env::var("SHOAL_TEST_SLOWNESS")
        .map_or(1, |text| text.parse().expect("SHOAL_TEST_SLOWNESS is a number"))
}

fn patience() -> Duration {
    PATIENCE * u32::try_from(slowness()).expect("a small number")
}

/// A runner, its directories, its deadline page and one connection to it.
pub struct TestRunner {
    pub dir: tempfile::TempDir,
    pub process: Child,
    pub page: DeadlinePage,
    /// Who connects, if not this process' user.
    user: Option<u32>,
    /// What the last `Welcome` said is not enforced.
    pub unenforced: Vec<String>,
    client: Option<Client>,
    /// Where in each hierarchy its groups are expected; empty is the top.
    below: PathBuf,
}

impl TestRunner {
    /// Starts one with a busybox root and a deadline an hour away.
    pub fn new() -> TestRunner {
        TestRunner::with_arguments(&[])
    }

    /// The same, with more arguments for the runner.
    pub fn with_arguments(arguments: &[&str]) -> TestRunner {
        TestRunner::with_spawn(None, |dir| spawn(dir, arguments))
    }

    /// One that starts as a member of these groups, and is expected to make its own in `below`.
    pub fn in_groups(groups: &[PathBuf], below: &Path) -> TestRunner {
        let mut runner = TestRunner::with_spawn(None, |dir| spawn_in(groups, dir));
        runner.below = below.to_owned();
        runner
    }

    /// One that this user has started, who is not root; its directories are the user's.
    pub fn of_user(uid: u32, arguments: &[&str]) -> TestRunner {
        TestRunner::with_spawn(Some(uid), |dir| {
            give_to(uid, dir);
            spawn_as(uid, dir, arguments)
        })
    }

    /// The same, from its start a member of a group that was delegated to the user.
    pub fn of_user_in(service: &Service, uid: u32) -> TestRunner {
        let mut runner = TestRunner::with_spawn(Some(uid), |dir| {
            give_to(uid, dir);
            spawn_as_in(&service.groups, uid, dir)
        });
        runner.below = service.name.clone();
        runner
    }

    /// One of a user whom /etc/subuid and /etc/subgid give ids, in a mount namespace in which they do.
    pub fn of_user_with_ids(uid: u32, ids: &str) -> TestRunner {
        TestRunner::with_spawn(Some(uid), |dir| {
            give_to(uid, dir);
            std::fs::write(dir.join("ids"), format!("{uid}:{ids}\n")).unwrap();
            let users = std::fs::read_to_string("/etc/passwd").unwrap();
            std::fs::write(dir.join("users"), format!("{users}shoal-test:x:{uid}:{uid}::/:/bin/false\n"))
                .unwrap();
            spawn_with_ids(uid, dir)
        })
    }

    fn with_spawn(user: Option<u32>, spawn: impl FnOnce(&Path) -> Child) -> TestRunner {
        assert!(rustix::process::geteuid().is_root(), "these tests start containers and need root");
        let dir = tempfile::tempdir().unwrap();
        busybox_root(&dir.path().join("root"));
        std::fs::create_dir(dir.path().join("attempts")).unwrap();
        let roots = vec![dir.path().join("root"), "/no/such/root".into()];
        write_policy(dir.path(), &Policy { roots, host_root: true, ..Policy::default() });
        let page = DeadlinePage::create(&dir.path().join("deadline")).unwrap();
        page.advance_to(boottime_ns() + 3_600_000_000_000);
        let process = spawn(dir.path());
        let mut runner = TestRunner {
            dir,
            process,
            page,
            user,
            unenforced: Vec::new(),
            client: None,
            below: PathBuf::new(),
        };
        runner.connect();
        runner
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Connects (anew) and returns what the `Welcome` lists.
    pub fn connect(&mut self) -> Vec<Report> {
        self.client = None;
        let socket = self.path("state/runner.sock");
        let user = self.user;
        let stream = wait_for("the runner to listen", || connect_as(user, &socket));
        let (decoder, descriptors) = (Decoder::default(), VecDeque::new());
        let mut client = Client { stream, decoder, descriptors, seen: Vec::new() };
        client.send(&Request::Hello { version: VERSION });
        let Event::Welcome { version, mut attempts, mut more, unenforced } = client.receive("a welcome")
        else {
            panic!("the first event is not a welcome");
        };
        while more {
            let Event::Welcome { attempts: rest, more: again, .. } = client.receive("the rest of a welcome")
            else {
                panic!("a welcome was begun and not ended");
            };
            attempts.extend(rest);
            more = again;
        }
        assert_eq!(version, VERSION);
        self.unenforced = unenforced;
        self.client = Some(client);
        attempts
    }

    /// Closes the connection, as a server that dies does.
    pub fn disconnect(&mut self) {
        self.client = None;
    }

    /// Starts another runner process on the same directories; the earlier one must be gone.
    pub fn restart(&mut self) -> Vec<Report> {
        self.process = spawn(self.dir.path(), &[]);
        self.connect()
    }

    /// The same, as a member of these groups.
    pub fn restart_in(&mut self, groups: &[PathBuf]) -> Vec<Report> {
        self.process = spawn_in(groups, self.dir.path());
        self.connect()
    }

    pub fn send(&mut self, request: &Request) {
        self.client.as_mut().expect("connected").send(request);
    }

    /// Whether the runner still takes requests on this connection.
    pub fn try_send(&mut self, request: &Request) -> bool {
        let client = self.client.as_mut().expect("connected");
        client.stream.write_all(&encode(request).unwrap()).is_ok()
    }

    /// The first event, seen before or yet to come, for which `pick` returns something. It is taken out of what was seen.
    pub fn event<T>(&mut self, what: &str, pick: impl Fn(&Event) -> Option<T>) -> T {
        let client = self.client.as_mut().expect("connected");
        let deadline = Instant::now() + patience();
        loop {
            if let Some(index) = client.seen.iter().position(|event| pick(event).is_some()) {
                return pick(&client.seen.remove(index)).expect("picked a moment ago");
            }
            assert!(Instant::now() < deadline, "no {what} within {:?}; seen: {:?}", patience(), client.seen);
            let event = client.receive(what);
            client.seen.push(event);
        }
    }

    /// A shell script as an attempt, with generous limits.
    pub fn script(&self, id: &str, script: &str) -> Start {
        self.command(id, &["sh", "-c", script])
    }

    pub fn command(&self, id: &str, command: &[&str]) -> Start {
        Start {
            id: id.to_owned(),
            command: command.iter().map(|s| (*s).to_owned()).collect(),
            env: BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]),
            workdir: "/work".to_owned(),
            root: Root::Directory(self.path("root")),
            hostname: "box".to_owned(),
            user: User::NOBODY,
            net: Net::Loopback,
            mounts: Vec::new(),
            gang: false,
            limits: Limits::new(1000, 64 << 20, 64),
            time_limit_ms: 0,
            kill_grace_ms: 200,
            log_bytes_max: 1 << 20,
            deadline_page: self.path("deadline"),
        }
    }

    pub fn start(&mut self, start: Start) {
        self.send(&Request::Start(Box::new(start)));
    }

    /// Starts and waits for the end.
    pub fn run(&mut self, start: Start) -> End {
        let id = start.id.clone();
        self.start(start);
        self.end(&id)
    }

    pub fn end(&mut self, id: &str) -> End {
        self.event(&format!("end of {id}"), |event| match event {
            Event::Ended { id: other, end } if other == id => Some(end.clone()),
            _ => None,
        })
    }

    /// Waits until the program was executed; the stub's pid.
    pub fn started(&mut self, id: &str) -> i32 {
        self.event(&format!("start of {id}"), |event| match event {
            Event::Started { id: other, pid } if other == id => Some(*pid),
            _ => None,
        })
    }

    /// Asks for the directory that an attempt shares.
    pub fn gang_directory(&mut self, id: &str) -> OwnedFd {
        self.send(&Request::GangDirectory { id: id.to_owned() });
        self.next_gang_directory(id)
    }

    /// The directory that was asked for, first of those not taken yet.
    pub fn next_gang_directory(&mut self, id: &str) -> OwnedFd {
        self.event(&format!("directory of {id}"), |event| match event {
            Event::GangDirectory { id: other, .. } if other == id => Some(()),
            _ => None,
        });
        let client = self.client.as_mut().expect("connected");
        client.descriptors.pop_front().expect("a descriptor comes with it")
    }

    pub fn refusal(&mut self, id: &str) -> String {
        self.event(&format!("refusal of {id}"), |event| match event {
            Event::Refused { id: Some(other), why, .. } if other == id => Some(why.clone()),
            _ => None,
        })
    }

    /// Runs a script to code 0 and returns its log.
    pub fn output(&mut self, id: &str, script: &str) -> String {
        let start = self.script(id, script);
        self.output_of(start)
    }

    pub fn output_of(&mut self, start: Start) -> String {
        let id = start.id.clone();
        let end = self.run(start);
        let log = self.log(&id);
        assert_eq!(end.cause, Cause::Code(0), "log: {log}");
        log
    }

    pub fn log(&self, id: &str) -> String {
        std::fs::read_to_string(self.path("attempts").join(id).join("log")).unwrap()
    }

    /// Waits until the log contains a text.
    pub fn log_contains(&self, id: &str, text: &str) {
        let path = self.path("attempts").join(id).join("log");
        let what = format!("{text:?} in the log of {id}");
        wait_for(&what, || std::fs::read_to_string(&path).ok()?.contains(text).then_some(()));
    }

    /// Sends the runner a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for the runner process to end.
    pub fn join(&mut self) -> std::process::ExitStatus {
        let process = &mut self.process;
        wait_for("the runner to end", || process.try_wait().unwrap())
    }

    /// The directories of this runner's groups that exist, in all hierarchies.
    pub fn groups(&self) -> Vec<PathBuf> {
        let state = self.path("state").canonicalize().unwrap();
        let hash =
            state.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
                (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3)
            });
        let below = self.below.join(format!("shoal/{hash:016x}"));
        hierarchies().iter().map(|mount| mount.join(&below)).filter(|path| path.exists()).collect()
    }

    /// A file of an attempt's group, in whichever hierarchy has it.
    pub fn group_file(&self, id: &str, file: &str) -> Option<String> {
        let read = |group: &PathBuf| std::fs::read_to_string(group.join(id).join(file)).ok();
        Some(self.groups().iter().find_map(read)?.trim().to_owned())
    }
}

impl Drop for TestRunner {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|status| status.is_none()) {
            self.signal(rustix::process::Signal::CONT);
            self.signal(rustix::process::Signal::TERM);
            let _ = self.process.wait();
        }
    }
}

struct Client {
    stream: UnixStream,
    decoder: Decoder,
    /// What came with events, in their order.
    descriptors: VecDeque<OwnedFd>,
    seen: Vec<Event>,
}

impl Client {
    fn send(&mut self, request: &Request) {
        self.stream.write_all(&encode(request).unwrap()).unwrap();
    }

    fn receive(&mut self, what: &str) -> Event {
        self.stream.set_read_timeout(Some(patience())).unwrap();
        let mut bytes = [0; 4096];
        loop {
            if let Some(event) = self.decoder.take().unwrap() {
                return event;
            }
            let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut room);
            let mut space = [IoSliceMut::new(&mut bytes)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            let read = match recvmsg(&self.stream, &mut space, &mut ancillary, flags) {
                Ok(read) => read.bytes,
                Err(rustix::io::Errno::INTR) => continue,
                Err(e) => panic!("while waiting for {what}: {e}; seen: {:?}", self.seen),
            };
            assert!(read > 0, "the runner hung up while waiting for {what}");
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(came) = message {
                    self.descriptors.extend(came);
                }
            }
            self.decoder.push(&bytes[..read]);
        }
    }
}

/// A connection made with this user's credentials.
fn connect_as(user: Option<u32>, socket: &Path) -> Option<UnixStream> {
    let connect = || UnixStream::connect(socket).ok();
    user.map_or_else(connect, |id| as_user(id, connect))
}

/// Does something with this user's credentials, in a thread of its own.
#[allow(unsafe_code)]
pub fn as_user<T: Send>(id: u32, action: impl FnOnce() -> T + Send) -> T {
    let become_and_act = || {
        // SAFETY: no memory is touched; past the C library, which would change the other threads as well.
        unsafe {
            assert_eq!(libc::syscall(libc::SYS_setresgid, id, id, id), 0);
            assert_eq!(libc::syscall(libc::SYS_setresuid, id, id, id), 0);
        }
        action()
    };
    std::thread::scope(|scope| scope.spawn(become_and_act).join()).expect("root may become anybody")
}

fn spawn_in(groups: &[PathBuf], dir: &Path) -> Child {
    let mut command = joining(groups, env!("CARGO_BIN_EXE_shoal-runner"));
    command.args(runner_arguments(dir)).stdin(Stdio::null()).spawn().unwrap()
}

fn runner_arguments(dir: &Path) -> [PathBuf; 6] {
    let (state, attempts, policy) = (dir.join("state"), dir.join("attempts"), dir.join("policy.json"));
    ["--state-dir".into(), state, "--attempts-dir".into(), attempts, "--policy".into(), policy]
}

/// Writes what a runner lets its tasks have; it reads that again at each connection.
pub fn write_policy(dir: &Path, policy: &Policy) {
    std::fs::write(dir.join("policy.json"), serde_json::to_vec(policy).unwrap()).unwrap();
}

pub fn spawn(dir: &Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_shoal-runner"))
        .args(runner_arguments(dir))
        .args(arguments)
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

fn give_to(uid: u32, dir: &Path) {
    use std::os::unix::fs::{PermissionsExt, chown};
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir(dir.join("state")).unwrap();
    for name in ["", "attempts", "state", "deadline"] {
        chown(dir.join(name), Some(uid), Some(uid)).unwrap();
    }
}

/// The runner of [`TestRunner::of_user_with_ids`].
pub fn spawn_with_ids(uid: u32, dir: &Path) -> Child {
    let script = r#"set -e
        mount --bind "$1/ids" /etc/subuid
        mount --bind "$1/ids" /etc/subgid
        mount --bind "$1/users" /etc/passwd
        user=$2; shift 2
        exec setpriv --reuid "$user" --regid "$user" --clear-groups "$@""#;
    Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(dir)
        .arg(uid.to_string())
        .arg(reachable_runner())
        .args(runner_arguments(dir))
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

/// The same, as another user.
pub fn spawn_as(uid: u32, dir: &Path, arguments: &[&str]) -> Child {
    use std::os::unix::process::CommandExt;
    Command::new(reachable_runner())
        .args(runner_arguments(dir))
        .args(arguments)
        .stdin(Stdio::null())
        .uid(uid)
        .gid(uid)
        .spawn()
        .unwrap()
}

/// The same in these groups, which the user could not move it into: it waits until it was moved.
fn spawn_as_in(groups: &[PathBuf], uid: u32, dir: &Path) -> Child {
    use std::os::unix::process::CommandExt;
    let mut child = Command::new("sh")
        .args(["-c", "read go; exec \"$0\" \"$@\" </dev/null"])
        .arg(reachable_runner())
        .args(runner_arguments(dir))
        .stdin(Stdio::piped())
        .uid(uid)
        .gid(uid)
        .spawn()
        .unwrap();
    for group in groups {
        std::fs::write(group.join("cgroup.procs"), child.id().to_string()).unwrap();
    }
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    child
}

/// The runner program where every user may execute it.
fn reachable_runner() -> &'static Path {
    static COPY: std::sync::LazyLock<(tempfile::TempDir, PathBuf)> = std::sync::LazyLock::new(|| {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let copy = dir.path().join("shoal-runner");
        std::fs::copy(env!("CARGO_BIN_EXE_shoal-runner"), &copy).unwrap();
        std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).unwrap();
        (dir, copy)
    });
    &COPY.1
}

/// A root of a static busybox and its links, with all mount points.
pub fn busybox_root(root: &Path) {
    for dir in ["bin", "etc", "proc", "dev", "tmp", "work"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].iter().find(|path| Path::new(path).exists());
    let busybox = busybox.expect("a static busybox is needed: apt-get install busybox-static");
    std::fs::copy(busybox, root.join("bin/busybox")).unwrap();
    let list = Command::new(busybox).arg("--list").output().unwrap().stdout;
    for name in String::from_utf8(list).unwrap().lines().filter(|name| *name != "busybox") {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    use std::os::unix::fs::PermissionsExt;
    for dir in [root.to_owned(), root.join("bin"), root.join("etc")] {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::fs::write(root.join("etc/not-executable"), "x").unwrap();
}

/// Whether the file system of a directory can be mounted with other owners. A tmpfs can from Linux 6.3 on.
pub fn shows_other_owners(dir: &Path) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    let system = rustix::system::uname();
    let mut release =
        system.release().to_str().unwrap().split(['.', '-']).map(|n| n.parse::<u32>().unwrap_or(0));
    let release = (release.next().unwrap(), release.next().unwrap());
    let tmpfs = rustix::fs::statfs(dir).unwrap().f_type as u64 == TMPFS;
    if tmpfs && release < (6, 3) {
        eprintln!(
            "skipped: a tmpfs of Linux {}.{} cannot show files as another user's",
            release.0, release.1
        );
        return false;
    }
    true
}

/// Asks again until there is an answer. There is no event to wait on for what these tests look at from outside.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {:?} for {what}", patience());
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Whether a process exists and is no zombie.
pub fn alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
