//! The server around the service: health, reflection, unix sockets, silent clients, an orderly end.

use crate::fixture::{Cluster, Node, spec, within};
use shoal_proto::v1;
use shoal_server::seam::ApiLimits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

async fn serving(node: &Node, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = HealthClient::new(node.channel.clone()).check(request).await.expect("it answers");
    answer.into_inner().status()
}

#[tokio::test]
async fn health_says_serving_once_the_node_is_ready() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    for (ready, status) in [(None, ServingStatus::NotServing), (Some(true), ServingStatus::Serving)] {
        if let Some(ready) = ready {
            node.health.set_ready(ready).await;
        }
        for service in ["", "shoal.v1.Shoal"] {
            assert_eq!(serving(&node, service).await, status);
        }
    }
}

#[tokio::test]
async fn reflection_names_the_service() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(node.channel.clone());
    let answers = client.server_reflection_info(futures::stream::iter([ask])).await.expect("it answers");
    let answer = answers.into_inner().message().await.expect("an answer").expect("one");
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("not a list: {answer:?}")
    };
    assert!(list.service.iter().any(|service| service.name == "shoal.v1.Shoal"), "{list:?}");
}

#[tokio::test]
async fn a_unix_socket_serves_and_logs_come_through_it_from_a_peer() {
    let cluster = Cluster::new();
    let directory = tempfile::tempdir().expect("a directory");
    let listen = format!("unix:{}", directory.path().join("sock").display());
    let owner = cluster.node_on(1, &listen, ApiLimits::default()).await;
    let other = cluster.node(2).await;
    let id = owner.queue(spec("a")).await;
    owner.steal(&id).await;
    let log = owner.attempts_dir.join(format!("{id}.1"));
    std::fs::create_dir(&log).expect("a directory");
    std::fs::write(log.join("log"), "by socket").expect("written");
    let request = v1::LogRequest { task: id, ..v1::LogRequest::default() };
    let mut chunks = other.client.clone().log(request).await.expect("it begins").into_inner();
    assert_eq!(chunks.message().await.expect("a chunk").expect("one").data, b"by socket");
}

#[tokio::test]
async fn a_client_that_says_nothing_or_half_a_preface_is_hung_up_on() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let silent = async {
        let mut stream = TcpStream::connect(&node.address).await.expect("it listens");
        read_to_end(&mut stream).await;
    };
    let halting = async {
        let mut stream = TcpStream::connect(&node.address).await.expect("it listens");
        stream.write_all(b"PRI * HTTP/2").await.expect("sent");
        read_to_end(&mut stream).await;
    };
    within("both to be hung up on", async { tokio::join!(silent, halting) }).await;
}

/// A reset is an end too.
async fn read_to_end(stream: &mut TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

#[tokio::test]
async fn shutdown_ends_the_server_though_a_client_hangs_on() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let id = node.queue(spec("a")).await;
    let request = v1::LogRequest { task: id, follow: true, ..v1::LogRequest::default() };
    let mut log = node.client.clone().log(request).await.expect("it waits").into_inner();
    let _silent = TcpStream::connect(&node.address).await.expect("it listens");
    node.shutdown.cancel();
    let ended = within("the end of the log", log.message()).await.expect_err("it is stopping");
    assert_eq!(ended.code(), Code::Unavailable);
    within("the end of the server", node.stopped.cancelled()).await;
}
