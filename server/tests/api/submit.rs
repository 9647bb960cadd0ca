//! Submit is idempotent, all or a clear answer, and bounded.

use crate::fixture::{Cluster, reason, request, spec, within};
use shoal_proto::v1;
use shoal_server::seam::ApiLimits;
use shoal_store::fault::{Call, Fault};
use shoal_store::key;
use shoal_store::port::{ListOptions, Store};
use std::time::Duration;
use tonic::Code;
use tonic_types::StatusExt;

async fn records(cluster: &Cluster) -> usize {
    cluster.memory.list(key::records(), ListOptions::default()).await.expect("it lists").kvs.len()
}

#[tokio::test]
async fn the_same_request_is_the_same_tasks() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let request = request(vec![spec("a"), spec("b"), spec("c")]);
    let first = node.submit(request.clone()).await.expect("accepted");
    node.steal(&first[1]).await;
    assert_eq!(node.submit(request.clone()).await.expect("the same"), first);
    let other_node = cluster.node(2).await;
    assert_eq!(other_node.submit(request).await.expect("the same"), first);
    assert_eq!(records(&cluster).await, 3);
    assert_eq!(node.get(&first[1]).await.expect("it is there").state(), v1::State::Running);
}

#[tokio::test]
async fn a_reused_request_id_is_refused_and_creates_nothing() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let used = request(vec![spec("a"), spec("b")]);
    node.submit(used.clone()).await.expect("accepted");
    let others = [
        (vec![spec("x")], 0),
        (vec![spec("x"), spec("b"), spec("c")], 0),
        (vec![spec("a"), spec("x")], 1),
        // More or fewer of the same is another request too.
        (vec![spec("a"), spec("b"), spec("c")], 0),
        (vec![spec("a")], 0),
    ];
    for (tasks, index) in others {
        let refused =
            node.submit(v1::SubmitRequest { tasks, ..used.clone() }).await.expect_err("it was used");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::AlreadyExists, "REQUEST_ID_REUSED"));
        assert!(refused.message().contains(&used.request_id), "{refused}");
        let info = refused.get_details_error_info().expect("details");
        assert_eq!(info.metadata["index"], index.to_string());
    }
    assert_eq!(records(&cluster).await, 2);
}

#[tokio::test]
async fn a_lost_reply_leaves_each_task_once() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    for fault in [Fault::LoseReply, Fault::NotApplied, Fault::Unavailable] {
        let before = records(&cluster).await;
        let first = cluster.faults.once(fault, |call| matches!(call, Call::Txn(_)));
        let second = cluster.faults.once(fault, |call| matches!(call, Call::Txn(txn) if txn.then.len() > 1));
        let tasks: Vec<_> = (0..100).map(|n| spec(&format!("t{n}"))).collect();
        let ids = within("the submit", node.submit(request(tasks))).await.expect("accepted in the end");
        within("both faults", async { tokio::try_join!(first, second) }).await.expect("both happened");
        assert_eq!(ids.len(), 100);
        assert_eq!(records(&cluster).await, before + 100);
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_makes_the_submit_safe_to_retry() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    cluster.faults.set_hook(|call| if matches!(call, Call::Txn(_)) { Fault::LoseReply } else { Fault::None });
    let again = request(vec![spec("a"), spec("b")]);
    let ids = within("the retry", async {
        // The first is created, its reply is lost; proposing it again loses that reply too.
        let waiting = node.submit(again.clone());
        let refused = waiting.await.expect_err("no reply arrives");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "SUBMIT_UNFINISHED"));
        assert!(refused.message().contains(&again.request_id), "{refused}");
        cluster.faults.clear();
        node.submit(again).await.expect("accepted")
    })
    .await;
    assert_eq!((ids.len(), records(&cluster).await), (2, 2));
}

#[tokio::test]
async fn a_full_store_refuses_at_once() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    cluster.memory.set_full(true);
    let again = request(vec![spec("a")]);
    let refused = node.submit(again.clone()).await.expect_err("full");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "STORE_FULL"));
    assert!(refused.get_details_retry_info().is_some());
    cluster.memory.set_full(false);
    node.submit(again).await.expect("there is room again");
}

#[tokio::test]
async fn a_full_queue_refuses_with_both_numbers_but_not_the_retry_of_what_it_took() {
    let cluster = Cluster::new();
    let limits = ApiLimits { queue_len_max: 2, ..ApiLimits::default() };
    let node = cluster.node_with(1, limits).await;
    let taken = request(vec![spec("a"), spec("b")]);
    let ids = node.submit(taken.clone()).await.expect("there is room");
    let refused = node.submit(request(vec![spec("c")])).await.expect_err("full");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "QUEUE_FULL"));
    assert_eq!(refused.message(), "queue is full: 2 tasks wait, at most 2 may");
    assert!(refused.get_details_retry_info().is_some());
    assert_eq!(node.submit(taken).await.expect("it was accepted before"), ids);
}

#[tokio::test]
async fn too_many_submits_at_once_are_refused_and_never_hang() {
    let cluster = Cluster::new();
    let node = cluster.node_with(1, ApiLimits { submits_max: 0, ..ApiLimits::default() }).await;
    let refused = node.submit(request(vec![spec("a")])).await.expect_err("no place");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "TOO_MANY_CALLS"));
    assert!(refused.get_details_retry_info().is_some());
}

#[tokio::test]
async fn what_no_live_node_can_run_is_refused_with_the_reason() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let big = |cpu_milli, memory_bytes| Some(v1::Resources { cpu_milli, memory_bytes });
    let tasks = vec![
        spec("fits"),
        v1::TaskSpec { root: "debian".into(), ..spec("root") },
        v1::TaskSpec { resources: big(9000, 0), ..spec("cpu") },
        v1::TaskSpec { resources: big(0, 1 << 40), ..spec("memory") },
    ];
    let refused = node.submit(request(tasks)).await.expect_err("it can never run");
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "CANNOT_RUN_ANYWHERE")
    );
    let violations = refused.get_details_precondition_failure().expect("details").violations;
    let texts: Vec<_> = violations.iter().map(|v| format!("{}: {}", v.subject, v.description)).collect();
    assert_eq!(
        texts,
        [
            "tasks[1].root: no live node has root \"debian\", there are: default",
            "tasks[2].resources.cpu_milli: no live node has 9000 thousandths of a core, the largest (n1) has 8000",
            "tasks[3].resources.memory_bytes: no live node has 1099511627776 bytes of memory, the largest (n1) has \
             8589934592",
        ]
    );
    assert_eq!(records(&cluster).await, 0);
}

#[tokio::test]
async fn what_no_operator_allows_is_refused_with_field_limit_and_value() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let mount = |name: &str| v1::Mount { name: name.into(), target: "/data".into(), read_only: true };
    let tasks = vec![
        v1::TaskSpec { mounts: vec![mount("data")], pids_max: 2048, log_bytes_max: 1 << 20, ..spec("fits") },
        v1::TaskSpec { net: v1::Net::Host.into(), ..spec("net") },
        v1::TaskSpec { mounts: vec![mount("datasets")], ..spec("mount") },
        v1::TaskSpec { pids_max: 4096, ..spec("pids") },
        v1::TaskSpec { open_files_max: 1 << 20, ..spec("files") },
        v1::TaskSpec { log_bytes_max: 1 << 30, ..spec("log") },
        v1::TaskSpec { labels: vec!["type=smithi".into()], ..spec("label") },
        v1::TaskSpec { labels: vec!["type=smithi".into(), "type=mira".into()], ..spec("label") },
    ];
    let refused = node.submit(request(tasks)).await.expect_err("nobody offers it");
    assert_eq!(reason(&refused), "CANNOT_RUN_ANYWHERE");
    let violations = refused.get_details_precondition_failure().expect("details").violations;
    let texts: Vec<_> = violations.iter().map(|v| format!("{}: {}", v.subject, v.description)).collect();
    assert_eq!(
        texts,
        [
            "tasks[1].net: no live node offers the host's network; its operator would have to allow it (shoald \
             --allow-host-net)",
            "tasks[2].mounts[0].name: no live node offers the mount \"datasets\", there are: data",
            "tasks[3].pids_max: no live node gives a task 4096 processes and threads, the most is 2048",
            "tasks[4].open_files_max: no live node gives a task 1048576 open files, the most is 4096",
            "tasks[5].log_bytes_max: no live node gives a task 1073741824 bytes of log, the most is 67108864",
            "tasks[7].labels[0]: no live node offers the label \"type=mira\", there are: type=smithi",
        ]
    );
    assert_eq!(records(&cluster).await, 0);
}

#[tokio::test]
async fn to_validate_creates_nothing() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let asked = v1::SubmitRequest { validate_only: true, ..request(vec![spec("a")]) };
    let ids = node.submit(asked.clone()).await.expect("it is valid");
    assert_eq!(records(&cluster).await, 0);
    let real = v1::SubmitRequest { validate_only: false, ..asked };
    assert_eq!(node.submit(real).await.expect("accepted"), ids);
}

#[tokio::test]
async fn many_submits_at_once_share_batches_and_none_is_lost() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let slow = |call: &Call<'_>| match call {
        Call::Txn(_) => Fault::Delay(Duration::from_millis(2)),
        _ => Fault::None,
    };
    cluster.faults.set_hook(slow);
    let requests: Vec<_> = (0..200).map(|n| request(vec![spec(&format!("t{n}"))])).collect();
    let twice = requests.iter().chain(&requests).cloned();
    let submits = futures::future::join_all(twice.map(|request| node.submit(request)));
    let ids: Vec<_> =
        within("all submits", submits).await.into_iter().map(|ids| ids.expect("accepted")).collect();
    assert_eq!(ids[..200], ids[200..]);
    assert_eq!(records(&cluster).await, 200);
    assert!(cluster.memory.revision() < 100, "batches: {} revisions", cluster.memory.revision());
}
