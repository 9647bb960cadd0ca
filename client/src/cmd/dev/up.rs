//! `shoal dev up`: starts what does not run, and waits until all serve.

use super::{PlaceArgs, failed};
use crate::cli::Done;
use crate::cli::args::Global;
use crate::cli::report::{Report, Stop};
use crate::dev::node::DevNode;
use crate::dev::{Cluster, ready};
use crate::exit::USAGE;
use crate::output::style::{GREEN, YELLOW, paint};
use crate::output::{self, note};
use crate::values;
use clap::Args;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::process::Child;

/// Nodes of a new cluster that is not told how many.
const NODES_DEFAULT: usize = 3;
/// More nodes than a machine is good for.
const NODES_MAX: usize = 9;
/// Until all nodes serve, unless --timeout says otherwise.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Lines of a node's log that are shown when it does not come up.
const LOG_LINES: usize = 8;

const AFTER_HELP: &str = "\
Examples:
  shoal dev up
  shoal dev up --nodes 1 --lease-ttl 3s -- --log-max 1MiB

Run again, it starts the nodes that do not run. What follows -- is passed to each shoald. All addresses
are loopback ones; the nodes share this machine's cores and memory.";

/// The options of `dev up`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct UpArgs {
    /// How many [default: 3]
    #[arg(long, value_name = "N")]
    pub nodes: Option<usize>,
    /// Cores that each node offers [default: all of this machine]
    #[arg(long, value_name = "N", value_parser = values::cpu_milli)]
    pub cpus: Option<u32>,
    /// Memory that each node offers [default: its part of three quarters of this machine's]
    #[arg(long, value_name = "SIZE", value_parser = values::bytes)]
    pub memory: Option<u64>,
    /// How long a silent node is waited for [default: 6s]
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub lease_ttl: Option<Duration>,
    /// The node program [default: next to this one, else in PATH]
    #[arg(long, value_name = "PATH", env = "SHOAL_SHOALD")]
    pub shoald: Option<PathBuf>,
    /// Where it lives.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Further flags of shoald
    #[arg(last = true, value_name = "FLAGS")]
    pub flags: Vec<String>,
}

/// Starts the cluster.
pub async fn run(args: &UpArgs, global: &Global) -> Done {
    let cluster = match args.place.find()? {
        Some(cluster) => same(args, cluster)?,
        None => create(args)?,
    };
    let shoald = shoald(args)?;
    let shoal = std::env::current_exe();
    let shoal = shoal.map_err(|error| failed("cannot find this program", &error))?;
    if !global.quiet {
        banner(&cluster);
    }
    let begun = Instant::now();
    let mut starting = FuturesUnordered::new();
    for node in cluster.nodes() {
        let child = match node.server() {
            Some(_) => None,
            None => Some(
                node.start(&cluster, &shoal, &shoald)
                    .map_err(|error| failed("cannot start a node", &error))?,
            ),
        };
        starting.push(until_ready(node, child, global.timeout.unwrap_or(READY_TIMEOUT)));
    }
    let mut trouble = None;
    while let Some((node, result)) = starting.next().await {
        match result {
            Ok(resumed) => ready_line(node, resumed, begun, global.quiet)?,
            Err(why) => trouble = trouble.or(Some((node, why))),
        }
    }
    match trouble {
        None => Ok(0),
        Some((node, why)) => Err(not_ready(node, &why)),
    }
}

/// The options that make a cluster cannot change it: it says so instead of leaving them out.
fn same(args: &UpArgs, cluster: Cluster) -> Result<Cluster, Stop> {
    let count = cluster.nodes().len();
    let flags = flags(args, count);
    let asked =
        args.cpus.is_some() || args.memory.is_some() || args.lease_ttl.is_some() || !args.flags.is_empty();
    let same_count = args.nodes.is_none_or(|nodes| nodes == count);
    if same_count && (!asked || flags == cluster.flags()) {
        return Ok(cluster);
    }
    let why = format!("{} holds {count} nodes with {:?}", cluster.dir().display(), cluster.flags().join(" "));
    let next = "shoal dev rm --yes   (deletes it), or leave the options out";
    Err(Report::new("there is a dev cluster with other options", why, next).code(USAGE).into())
}

fn create(args: &UpArgs) -> Result<Cluster, Stop> {
    let count = args.nodes.unwrap_or(NODES_DEFAULT);
    if !(1..=NODES_MAX).contains(&count) {
        let why = format!("--nodes must be from 1 to {NODES_MAX}, was {count}");
        return Err(Report::new("cannot make a dev cluster", why, "shoal dev up --nodes 3")
            .code(USAGE)
            .into());
    }
    let cluster = args.place.dir().and_then(|dir| Cluster::create(&dir, count, flags(args, count)));
    Ok(cluster.map_err(|error| failed("cannot make a dev cluster", &error))?)
}

fn flags(args: &UpArgs, count: usize) -> Vec<String> {
    let mut flags = Vec::new();
    let mut push = |name: &str, value: Option<String>| {
        flags.extend(value.into_iter().flat_map(|value| [name.to_owned(), value]));
    };
    push("--cpus", args.cpus.map(values::cpus_text));
    push("--memory", args.memory.or_else(|| memory_part(count)).map(|bytes| format!("{bytes}B")));
    push("--lease-ttl", args.lease_ttl.map(|ttl| humantime::format_duration(ttl).to_string()));
    flags.extend(args.flags.iter().cloned());
    flags
}

/// Cores may be shared by all nodes, memory may not: each node gets its part of three quarters, in whole MiB.
fn memory_part(count: usize) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    let part = (kib * 3 / 4 / u64::try_from(count).ok()?) >> 10;
    (part > 0).then_some(part << 20)
}

fn shoald(args: &UpArgs) -> Result<PathBuf, Stop> {
    let executable =
        |path: &Path| rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file();
    if let Some(path) = &args.shoald {
        let found = std::path::absolute(path).ok().filter(|path| executable(path));
        return Ok(found.ok_or_else(|| {
            let why = format!("{} does not exist or cannot be executed", path.display());
            Report::new("cannot start nodes", why, "shoal dev up --shoald PATH   (or SHOAL_SHOALD)")
                .code(USAGE)
        })?);
    }
    let own = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.join("shoald")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = own.into_iter().chain(std::env::split_paths(&path).map(|dir| dir.join("shoald")));
    Ok(places.find(|path| executable(path)).ok_or_else(|| {
        Report::new(
            "cannot start nodes",
            "no program shoald next to this one or in PATH",
            "make, then shoal dev up; or --shoald PATH",
        )
    })?)
}

fn banner(cluster: &Cluster) {
    let count = cluster.nodes().len();
    note(&format!(
        "{count} nodes on this machine (etcd included, loopback only), data in {}",
        cluster.dir().display()
    ));
    match count {
        1 => note(&paint(YELLOW, "one node: its loss stops everything")),
        2 => note(&paint(YELLOW, "two nodes: the loss of either stops everything; three tolerate one")),
        _ => {}
    }
}

/// Whether the node ran already, or why it does not serve.
async fn until_ready(
    node: &DevNode,
    child: Option<Child>,
    limit: Duration,
) -> (&DevNode, Result<bool, String>) {
    let resumed = child.is_none();
    let exited = async {
        match child {
            Some(mut child) => child.wait().await,
            None => std::future::pending().await,
        }
    };
    let address = node.address();
    let result = tokio::select! {
        () = ready::wait(&address) => Ok(resumed),
        status = exited => Err(match status {
            Ok(status) => format!("its server ended: {status}"),
            Err(error) => format!("its server cannot be waited for: {error}"),
        }),
        () = tokio::time::sleep(limit) => Err(format!("it did not serve within {}", humantime::format_duration(limit))),
    };
    (node, result)
}

fn ready_line(node: &DevNode, ran: bool, begun: Instant, quiet: bool) -> std::io::Result<()> {
    if quiet {
        return output::lines([&node.name]);
    }
    let took = begun.elapsed();
    let took = format!("{}.{}s", took.as_secs(), took.subsec_millis() / 100);
    let word = if ran { "runs".to_owned() } else { format!("ready {took}") };
    output::text(&format!("{} {}   {}\n", node.name, paint(GREEN, &word), node.address()))
}

fn not_ready(node: &DevNode, why: &str) -> Stop {
    let path = node.log_path();
    let lines = node.last_lines(LOG_LINES);
    if !lines.is_empty() {
        note(&format!("the end of {}:", path.display()));
        lines.iter().for_each(|line| note(&format!("  {line}")));
    }
    let next = format!("less {}; shoal dev down", path.display());
    Report::new(format!("{} did not come up", node.name), why, next).into()
}
