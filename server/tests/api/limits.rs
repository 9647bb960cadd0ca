//! What is too large or malformed is refused by name, before it costs anything; and ids are found by their short form.

use crate::fixture::{Cluster, reason, request, spec};
use shoal_proto::convert::limits::REQUEST_BYTES_MAX;
use shoal_proto::v1;
use tonic::Code;
use tonic_types::StatusExt;

#[tokio::test]
async fn all_wrong_fields_are_named_at_once() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let bad = v1::TaskSpec {
        resources: Some(v1::Resources { cpu_milli: 2_000_000, memory_bytes: 1 }),
        workdir: "up/../down".into(),
        ..v1::TaskSpec::default()
    };
    let refused = node.submit(request(vec![spec("fine"), bad])).await.expect_err("invalid");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
    let violations = refused.get_details_bad_request().expect("details").field_violations;
    let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
    let wanted = ["command", "resources.cpu_milli", "resources.memory_bytes", "workdir"];
    assert_eq!(fields, wanted.map(|field| format!("tasks[1].{field}")));
    assert_eq!(violations[1].description, "must be between 10 and 1024000, was 2000000");
}

#[tokio::test]
async fn a_request_over_the_message_limit_is_refused() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let large = v1::TaskSpec { command: vec!["x".repeat(REQUEST_BYTES_MAX)], ..v1::TaskSpec::default() };
    let refused = node.submit(request(vec![large])).await.expect_err("too large");
    assert_eq!(refused.code(), Code::OutOfRange);
    node.submit(request(vec![spec("next")])).await.expect("the connection goes on");
}

#[tokio::test]
async fn the_largest_record_is_taken_and_listed() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let large = v1::TaskSpec { command: vec!["x".repeat(64_000); 4], ..spec("large") };
    let ids = node.submit(request(vec![large; 30])).await.expect("each is within its limit");
    let mut token = String::new();
    let mut listed = Vec::new();
    loop {
        let request = v1::ListRequest { page_size: 1000, page_token: token, ..v1::ListRequest::default() };
        let page = node.client.clone().list(request).await.expect("below the client's limit").into_inner();
        listed.extend(page.tasks.into_iter().map(|task| task.id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let mut ids = ids;
    ids.sort_unstable();
    assert_eq!(listed, ids);
}

#[tokio::test]
async fn short_ids_name_queued_and_ended_tasks() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let id = node.queue(spec("a")).await;
    let short = id.parse::<shoal_core::id::TaskId>().expect("an id").short();
    assert_eq!(node.get(&short).await.expect("queued").id, id);
    node.cancel(&short[..6]).await.expect("queued");
    assert_eq!(node.get(&short).await.expect("ended").id, id);
    assert_eq!(node.get(&short[..4].to_uppercase()).await.expect("ended").id, id);
    for bad in ["", "abc", "xyzw", "123456789", "@last"] {
        assert_eq!(node.get(bad).await.expect_err(bad).code(), Code::InvalidArgument, "{bad}");
    }
    let absent = if short.starts_with("00000") { "11111" } else { "00000" };
    let missing = node.get(absent).await.expect_err("no such task");
    assert_eq!((missing.code(), reason(&missing).as_str()), (Code::NotFound, "NO_SUCH_TASK"));
}

#[tokio::test]
async fn an_ambiguous_short_id_names_candidates() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    // Enough tasks that two share four digits: with 1,000 of 65,536 the chance of none is below one in a thousand.
    let ids =
        node.submit(request((0..1000).map(|n| spec(&n.to_string())).collect())).await.expect("accepted");
    let mut shorts: Vec<String> = ids
        .iter()
        .map(|id| id.parse::<shoal_core::id::TaskId>().expect("an id").short()[..4].to_owned())
        .collect();
    shorts.sort_unstable();
    let Some(twice) = shorts.windows(2).find(|pair| pair[0] == pair[1]) else { return };
    let refused = node.get(&twice[0]).await.expect_err("two have it");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "AMBIGUOUS_TASK"));
    let candidates = &refused.get_details_error_info().expect("details").metadata["candidates"];
    assert!(candidates.split(", ").count() >= 2, "{candidates}");
}

#[tokio::test]
async fn status_nodes_and_why_answer() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let ids = node.submit(request(vec![spec("a"), spec("b"), spec("c")])).await.expect("accepted");
    node.steal(&ids[0]).await;
    node.cancel(&ids[1]).await.expect("queued");
    let mut client = node.client.clone();
    let status = client.status(v1::StatusRequest {}).await.expect("it answers").into_inner();
    assert_eq!((status.queued, status.running, status.canceled, status.complete), (1, 1, 1, 0));
    assert_eq!((status.node_name.as_str(), status.nodes), ("n1", 1));
    let nodes = client.nodes(v1::NodesRequest {}).await.expect("it answers").into_inner().nodes;
    assert_eq!((nodes.len(), nodes[0].name.as_str(), nodes[0].voter), (1, "n1", true));
    let mut why = async |task: &String| {
        client.why(v1::WhyRequest { task: task.clone() }).await.expect("it answers").into_inner()
    };
    let waits = why(&ids[2]).await;
    assert_eq!((waits.state(), waits.nodes.len()), (v1::State::Queued, 1));
    assert!(why(&ids[0]).await.summary.contains("runs on n1"));
    assert!(why(&ids[1]).await.summary.contains("canceled by \"ann\""));
}
