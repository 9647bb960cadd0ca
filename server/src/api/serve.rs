//! The server around the service: health, reflection, limits, several listeners, and an orderly end.

use super::connection::accepted;
use super::images::ImagesRpc;
use super::listen::Listener;
use super::{Rpc, Service};
use crate::logs::copies::keep::Keeper;
use crate::seam::Api;
use futures::future::try_join_all;
use shoal_proto::convert::limits::REQUEST_BYTES_MAX;
use shoal_proto::v1::images_server::ImagesServer;
use shoal_proto::v1::peer_server::PeerServer;
use shoal_proto::v1::shoal_server::{SERVICE_NAME, ShoalServer};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

/// Calls of one connection that are worked on at once; more wait.
const CALLS_PER_CONNECTION_MAX: usize = 256;
/// Streams of one connection, long ones (logs, watches) included.
const STREAMS_PER_CONNECTION_MAX: u32 = 4096;
/// To the answer of a call, or to the beginning of its stream. Longer than any operation's own deadline.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// A silent connection is asked for a sign of life this often, and given this long for it.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// From the wish to stop until connections that are still open are dropped.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// Why the API ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A descriptor could not be told to clients.
    #[error("cannot build the reflection service: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// A server failed.
    #[error("cannot serve: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// Changes of files are no longer told.
    #[error("cannot watch logs: {0}")]
    Inotify(#[from] io::Error),
}

/// Whether the node says that it serves; not until it is told to say so.
#[derive(Clone, Debug)]
pub struct Health(HealthReporter);

impl Health {
    /// Not ready yet.
    pub async fn new() -> Health {
        let health = Health(HealthReporter::new());
        health.set_ready(false).await;
        health
    }

    /// Ready once the node is registered and its view is synced; not ready while it is fenced or stopping.
    pub async fn set_ready(&self, ready: bool) {
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in ["", SERVICE_NAME] {
            self.0.set_service_status(service, status).await;
        }
    }
}

/// The routes of all services, for a server, or to be put behind one that serves more than gRPC.
pub fn router(service: Arc<Service>, health: &Health) -> Result<Routes, ServeError> {
    let images = service.api.images.clone().map(|images| ImagesServer::new(ImagesRpc::new(images)));
    let peer = PeerServer::new(Keeper::new(service.api.copies.clone()));
    let shoal = ShoalServer::new(Rpc(service)).max_decoding_message_size(REQUEST_BYTES_MAX);
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(shoal_proto::DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let health = HealthServer::new(HealthService::from_health_reporter(health.0.clone()));
    let mut routes = Routes::new(shoal).add_service(peer).add_service(reflection).add_service(health);
    if let Some(images) = images {
        routes = routes.add_service(images.max_decoding_message_size(REQUEST_BYTES_MAX));
    }
    Ok(routes.prepare())
}

/// Serves on all listeners until the seam's `shutdown`; then streams end, calls under way are finished, and what is still open after the
/// grace is dropped.
pub async fn serve(api: Arc<Api>, listeners: Vec<Listener>, health: Health) -> Result<(), ServeError> {
    let service = Service::new(api.clone())?;
    let routes = router(service.clone(), &health)?;
    let places = Arc::new(Semaphore::new(api.limits.connections_max));
    let servers = listeners.into_iter().map(|listener| {
        server().add_routes(routes.clone()).serve_with_incoming_shutdown(
            accepted(listener, places.clone()),
            api.shutdown.clone().cancelled_owned(),
        )
    });
    let stopped = async {
        api.shutdown.cancelled().await;
        health.set_ready(false).await;
        tokio::time::sleep(STOP_GRACE).await;
    };
    tokio::select! {
        ended = try_join_all(servers) => ended.map(drop).map_err(ServeError::from),
        failed = service.hub.run() => failed.map_err(ServeError::from),
        () = stopped => {
            tracing::warn!("connections still open after the grace are dropped");
            Ok(())
        }
    }
}

fn server() -> Server {
    Server::builder()
        .timeout(CALL_TIMEOUT)
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION_MAX)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
}
