//! The client library, as the whole-cluster tests use it.

use crate::support::{Node, Shared};
use shoal_client::{Client, Error, Options};
use shoal_proto::v1;
use shoal_proto::v1::exit::How;
use std::time::Duration;
use uuid::Uuid;

fn client(addresses: &[&str]) -> Client {
    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    Client::new(Options { addresses, patience: Duration::from_secs(20) })
}

fn spec(words: &str) -> v1::TaskSpec {
    v1::TaskSpec { command: words.split(' ').map(str::to_owned).collect(), ..v1::TaskSpec::default() }
}

#[tokio::test]
async fn wait_survives_the_loss_of_the_node_it_talks_to() {
    let shared = Shared::new();
    let (first, second) = (Node::start(&shared, "node-1"), Node::start(&shared, "node-2"));
    let client = client(&[&first.address, &second.address]);
    let ids = client.submit(Uuid::now_v7(), vec![spec("hold"), spec("exit 1")]).await.unwrap();
    let mut first = Some(first);
    let mut ended = Vec::new();
    let tasks = client.wait(&ids, |task| {
        // The first thing that is seen takes the node away; the last state comes from the other one.
        if let Some(first) = first.take() {
            std::thread::spawn(move || drop(first)).join().unwrap();
            shared.change(|world| world.exit(&ids[0], How::Code(2), false));
        }
        ended.push(task.id.clone());
    });
    let tasks = tasks.await.unwrap();
    let codes: Vec<u8> = tasks.iter().map(shoal_client::exit::exit_code).collect();
    assert_eq!(codes, [2, 1]);
    assert_eq!(client.address().to_string(), second.address);
}

#[tokio::test]
async fn an_unavailable_cluster_is_given_up_when_the_patience_is_over() {
    let shared = Shared::new();
    let node = Node::start(&shared, "node-1");
    shared.lock().lose_answers = u32::MAX;
    let options =
        Options { addresses: vec![node.address.parse().unwrap()], patience: Duration::from_millis(400) };
    let client = Client::connect(options).await.unwrap();
    let failed = client.submit(Uuid::now_v7(), vec![spec("queue")]).await.unwrap_err();
    assert!(matches!(failed.source, Error::TimedOut { last: Some(_), .. }), "{failed}");
    assert!(failed.ids.is_empty() && shared.lock().tasks.len() == 1, "queued, but not known to be");
    drop(node);
    let failed = client.status().await.unwrap_err();
    assert!(matches!(failed, Error::TimedOut { last: Some(_), .. }), "{failed}");
}

#[tokio::test]
async fn no_address_that_answers_is_an_error_at_once() {
    let client = client(&["127.0.0.1:1", "unix:/nonexistent/socket"]);
    let begun = std::time::Instant::now();
    let Error::Unreachable { tried } = client.nodes().await.unwrap_err() else { panic!("another error") };
    assert_eq!(tried.len(), 2);
    assert!(begun.elapsed() < Duration::from_secs(10), "it waited for what cannot come");
}
