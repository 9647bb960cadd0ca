//! What a test asks etcd itself: who leads, and what stands there.

use crate::address::ETCD_CLIENT_PORT;
use anyhow::{Context, Result};
use etcd_client::{Client, ConnectOptions, GetOptions};
use std::net::Ipv4Addr;
use std::time::Duration;

/// A member that answers answers faster.
const LIMIT: Duration = Duration::from_secs(3);

/// Whether the member at `host` leads the cluster.
pub async fn leads(host: Ipv4Addr) -> Result<bool> {
    let mut client = connect(host).await?;
    let status = client.status().await?;
    let own = status.header().context("a status has a header")?.member_id();
    Ok(status.leader() == own)
}

/// The keys below this prefix, asked of the member at `host`.
pub async fn keys(host: Ipv4Addr, prefix: &str) -> Result<Vec<String>> {
    let options = GetOptions::new().with_prefix().with_keys_only();
    let answer = connect(host).await?.get(prefix, Some(options)).await?;
    answer.kvs().iter().map(|kv| Ok(kv.key_str()?.to_owned())).collect()
}

async fn connect(host: Ipv4Addr) -> Result<Client> {
    let options = ConnectOptions::new().with_timeout(LIMIT).with_connect_timeout(LIMIT);
    Ok(Client::connect([format!("http://{host}:{ETCD_CLIENT_PORT}")], Some(options)).await?)
}
