//! The one thing that a test asks etcd itself: who leads. By its JSON gateway, so that no client library stands between.

use anyhow::{Context, Result};
use serde_json::Value;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::address::ETCD_CLIENT_PORT;

/// Whether the member at `host` leads the cluster.
pub async fn leads(host: Ipv4Addr) -> Result<bool> {
    let status = tokio::time::timeout(Duration::from_secs(3), post(host, "/v3/maintenance/status")).await??;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let leader = text(&status["leader"]).context("a status names the leader")?;
    let own = text(&status["header"]["member_id"]).context("a status names the member")?;
    Ok(leader == own)
}

async fn post(host: Ipv4Addr, path: &str) -> Result<Value> {
    let mut stream = TcpStream::connect((host, ETCD_CLIENT_PORT)).await?;
    let request = format!(
        "POST {path} HTTP/1.0\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (_, body) = answer.split_once("\r\n\r\n").context("an answer has a body")?;
    serde_json::from_str(body).with_context(|| format!("etcd answered {body:?}"))
}
