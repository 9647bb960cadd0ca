//! Shoal: the real runner, asked over its socket as the server asks it.

use super::Result;
use super::processes::idle_command;
use super::variant::Variant;
use shoal_container::deadline::{DeadlinePage, boottime_ns};
use shoal_container::policy::Policy;
use shoal_container::protocol::{Cause, Event, Limits, Net, Request, Root, Start, User, VERSION};
use shoal_container::wire::{Decoder, encode};
use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Longer than any run of this bench.
const DEADLINE_NS: u64 = 6 * 3600 * 1_000_000_000;
/// For the runner to listen.
const PATIENCE: Duration = Duration::from_secs(5);

/// A runner and the connection to it.
pub struct Shoal {
    process: Child,
    client: Client,
    deadline_page: PathBuf,
    root: PathBuf,
    /// Attempts so far; an id starts once.
    attempts: usize,
    idle: Vec<String>,
}

impl Shoal {
    /// Starts the runner, with all its files in `dir`, for tasks in `root`.
    pub fn open(runner: &Path, dir: &Path, root: &Path) -> Result<Shoal> {
        let deadline_page = dir.join("deadline");
        DeadlinePage::create(&deadline_page)?.advance_to(boottime_ns() + DEADLINE_NS);
        let policy = Policy { roots: vec![root.to_owned()], ..Policy::default() };
        let policy_file = dir.join("policy.json");
        std::fs::write(&policy_file, serde_json::to_vec(&policy)?)?;
        let process = Command::new(runner)
            .arg("--state-dir")
            .arg(dir.join("state"))
            .arg("--attempts-dir")
            .arg(dir.join("attempts"))
            .arg("--policy")
            .arg(policy_file)
            .spawn()
            .map_err(|error| format!("start {}: {error}", runner.display()))?;
        let client = Client::connect(&dir.join("state/runner.sock"))?;
        Ok(Shoal { process, client, deadline_page, root: root.to_owned(), attempts: 0, idle: Vec::new() })
    }

    /// The next attempt.
    fn start(&mut self, command: Vec<String>) -> Start {
        self.attempts += 1;
        Start {
            id: format!("bench.{}", self.attempts),
            command,
            env: BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]),
            workdir: "/work".to_owned(),
            root: Root::Directory(self.root.clone()),
            hostname: "bench".to_owned(),
            user: User::NOBODY,
            net: Net::Loopback,
            mounts: Vec::new(),
            gang: false,
            limits: Limits::new(1000, 64 << 20, 64),
            time_limit_ms: 0,
            kill_grace_ms: 1000,
            log_bytes_max: 1 << 20,
            deadline_page: self.deadline_page.clone(),
        }
    }
}

impl Variant for Shoal {
    fn name(&self) -> &str {
        "shoal"
    }

    fn run(&mut self, starts: usize, in_flight: usize) -> Result<Vec<Duration>> {
        let mut begun: HashMap<String, Instant> = HashMap::new();
        let (mut next, mut took) = (0, Vec::with_capacity(starts));
        while took.len() < starts {
            while next < starts && begun.len() < in_flight {
                let start = self.start(vec!["/bin/true".to_owned()]);
                begun.insert(start.id.clone(), Instant::now());
                self.client.send(&Request::Start(Box::new(start)))?;
                next += 1;
            }
            match self.client.receive()? {
                Event::Ended { id, end } if end.cause == Cause::Code(0) => {
                    took.extend(begun.remove(&id).map(|at| at.elapsed()));
                    self.client.send(&Request::Forget { id })?;
                }
                event @ (Event::Ended { .. } | Event::Refused { .. }) => {
                    return Err(format!("{event:?}").into());
                }
                _ => {}
            }
        }
        Ok(took)
    }

    fn servant(&self) -> Option<u32> {
        Some(self.process.id())
    }

    fn start_idle(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            let start = self.start(idle_command("/bin"));
            self.idle.push(start.id.clone());
            self.client.send(&Request::Start(Box::new(start)))?;
        }
        let mut started = 0;
        while started < count {
            match self.client.receive()? {
                Event::Started { .. } => started += 1,
                event @ (Event::Ended { .. } | Event::Refused { .. }) => {
                    return Err(format!("{event:?}").into());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn end_idle(&mut self) -> Result<()> {
        for id in self.idle.clone() {
            self.client.send(&Request::Stop { id, grace_ms: 0 })?;
        }
        while !self.idle.is_empty() {
            if let Event::Ended { id, .. } = self.client.receive()? {
                self.idle.retain(|idle| *idle != id);
                self.client.send(&Request::Forget { id })?;
            }
        }
        Ok(())
    }

    fn close(mut self: Box<Self>) -> Result<()> {
        self.client.send(&Request::Shutdown)?;
        self.process.wait()?;
        Ok(())
    }
}

struct Client {
    stream: UnixStream,
    decoder: Decoder,
}

impl Client {
    fn connect(socket: &Path) -> Result<Client> {
        let deadline = Instant::now() + PATIENCE;
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > deadline => return Err(error.into()),
                Err(_) => std::thread::park_timeout(Duration::from_millis(5)),
            }
        };
        let mut client = Client { stream, decoder: Decoder::default() };
        client.send(&Request::Hello { version: VERSION })?;
        client.receive()?;
        Ok(client)
    }

    fn send(&mut self, request: &Request) -> Result<()> {
        Ok(self.stream.write_all(&encode(request)?)?)
    }

    fn receive(&mut self) -> Result<Event> {
        let mut bytes = [0; 4096];
        loop {
            if let Some(event) = self.decoder.take()? {
                return Ok(event);
            }
            match self.stream.read(&mut bytes)? {
                0 => return Err("the runner hung up".into()),
                read => self.decoder.push(&bytes[..read]),
            }
        }
    }
}
