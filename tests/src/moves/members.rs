//! The etcd of a measurement: one member or more, started with the flags that a node gives its own, in a directory that goes with them.

use anyhow::{Context, Result, bail};
use etcd_client::{Client, DeleteOptions};
use shoal_store::member::{InitialCluster, Member, MemberConfig, Origin, Started};
use std::fs;
use std::net::TcpListener;
use std::time::Duration;

/// A founding member that is not healthy by then has a reason.
const HEALTHY_WITHIN: Duration = Duration::from_secs(30);
/// What /proc counts processor time in: fixed for programs, whatever the kernel's own tick is.
const TICKS_PER_S: u64 = 100;

/// Running members.
pub struct Members {
    members: Vec<Member>,
    client: Client,
    _dir: tempfile::TempDir,
}

impl Members {
    /// Starts so many, and waits until all of them serve.
    pub async fn start(count: usize) -> Result<Members> {
        let dir = tempfile::tempdir().context("a directory for etcd")?;
        let addresses = free_addresses(2 * count)?;
        let (clients, peers) = addresses.split_at(count);
        let all: Vec<String> = peers.iter().enumerate().map(|(n, peer)| format!("m{n}={peer}")).collect();
        let initial: InitialCluster = all.join(",").parse()?;
        let mut members = Vec::new();
        for (n, (client, peer)) in clients.iter().zip(peers).enumerate() {
            let name = format!("m{n}");
            let mut config = MemberConfig::new(&name, dir.path().join(&name), client.parse()?, peer.parse()?);
            fs::create_dir(&config.data_dir).context("a member's directory")?;
            config.binary = Some(crate::programs::etcd()?);
            config.origin = Origin::Found(Some(initial.clone()));
            match Member::start(config).await? {
                Started::Member(member) => members.push(member),
                Started::ClientOnly { reason, .. } => bail!("no member: {reason}"),
            }
        }
        for member in &members {
            member.wait_healthy(HEALTHY_WITHIN).await?;
        }
        let client = Client::connect(clients, None).await?;
        Ok(Members { members, client, _dir: dir })
    }

    /// Client URLs, in the order in which node number `node` asks them: a member inside of some nodes is the first that these ask.
    pub fn urls(&self, node: usize) -> Vec<String> {
        let all: Vec<String> = self.members.iter().map(|member| member.client_url().to_string()).collect();
        let (before, after) = all.split_at(node % all.len());
        [after, before].concat()
    }

    /// Processor time that all members have used.
    pub fn cpu(&self) -> Duration {
        self.members.iter().filter_map(Member::pid).map(cpu_of).sum()
    }

    /// Deletes everything and lets go of the history, so that each measurement begins with an empty store.
    pub async fn wipe(&mut self) -> Result<()> {
        let everything = DeleteOptions::new().with_prefix();
        let revision = self.client.delete("/", Some(everything)).await?.header().map_or(0, |h| h.revision());
        self.client.compact(revision, None).await?;
        Ok(())
    }

    /// Ends them.
    pub async fn stop(self) {
        for member in self.members {
            member.stop().await;
        }
    }
}

/// Processor time, user and system, that a process of ours has used; nothing when it is gone.
pub fn cpu_of(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name, which may hold anything, the 12th and 13th field are utime and stime.
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / TICKS_PER_S)
}

/// URLs on loopback ports that nobody listens on now, all different.
fn free_addresses(count: usize) -> Result<Vec<String>> {
    let listeners = (0..count).map(|_| TcpListener::bind("127.0.0.1:0"));
    let listeners = listeners.collect::<std::io::Result<Vec<_>>>().context("a free loopback port")?;
    listeners.iter().map(|it| Ok(format!("http://{}", it.local_addr()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_of_this_process_grows() {
        let before = cpu_of(std::process::id());
        let begin = std::time::Instant::now();
        while cpu_of(std::process::id()) == before {
            assert!(begin.elapsed() < Duration::from_secs(20), "this loop is work");
        }
    }
}
