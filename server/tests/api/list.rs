//! Pages of a list show one revision, whatever changes meanwhile.

use crate::fixture::{Cluster, Node, reason, request, spec};
use shoal_proto::v1;
use tonic::{Code, Status};

async fn page(node: &Node, request: &v1::ListRequest, token: &str) -> Result<v1::ListResponse, Status> {
    let request = v1::ListRequest { page_token: token.to_owned(), ..request.clone() };
    Ok(node.client.clone().list(request).await?.into_inner())
}

/// All pages; `between` is done after each.
async fn pages(node: &Node, request: v1::ListRequest, mut between: impl AsyncFnMut()) -> Vec<v1::Task> {
    let (mut token, mut tasks, mut revision) = (String::new(), Vec::new(), None);
    loop {
        let page = page(node, &request, &token).await.expect("a page");
        assert_eq!(*revision.get_or_insert(page.revision), page.revision, "one revision for all pages");
        tasks.extend(page.tasks);
        token = page.next_page_token;
        if token.is_empty() {
            return tasks;
        }
        between().await;
    }
}

fn ids(tasks: &[v1::Task]) -> Vec<String> {
    tasks.iter().map(|task| task.id.clone()).collect()
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn all_pages_show_the_revision_of_the_first() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let queued =
        sorted(node.submit(request((0..25).map(|n| spec(&n.to_string())).collect())).await.expect("ok"));
    let mut left = queued.clone();
    let request = v1::ListRequest { page_size: 10, ..v1::ListRequest::default() };
    let listed = pages(&node, request, async || {
        node.queue(spec("late")).await;
        node.cancel(&left.pop().expect("some are left")).await.expect("it is queued");
    })
    .await;
    assert_eq!(ids(&listed), queued);
    assert!(listed.iter().all(|task| task.state() == v1::State::Queued), "as they were at the first page");
}

#[tokio::test]
async fn newest_first_is_the_same_list_backwards() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    // Ids of one moment in a lump, ids of other times, before and after this test's clock, and one that is no time at all.
    let old = "00000000-0001-7000-8000-000000000001";
    let new = "0199d000-0000-7000-8000-000000000001";
    let random = "f47ac10b-58cc-4372-a567-0e02b2c3d479";
    for (request_id, count) in [(old, 300), (new, 500), (random, 7)] {
        let tasks = (0..count).map(|n| spec(&n.to_string())).collect();
        let request = v1::SubmitRequest { request_id: request_id.into(), ..request(tasks) };
        for id in node.submit(request).await.expect("ok").iter().take(count / 3) {
            node.cancel(id).await.expect("it is queued");
        }
    }
    for states in [vec![], vec![v1::State::Queued], vec![v1::State::Canceled], vec![v1::State::Running]] {
        let states = states.into_iter().map(i32::from).collect();
        let forward = v1::ListRequest { page_size: 90, states, ..v1::ListRequest::default() };
        let backward = v1::ListRequest { newest_first: true, ..forward.clone() };
        let forward = ids(&pages(&node, forward, async || {}).await);
        let mut backward = ids(&pages(&node, backward, async || {}).await);
        backward.reverse();
        assert_eq!(forward, backward);
    }
}

#[tokio::test]
async fn a_filter_by_state_keeps_to_the_revision_too() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let all = node.submit(request((0..12).map(|n| spec(&n.to_string())).collect())).await.expect("ok");
    for id in &all[..4] {
        node.steal(id).await;
    }
    node.finish(&all[0], 0).await;
    node.cancel(&all[11]).await.expect("it is queued");
    let states = vec![v1::State::Running.into(), v1::State::Queued.into()];
    let request = v1::ListRequest { states, page_size: 2, ..v1::ListRequest::default() };
    let mut finish = all[1..4].iter();
    let listed = pages(&node, request, async || {
        if let Some(id) = finish.next() {
            node.finish(id, 0).await;
        }
    })
    .await;
    assert_eq!(sorted(ids(&listed)), sorted(all[1..11].to_vec()));
    let running = listed.iter().filter(|task| task.state() == v1::State::Running).count();
    assert_eq!(running, 3, "as at the first page");
    let ended = v1::ListRequest {
        states: vec![v1::State::Complete.into(), v1::State::Canceled.into()],
        ..v1::ListRequest::default()
    };
    let ended = pages(&node, ended, async || {}).await;
    assert_eq!(ended.len(), 5);
}

#[tokio::test]
async fn a_filter_by_user_pages_through_others() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let of = |user: &str, n: usize| v1::TaskSpec { user: user.into(), ..spec(&n.to_string()) };
    let tasks = (0..30).map(|n| of(if n % 10 == 0 { "ann" } else { "bob" }, n)).collect();
    node.submit(request(tasks)).await.expect("ok");
    let request = v1::ListRequest { user: "ann".into(), page_size: 2, ..v1::ListRequest::default() };
    let listed = pages(&node, request, async || {}).await;
    assert_eq!(listed.len(), 3);
}

#[tokio::test]
async fn a_token_whose_revision_is_gone_says_list_again() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    node.submit(request((0..5).map(|n| spec(&n.to_string())).collect())).await.expect("ok");
    let request = v1::ListRequest { page_size: 2, ..v1::ListRequest::default() };
    let first = page(&node, &request, "").await.expect("a page");
    node.queue(spec("more")).await;
    cluster.memory.compact(cluster.memory.revision()).expect("it compacts");
    let stale = page(&node, &request, &first.next_page_token).await.expect_err("gone");
    assert_eq!((stale.code(), reason(&stale).as_str()), (Code::OutOfRange, "PAGE_TOKEN_STALE"));
}

#[tokio::test]
async fn a_token_of_another_query_or_a_forged_one_is_refused() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    node.submit(request((0..5).map(|n| spec(&n.to_string())).collect())).await.expect("ok");
    let request = v1::ListRequest { page_size: 2, ..v1::ListRequest::default() };
    let token = page(&node, &request, "").await.expect("a page").next_page_token;
    let other = v1::ListRequest { user: "ann".into(), ..request.clone() };
    for (request, token) in [(&other, token.as_str()), (&request, "junk"), (&request, "00ff")] {
        let refused = page(&node, request, token).await.expect_err("refused");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
    }
    for states in [vec![0], vec![6], vec![-1]] {
        let refused =
            page(&node, &v1::ListRequest { states, ..request.clone() }, "").await.expect_err("refused");
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
}
