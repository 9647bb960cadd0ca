//! Cancel is final and may be asked again.

use crate::fixture::{Cluster, reason, request, spec};
use shoal_proto::v1;
use tonic::Code;
use tonic_types::StatusExt;
use uuid::Uuid;

#[tokio::test]
async fn a_queued_task_is_canceled_at_once_and_again_is_fine() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let id = node.queue(spec("a")).await;
    for _ in 0..2 {
        let task = node.cancel(&id).await.expect("canceled");
        assert_eq!(task.state(), v1::State::Canceled);
        assert_eq!(task.cancel.expect("who and why").by, "ann");
    }
}

#[tokio::test]
async fn a_running_task_carries_the_request_and_ends_as_canceled() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let id = node.queue(spec("a")).await;
    node.steal(&id).await;
    for _ in 0..2 {
        let task = node.cancel(&id).await.expect("accepted");
        assert_eq!((task.state(), task.cancel.is_some()), (v1::State::Running, true));
    }
    node.finish(&id, 0).await;
    assert_eq!(node.get(&id).await.expect("it is there").state(), v1::State::Canceled);
    assert_eq!(node.cancel(&id).await.expect("it was").state(), v1::State::Canceled);
}

#[tokio::test]
async fn a_task_that_ended_otherwise_is_refused_with_its_state() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let id = node.queue(spec("a")).await;
    node.steal(&id).await;
    node.finish(&id, 3).await;
    let refused = node.cancel(&id).await.expect_err("too late");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "TASK_ENDED"));
    assert_eq!(refused.get_details_error_info().expect("details").metadata["state"], "complete");
}

#[tokio::test]
async fn no_task_and_bad_words_are_refused() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let missing = node.cancel(&Uuid::from_u128(7).to_string()).await.expect_err("no such task");
    assert_eq!((missing.code(), reason(&missing).as_str()), (Code::NotFound, "NO_SUCH_TASK"));
    let ids = node.submit(request(vec![spec("a")])).await.expect("accepted");
    let bad = v1::CancelRequest { task: ids[0].clone(), reason: "x".repeat(1025), by: "a\nb".into() };
    let refused = node.client.clone().cancel(bad).await.expect_err("two bad fields");
    let violations = refused.get_details_bad_request().expect("details").field_violations;
    assert_eq!(violations.iter().map(|v| v.field.as_str()).collect::<Vec<_>>(), ["by", "reason"]);
}
