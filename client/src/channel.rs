//! A gRPC connection to one address, over TCP or a unix socket.

use crate::address::Address;
use hyper_util::rt::TokioIo;
use shoal_proto::v1::shoal_client::ShoalClient;
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// A node that is alive answers a connect long before this.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a connection that only waits is probed, so that a node that vanished without a word is noticed.
const PING_EVERY: Duration = Duration::from_secs(2);
/// How long the answer to a probe may take.
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// Most bytes of one answer; the server stays below 4 MiB, a list of large records may come near.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Connects to `address`, or says why that is not possible.
pub async fn connect(address: &Address) -> Result<Channel, tonic::transport::Error> {
    // A unix socket needs no host; the name only fills the `:authority` header.
    let uri = match address {
        Address::Tcp { .. } => format!("http://{address}"),
        Address::Unix(_) => "http://localhost".to_owned(),
    };
    let endpoint = Endpoint::from_shared(uri)?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(false);
    let Address::Unix(path) = address else { return endpoint.connect().await };
    let path = path.clone();
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    endpoint.connect_with_connector(connector).await
}

/// The service's stub on `channel`.
pub fn stub(channel: Channel) -> ShoalClient<Channel> {
    ShoalClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX)
}
