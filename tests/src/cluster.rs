//! A cluster of real nodes in a temporary directory.

use crate::address::{ETCD_CLIENT_PORT, ETCD_PEER_PORT, Network};
use crate::api::Api;
use crate::etcd;
use crate::machines::Machines;
use crate::node::{Node, Origin, Setup};
use crate::witness::{self, Life};
use anyhow::{Context, Result, anyhow, bail};
use std::time::Duration;
use tempfile::TempDir;

/// From the start of the processes until all nodes serve.
const READY_LIMIT: Duration = Duration::from_secs(45);
/// Lines of each node's output that a failure shows.
const OUTPUT_LINES: usize = 40;

/// What kind of cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many nodes; each carries an etcd member.
    pub nodes: usize,
    /// T: how long a node's lease lives.
    pub lease_ttl: Duration,
    /// Cores that each node offers.
    pub cpus: u32,
    /// Memory that each node offers, as its flag has it.
    pub memory: &'static str,
    /// More flags for each node.
    pub flags: Vec<String>,
    /// More flags for the first node alone.
    pub first_flags: Vec<String>,
    /// More environment for each node.
    pub variables: Vec<(String, String)>,
    /// How the nodes come together.
    pub form: Form,
}

/// How the nodes of a cluster come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// All found it, on this machine.
    Founded,
    /// All found it, each on a machine of its own ([`crate::machines`]).
    OnMachines,
    /// The first founds it alone and is started alone. The test starts the others: so many of them join through the first, the rest
    /// carry no member and are told of the first alone.
    Grown {
        /// How many join.
        joining: usize,
    },
}

impl Default for Options {
    fn default() -> Options {
        Options {
            nodes: 3,
            lease_ttl: Duration::from_secs(6),
            cpus: 4,
            memory: "4GiB",
            flags: vec!["--log-max".to_owned(), "256KiB".to_owned()],
            variables: Vec::new(),
            first_flags: Vec::new(),
            form: Form::Founded,
        }
    }
}

/// A cluster. [`Cluster::clear`] ends it and checks that nothing is left.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    options: Options,
    // After the nodes, in this order: their networks go when they are gone, their files last.
    machines: Option<Machines>,
    _folder: TempDir,
}

impl Cluster {
    /// Starts the nodes and waits until each serves and each sees all.
    pub async fn start(options: Options) -> Result<Cluster> {
        let cluster = Cluster::prepare(options)?;
        let first = if matches!(cluster.options.form, Form::Grown { .. }) { 1 } else { cluster.nodes.len() };
        for node in &cluster.nodes[..first] {
            node.start()?;
        }
        match cluster.ready().await {
            Ok(()) => Ok(cluster),
            Err(why) => {
                let outputs = cluster.outputs();
                cluster.clear().await.ok();
                Err(why.context(outputs))
            }
        }
    }

    /// The nodes, none of them started.
    pub fn prepare(options: Options) -> Result<Cluster> {
        let folder = tempfile::Builder::new().prefix("shoal-test-").tempdir()?;
        let machines = match options.form {
            Form::OnMachines => Some(Machines::connect(options.nodes)?),
            Form::Founded | Form::Grown { .. } => None,
        };
        let network = if machines.is_some() { Network::USUAL } else { Network::take(options.nodes)? };
        let names: Vec<String> = (1..=options.nodes).map(|number| format!("n{number}")).collect();
        let mut flags = vec![
            "--lease-ttl".to_owned(),
            format!("{}s", options.lease_ttl.as_secs()),
            "--cpus".to_owned(),
            options.cpus.to_string(),
            "--memory".to_owned(),
            options.memory.to_owned(),
        ];
        flags.extend(options.flags.iter().cloned());
        let origins = origins(options.form, network, &names);
        let nodes = names.into_iter().enumerate().map(|(index, name)| {
            Node::new(Setup {
                data_dir: folder.path().join(&name),
                name,
                host: network.host(index),
                origin: origins[index].clone(),
                machine: machines.as_ref().map(|machines| machines.machine(index)),
                flags: flags
                    .iter()
                    .chain(options.first_flags.iter().filter(|_| index == 0))
                    .cloned()
                    .collect(),
                variables: options.variables.clone(),
            })
        });
        Ok(Cluster { nodes: nodes.collect::<Result<_>>()?, options, machines, _folder: folder })
    }

    async fn ready(&self) -> Result<()> {
        for node in self.started() {
            node.ready(READY_LIMIT).await?;
        }
        self.whole(READY_LIMIT).await
    }

    fn started(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.is_started())
    }

    /// Waits until every started node sees every started node.
    pub async fn whole(&self, limit: Duration) -> Result<()> {
        let expected = self.started().count();
        for node in self.started() {
            crate::wait::until(&format!("{} to see all nodes", node.name()), limit, async || {
                let seen = node.api().nodes().await?.len();
                if seen == expected { Ok(()) } else { Err(anyhow!("it sees {seen}")) }
            })
            .await?;
        }
        Ok(())
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }
    /// The node of this index, from 0.
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }
    /// The API of the node of this index, from 0.
    pub fn api(&self, index: usize) -> &Api {
        self.nodes[index].api()
    }
    /// T, the time to live of a node's lease.
    pub fn ttl(&self) -> Duration {
        self.options.lease_ttl
    }
    /// What was asked for.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The index of the node of this name.
    pub fn index_of(&self, name: &str) -> Result<usize> {
        self.nodes
            .iter()
            .position(|node| node.name() == name)
            .with_context(|| format!("no node is named {name:?}"))
    }

    /// The index of the node whose etcd member leads.
    pub async fn leader(&self) -> Result<usize> {
        for (index, node) in self.nodes.iter().enumerate() {
            let host = node.host();
            let leads = match node.machine() {
                Some(machine) => machine.inside(move || etcd::leads(host)).await,
                None => etcd::leads(host).await,
            };
            if leads.unwrap_or(false) {
                return Ok(index);
            }
        }
        bail!("no etcd member says that it leads")
    }

    /// The keys below this prefix in the store, by whichever member answers.
    pub async fn keys(&self, prefix: &str) -> Result<Vec<String>> {
        let mut last = anyhow!("there is no node");
        for index in 0..self.nodes.len() {
            match self.keys_at(index, prefix).await {
                Ok(keys) => return Ok(keys),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The same by the member of the node of this index. (Of a cluster whose nodes are not on machines of their own.)
    pub async fn keys_at(&self, index: usize, prefix: &str) -> Result<Vec<String>> {
        etcd::keys(self.nodes[index].host(), prefix).await
    }

    /// What the tasks of all attempts on all nodes wrote, as the witness reads it.
    pub fn lives(&self) -> Result<Vec<Life>> {
        let nodes = self.nodes.iter().map(|node| (node.name().to_owned(), node.data_dir().to_owned()));
        witness::read_lives(nodes)
    }

    /// The last lines of each node's output.
    pub fn outputs(&self) -> String {
        let part = |node: &Node| format!("--- output of {}\n{}", node.name(), node.output_tail(OUTPUT_LINES));
        self.nodes.iter().map(part).collect::<Vec<_>>().join("\n")
    }

    /// Ends all nodes and checks that no process, mount or control group of theirs is left.
    pub async fn clear(&self) -> Result<()> {
        let left = futures::future::join_all(self.nodes.iter().map(Node::clear)).await;
        let mut left: Vec<String> = left.into_iter().flatten().collect();
        if let Some(machines) = &self.machines
            && let Err(why) = machines.clear()
        {
            left.push(format!("{why:#}"));
        }
        if left.is_empty() { Ok(()) } else { bail!("at the end:\n{}\n{}", left.join("\n"), self.outputs()) }
    }
}

/// How each node comes to the store.
fn origins(form: Form, network: Network, names: &[String]) -> Vec<Origin> {
    let url = |index: usize, port: u16| format!("http://{}:{port}", network.host(index));
    let founders = |count: usize| {
        let member = |index: usize| format!("{}={}", names[index], url(index, ETCD_PEER_PORT));
        Origin::Founds((0..count).map(member).collect::<Vec<_>>().join(","))
    };
    let Form::Grown { joining } = form else { return vec![founders(names.len()); names.len()] };
    let origin = |index: usize| match index {
        0 => founders(1),
        _ if index <= joining => Origin::Joins(url(0, ETCD_CLIENT_PORT)),
        _ => Origin::Uses(url(0, ETCD_CLIENT_PORT)),
    };
    (0..names.len()).map(origin).collect()
}
