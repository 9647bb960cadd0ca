//! A runner with everything around it that the attempts aim at: a secret file, a process, sockets and a key of the host; and the containers that
//! the attempts are run in.

use super::attempt::Outcome;
use super::attempts::{self, told};
use super::host::{HostState, fingerprint};
use super::suite::KEY;
use super::{control, evil};
use crate::support::{TestRunner, busybox_root, write_policy};
use shoal_container::policy::Policy;
use shoal_container::protocol::{Cause, Root, Start, User};
use std::collections::{BTreeMap, HashMap};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Processes that a container of the suite may have.
const PIDS: u32 = 64;

/// The user of a runner without root: nobody else's, and without ids in /etc/subuid, so that each container has the user's own id alone.
const ORDINARY_USER: u32 = 54_324;

/// Names the image: what is in the store is taken as it is.
const IMAGE: &str = "5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed";

/// A kind of container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// For the names of trials.
    pub name: &'static str,
    /// The host's own system as the root, else a directory with a hostile tree.
    pub host: bool,
    /// An image as the root instead, which the task may write to in a private layer.
    pub image: bool,
    /// Who the task is, inside.
    pub user: User,
    /// Whether the runner is an ordinary user's.
    pub rootless: bool,
}

/// All kinds of containers that the attempts are run in. Without root there is one id for everybody inside.
pub const MODES: [Mode; 7] = [
    Mode { name: "directory_nobody", host: false, image: false, user: User::NOBODY, rootless: false },
    Mode { name: "directory_root", host: false, image: false, user: User::ROOT, rootless: false },
    Mode { name: "host_nobody", host: true, image: false, user: User::NOBODY, rootless: false },
    Mode { name: "host_root", host: true, image: false, user: User::ROOT, rootless: false },
    Mode { name: "image_root", host: false, image: true, user: User::ROOT, rootless: false },
    Mode { name: "rootless_directory", host: false, image: false, user: User::NOBODY, rootless: true },
    Mode { name: "rootless_host", host: true, image: false, user: User::NOBODY, rootless: true },
];

/// Those that this machine can have: not images where the tests' file system cannot show files as another user's.
pub fn modes() -> impl Iterator<Item = Mode> {
    let images = crate::support::shows_other_owners(&std::env::temp_dir());
    MODES.into_iter().filter(move |mode| images || !mode.image)
}

/// What succeeds where stub and task are one user to the kernel, and harms the container alone: it may end by it.
pub const WITHOUT_IDS: [&str; 6] = [
    "signals::kill_or_stop_the_stub",
    "signals::queue_a_stop_to_the_stub",
    "signals::signal_by_a_pidfd",
    "signals::change_the_stubs_scheduling",
    "process::change_the_stubs_limits",
    // Its own is spoiled.
    "gang::change_its_owner_or_mode",
];

/// What a task may do in an image's private layer; that the image stays as it was is looked at from outside.
pub const IN_PRIVATE_LAYER: [&str; 5] = [
    "files::write_to_the_root",
    "files::change_a_file_of_the_root",
    "files::reopen_a_read_only_file_for_writing",
    "files::write_by_a_shared_mapping",
    "files::overwrite_the_own_program",
];

/// What came of the attempts, by name, and what was said besides.
#[derive(Clone, Debug)]
pub struct Results {
    /// By attempt.
    pub outcomes: HashMap<String, Outcome>,
    /// The whole output.
    pub text: String,
}

/// The runner and its surroundings.
pub struct Arena {
    /// Its runner.
    pub runner: TestRunner,
    /// Where the host's root can see the program and the hostile files.
    visible: tempfile::TempDir,
    /// A process of the host.
    bystander: Child,
    /// Listens on the host.
    tcp: TcpListener,
    socket: String,
    _unix: UnixListener,
    before: HostState,
    canary_before: BTreeMap<PathBuf, String>,
    image_before: BTreeMap<PathBuf, String>,
    done: HashMap<&'static str, Results>,
    number: u32,
    rootless: bool,
}

impl Arena {
    /// Makes all of it, around a runner of root or of an ordinary user.
    pub fn new(rootless: bool) -> Arena {
        let mut runner = if rootless { TestRunner::of_user(ORDINARY_USER, &[]) } else { TestRunner::new() };
        let canary = runner.path("canary");
        make_canary(&canary);
        let root = runner.path("root");
        evil::install(&root);
        evil::fill(&root.join("evil"), &canary);
        let image = runner.path("images").join(IMAGE).join("tree");
        if !rootless {
            std::fs::create_dir_all(&image).unwrap();
            busybox_root(&image);
            evil::install(&image);
            evil::fill(&image.join("evil"), &canary);
            let roots = vec![root.clone()];
            let policy = Policy {
                roots,
                host_root: true,
                images_dir: Some(runner.path("images")),
                ..Policy::default()
            };
            evil::give(&image, policy.users.first);
            write_policy(runner.dir.path(), &policy);
            runner.connect();
        }
        let visible = tempfile::Builder::new().prefix("shoal-escape").tempdir_in("/var/tmp").unwrap();
        evil::open_to(visible.path(), 0o755);
        evil::install(visible.path());
        evil::fill(&visible.path().join("evil"), &canary);
        let socket = format!("shoal-escape-{}-{rootless}", std::process::id());
        Arena {
            _unix: UnixListener::bind_addr(&SocketAddr::from_abstract_name(&socket).unwrap()).unwrap(),
            tcp: TcpListener::bind("127.0.0.1:0").unwrap(),
            bystander: Command::new("sleep").arg("100000").stdin(Stdio::null()).spawn().unwrap(),
            before: HostState::read(),
            canary_before: fingerprint(&canary),
            image_before: if rootless { BTreeMap::new() } else { fingerprint(&image) },
            done: HashMap::new(),
            number: 0,
            rootless,
            socket,
            visible,
            runner,
        }
    }

    /// What came of all attempts in this kind of container.
    pub fn results(&mut self, mode: Mode) -> Results {
        if let Some(results) = self.done.get(mode.name) {
            return results.clone();
        }
        let apart: &[&str] = if self.enforces("ids") { &[] } else { &WITHOUT_IDS };
        let together: Vec<&str> =
            attempts::all().map(|attempt| attempt.name).filter(|name| !apart.contains(name)).collect();
        let mut results = self.attack(mode, &together, |_| {}).unwrap_or_else(|why| {
            self.done.insert(mode.name, Results { outcomes: HashMap::new(), text: why.clone() });
            panic!("{}: {why}", mode.name)
        });
        for name in apart {
            let outcomes = match self.attack(mode, &[name], |_| {}) {
                Ok(results) => results.outcomes,
                Err(_) => {
                    HashMap::from([((*name).to_owned(), Outcome::Escaped("the task ended itself".into()))])
                }
            };
            results.outcomes.extend(outcomes);
        }
        self.done.insert(mode.name, results.clone());
        results
    }

    /// Runs these attempts (none: all) in a container of this kind, whose start may be changed further.
    pub fn attack(
        &mut self,
        mode: Mode,
        names: &[&str],
        change: impl FnOnce(&mut Start),
    ) -> Result<Results, String> {
        let mut start = self.start(mode, &[&["attack"], names].concat());
        change(&mut start);
        let id = start.id.clone();
        let end = self.runner.run(start);
        let text = self.runner.log(&id);
        if end.cause != Cause::Code(0) {
            return Err(format!("ended by {:?} and said: {text}", end.cause));
        }
        Ok(Results { outcomes: parse(&text), text })
    }

    /// The attack program with these arguments in a container of this kind.
    pub fn start(&mut self, mode: Mode, arguments: &[&str]) -> Start {
        self.number += 1;
        let base = if mode.host { self.visible.path().to_owned() } else { PathBuf::from("/") };
        let program = base.join(evil::PROGRAM).display().to_string();
        let mut start = self
            .runner
            .command(&format!("escape.{}", self.number), &[&[program.as_str()], arguments].concat());
        start.env.extend(self.environment(&base));
        start.user = mode.user;
        start.gang = true;
        start.limits.pids_max = PIDS;
        start.limits.cpu_milli = 2000;
        if mode.host {
            start.root = Root::Host;
        } else if mode.image {
            start.root = Root::Image(IMAGE.to_owned());
            start.env.insert(told::PRIVATE_LAYER.to_owned(), "1".to_owned());
        }
        start
    }

    fn environment(&self, base: &Path) -> BTreeMap<String, String> {
        let mut variables = BTreeMap::from([
            (told::CANARY.to_owned(), self.canary().display().to_string()),
            (told::EVIL.to_owned(), base.join("evil").display().to_string()),
            (told::HOST_PID.to_owned(), self.bystander.id().to_string()),
            (told::SOCKET.to_owned(), self.socket.clone()),
            (told::PORT.to_owned(), self.tcp.local_addr().unwrap().port().to_string()),
            (told::ATTEMPTS.to_owned(), self.runner.path("attempts").display().to_string()),
            (told::NAMESPACES.to_owned(), namespaces()),
        ]);
        if self.enforces("pids") {
            variables.insert(told::PIDS.to_owned(), PIDS.to_string());
        }
        if capable() && !self.rootless {
            variables.insert(told::CAPABLE.to_owned(), "1".to_owned());
        }
        if let Some(Some(key)) = KEY.get() {
            variables.insert(told::KEY.to_owned(), key.to_string());
        }
        variables
    }

    /// What came of all attempts with this kind of control.
    pub fn control(&mut self, kind: control::Kind) -> Results {
        let label = control::label(kind);
        if let Some(results) = self.done.get(label) {
            return results.clone();
        }
        let names = attempts::all().filter(|attempt| attempt.control == kind).map(|attempt| attempt.name);
        let output = Command::new(self.visible.path().join(evil::PROGRAM))
            .args(["control", label])
            .args(names)
            .envs(self.environment(self.visible.path()))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "the control ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        let results = Results { outcomes: parse(&text), text };
        self.done.insert(label, results.clone());
        results
    }

    /// Whether the runner has not told that it cannot enforce this.
    pub fn enforces(&self, what: &str) -> bool {
        !self.runner.unenforced.iter().any(|word| word == what)
    }

    fn canary(&self) -> PathBuf {
        self.runner.path("canary")
    }

    /// Panics if anything of the host has changed since the beginning.
    pub fn assert_host_unchanged(&mut self) {
        assert_eq!(HostState::read(), self.before);
        assert_eq!(fingerprint(&self.canary()), self.canary_before);
        if !self.rootless {
            assert_eq!(fingerprint(&self.runner.path("images").join(IMAGE).join("tree")), self.image_before);
        }
        let state = std::fs::read_to_string(format!("/proc/{}/stat", self.bystander.id())).unwrap();
        let state = state.rsplit_once(") ").map(|(_, rest)| rest.chars().next());
        assert_eq!(state, Some(Some('S')), "the bystander was stopped or killed");
        assert!(self.runner.process.try_wait().unwrap().is_none(), "the runner is gone");
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        let _ = self.bystander.kill();
        let _ = self.bystander.wait();
    }
}

/// A directory with the names that a runtime which follows links out of a root would touch.
pub fn make_canary(canary: &Path) {
    std::fs::create_dir_all(canary.join("self")).unwrap();
    for name in ["secret", "ptmx", "null", "log", "status", "self/oom_score_adj", "kcore"] {
        std::fs::write(canary.join(name), format!("canary {name}")).unwrap();
        evil::open_to(&canary.join(name), 0o644);
    }
    evil::open_to(canary, 0o755);
    // The way to it, so that nothing but the container keeps a task from it.
    evil::open_to(canary.parent().unwrap(), 0o755);
}

fn parse(text: &str) -> HashMap<String, Outcome> {
    let lines = text.lines().filter_map(|line| line.split_once('\t'));
    lines.filter_map(|(name, rest)| Some((name.to_owned(), Outcome::parse(rest)?))).collect()
}

/// Whether root of this machine has all capabilities that its kernel knows; a sandbox may keep some from it.
pub fn capable() -> bool {
    let last: u32 = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap().trim().parse().unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let effective =
        status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    effective == Some((1 << (last + 1)) - 1)
}

/// The host's namespaces, as links name them.
fn namespaces() -> String {
    let links = ["user", "mnt", "pid", "net", "uts", "ipc", "cgroup"]
        .map(|name| std::fs::read_link(format!("/proc/self/ns/{name}")));
    links.into_iter().flatten().map(|link| link.display().to_string()).collect::<Vec<_>>().join(" ")
}
