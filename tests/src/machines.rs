//! Machines for a cluster, played by network namespaces of this one: each has its own loopback and one link to a common bridge, and
//! reaches the others' loopback addresses through tunnels, as `docs/three-machines.md` describes it. The tunnels are our `shoal-relay`,
//! one in each namespace, in the place of `ssh -L`.
//!
//! Nothing of this machine's own network is touched: the bridge lies in a namespace too, and all that was made carries this
//! process's id in its name and goes with the namespaces.

use crate::address::{API_PORT, ETCD_CLIENT_PORT, ETCD_PEER_PORT, Network};
use crate::programs;
use anyhow::{Context, Result, bail, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// A machine's link to the others.
const LINK: &str = "link0";
/// The bridge that the links lead to.
const BRIDGE: &str = "bridge0";
/// Counts the sets of machines that this process has made.
static MADE: AtomicU32 = AtomicU32::new(0);

/// The machines of one cluster and what connects them.
#[derive(Debug)]
pub struct Machines {
    machines: Vec<Arc<Machine>>,
    switch: Namespace,
}

/// One machine.
#[derive(Debug)]
pub struct Machine {
    relay: Mutex<Option<Child>>,
    namespace: Namespace,
}

impl Machines {
    /// Makes so many machines and connects each with each.
    pub fn connect(count: usize) -> Result<Machines> {
        let prefix = format!("shoal-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let switch = Namespace::make(format!("{prefix}-switch"))?;
        switch.ip(&format!("link add {BRIDGE} type bridge"))?;
        switch.ip(&format!("link set {BRIDGE} up"))?;
        let mut machines = Vec::new();
        for index in 0..count {
            let namespace = Namespace::make(format!("{prefix}-m{}", index + 1))?;
            plug(&switch, &namespace, index)?;
            machines.push(Arc::new(Machine { relay: Mutex::new(None), namespace }));
        }
        for (index, machine) in machines.iter().enumerate() {
            machine.start_tunnels(index, count)?;
        }
        Ok(Machines { machines, switch })
    }

    /// The machine of this index.
    pub fn machine(&self, index: usize) -> Arc<Machine> {
        self.machines[index].clone()
    }

    /// Ends the tunnels and removes the namespaces, and says what could not be removed.
    pub fn clear(&self) -> Result<()> {
        let ended = self.machines.iter().map(|machine| machine.end());
        let ended: Vec<Result<()>> = ended.chain([self.switch.remove()]).collect();
        ended.into_iter().collect()
    }
}

/// A cable from the switch to a machine, and the machine's addresses.
fn plug(switch: &Namespace, namespace: &Namespace, index: usize) -> Result<()> {
    let (port, name) = (format!("port{}", index + 1), &namespace.name);
    switch.ip(&format!("link add {port} type veth peer name {LINK} netns {name}"))?;
    switch.ip(&format!("link set {port} master {BRIDGE} up"))?;
    namespace.ip("link set lo up")?;
    namespace.ip(&format!("address add {}/24 dev {LINK}", link_address(index)))?;
    namespace.ip(&format!("link set {LINK} up"))
}

/// Only these namespaces see it.
fn link_address(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, index as u8 + 1)
}

impl Machine {
    /// A command that runs on this machine. The process that is started is the program itself.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        // Not `ip netns exec`: that hides the control groups below a new /sys.
        command.arg(format!("--net={}", self.namespace.path().display())).arg(program);
        command
    }

    /// Runs `work` with its sockets on this machine.
    pub async fn inside<T, F>(&self, work: impl FnOnce() -> F + Send + 'static) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>>,
    {
        let path = self.namespace.path();
        let (done, outcome) = oneshot::channel();
        let thread = move || -> Result<T> {
            let namespace = File::open(&path).with_context(|| format!("open {}", path.display()))?;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work())
        };
        // A thread of its own: a namespace is left only by ending.
        std::thread::Builder::new().spawn(move || done.send(thread()).is_ok())?;
        outcome.await.context("the thread on the machine panicked")?
    }

    /// Pulls the cable: nothing goes out, nothing comes in.
    pub fn cut(&self) -> Result<()> {
        self.namespace.ip(&format!("link set {LINK} down"))
    }

    /// Plugs it in again.
    pub fn heal(&self) -> Result<()> {
        self.namespace.ip(&format!("link set {LINK} up"))
    }

    /// What this machine sends to the machines of these indices is lost; what they send arrives.
    pub fn lose_outgoing(&self, others: &[usize]) -> Result<()> {
        self.each_route("add", others)
    }

    /// What it sends to them arrives again.
    pub fn restore_outgoing(&self, others: &[usize]) -> Result<()> {
        self.each_route("del", others)
    }

    fn each_route(&self, verb: &str, others: &[usize]) -> Result<()> {
        let mut addresses = others.iter().map(|other| link_address(*other));
        addresses.try_for_each(|other| self.namespace.ip(&format!("route {verb} blackhole {other}/32")))
    }

    /// The others' loopback addresses here lead to their links, and what comes over the own link leads to the own loopback address.
    fn start_tunnels(&self, index: usize, count: usize) -> Result<()> {
        let mut command = self.command(&programs::built("shoal-relay")?);
        for port in [API_PORT, ETCD_CLIENT_PORT, ETCD_PEER_PORT] {
            for other in 0..count {
                let (loopback, link) = (Network::USUAL.host(other), link_address(other));
                let (from, to) = if other == index { (link, loopback) } else { (loopback, link) };
                command.arg(format!("{from}:{port}={to}:{port}"));
            }
        }
        // It ends when its standard input does, so also when this process is killed.
        let mut relay = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start nsenter (util-linux)")?;
        let mut line = String::new();
        let answer = relay.stdout.take().context("it was asked for")?;
        *self.relay.lock().unwrap_or_else(PoisonError::into_inner) = Some(relay);
        BufReader::new(answer).read_line(&mut line)?;
        ensure!(line == "ready\n", "the relay on {} does not serve: {line:?}", self.namespace.name);
        Ok(())
    }

    fn end(&self) -> Result<()> {
        self.end_tunnels()?;
        self.namespace.remove()
    }

    fn end_tunnels(&self) -> Result<()> {
        if let Some(mut relay) = self.relay.lock().unwrap_or_else(PoisonError::into_inner).take() {
            relay.kill()?;
            relay.wait()?;
        }
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.end_tunnels();
    }
}

/// A named network namespace; removed when dropped.
#[derive(Debug)]
struct Namespace {
    name: String,
}

impl Namespace {
    fn make(name: String) -> Result<Namespace> {
        ip(&["netns", "add", &name])?;
        Ok(Namespace { name })
    }

    fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// `ip` with these words inside it.
    fn ip(&self, words: &str) -> Result<()> {
        let words: Vec<&str> = ["-n", &self.name].into_iter().chain(words.split(' ')).collect();
        ip(&words)
    }

    fn remove(&self) -> Result<()> {
        if self.path().exists() {
            ip(&["netns", "delete", &self.name])?;
        }
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

fn ip(words: &[&str]) -> Result<()> {
    let output = match Command::new("ip").args(words).output() {
        Ok(output) => output,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => {
            bail!(
                "no program `ip` in PATH, which these tests make networks with; run: make setup (it installs iproute2)"
            )
        }
        Err(why) => return Err(why).context("start ip"),
    };
    let words = words.join(" ");
    ensure!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
