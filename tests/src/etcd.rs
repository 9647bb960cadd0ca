//! The one thing that a test asks etcd itself: who leads.

use crate::address::ETCD_CLIENT_PORT;
use anyhow::{Context, Result};
use etcd_client::{Client, ConnectOptions};
use std::net::Ipv4Addr;
use std::time::Duration;

/// A member that answers answers faster.
const LIMIT: Duration = Duration::from_secs(3);

/// Whether the member at `host` leads the cluster.
pub async fn leads(host: Ipv4Addr) -> Result<bool> {
    let options = ConnectOptions::new().with_timeout(LIMIT).with_connect_timeout(LIMIT);
    let mut client = Client::connect([format!("http://{host}:{ETCD_CLIENT_PORT}")], Some(options)).await?;
    let status = client.status().await?;
    let own = status.header().context("a status has a header")?.member_id();
    Ok(status.leader() == own)
}
