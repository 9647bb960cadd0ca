//! Tasks of several nodes: what is refused, what is shown, and the log of each member.

use crate::fixture::{Cluster, Node, reason, request, spec, within};
use futures::stream;
use shoal_proto::v1::{self, peer_client::PeerClient};
use shoal_server::logs::packed::pack;
use std::io::Write;
use tonic::{Code, Status};
use tonic_types::StatusExt;

fn part(nodes: u32, labels: &[&str]) -> v1::GangPart {
    v1::GangPart { nodes, labels: labels.iter().map(|label| (*label).to_owned()).collect() }
}

fn gang(parts: Vec<v1::GangPart>) -> v1::TaskSpec {
    v1::TaskSpec { parts, ..spec("gang") }
}

fn gpus(count: u32, of: v1::TaskSpec) -> v1::TaskSpec {
    v1::TaskSpec { counts: [("gpu".to_owned(), count)].into(), ..of }
}

async fn refusals(node: &Node, tasks: Vec<v1::TaskSpec>) -> Vec<String> {
    let refused = node.submit(request(tasks)).await.expect_err("it can never run");
    assert_eq!(reason(&refused), "CANNOT_RUN_ANYWHERE");
    let violations = refused.get_details_precondition_failure().expect("details").violations;
    violations.iter().map(|v| format!("{}: {}", v.subject, v.description)).collect()
}

#[tokio::test]
async fn what_no_set_of_nodes_can_run_is_refused_with_the_reason() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let _others = (cluster.node(2).await, cluster.node(3).await);
    let mut nodes = cluster.nodes.lock().expect("no panic").clone();
    nodes[0].entry.offers.has.insert("label:fast".to_owned());
    nodes[1].entry.offers.has.insert("label:fast".to_owned());
    nodes[2].entry.counts.0.insert("gpu".to_owned(), 4);
    *cluster.nodes.lock().expect("no panic") = nodes;
    let tasks = vec![
        gang(vec![part(2, &["fast"]), part(1, &[])]),
        gpus(4, gang(vec![part(1, &[])])),
        gang(vec![part(4, &[])]),
        gang(vec![part(3, &["fast"])]),
        gang(vec![part(2, &["fast"]), part(1, &["slow"])]),
        gang(vec![part(2, &["fast"]), part(2, &["type=smithi"])]),
        gpus(3, gang(vec![part(2, &[])])),
        gpus(5, spec("alone")),
        v1::TaskSpec { counts: [("tape".to_owned(), 1)].into(), ..spec("alone") },
    ];
    assert_eq!(
        refusals(&node, tasks).await,
        [
            "tasks[2].parts: it takes 4 nodes at once, and only 3 could be among them: n1, n2, n3",
            "tasks[3].parts: it takes 3 with fast nodes at once, and only 2 could be among them: n1, n2",
            "tasks[4].parts[1].labels: no live node offers the label \"slow\", there are: fast, type=smithi",
            "tasks[5].parts: it takes 4 (2 with fast and 2 with type=smithi) nodes at once, and only 3 could be among \
             them: n1, n2, n3",
            "tasks[6].parts: it takes 2 nodes at once, and only 1 could be among them: n3",
            "tasks[7].counts[\"gpu\"]: no live node has 5 gpu, the most (n3) is 4",
            "tasks[8].counts[\"tape\"]: no live node has any tape (shoald --resource tape=COUNT)",
        ]
    );
}

#[tokio::test]
async fn what_is_impossible_is_queued_where_that_is_asked_for_and_said() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let tasks = vec![spec("fits"), gang(vec![part(2, &[])])];
    let asked = v1::SubmitRequest { allow_impossible: true, ..request(tasks) };
    let answer = node.client.clone().submit(asked).await.expect("it is queued").into_inner();
    assert_eq!(
        answer.impossible,
        ["tasks[1].parts: it takes 2 nodes at once, and only 1 could be among them: n1"]
    );
    let task = node.get(&answer.ids[1]).await.expect("it exists");
    assert_eq!((task.state(), task.spec.expect("its spec").parts), (v1::State::Queued, vec![part(2, &[])]));
}

fn write_log(node: &Node, task: &str, text: &str) {
    let directory = node.attempts_dir.join(format!("{task}.1"));
    std::fs::create_dir_all(&directory).expect("a directory");
    std::fs::write(directory.join("log"), text).expect("a log");
}

async fn read(node: &Node, request: v1::LogRequest) -> Result<(String, bool), Status> {
    let mut chunks = within("the stream", node.client.clone().log(request)).await?.into_inner();
    let (mut bytes, mut end) = (Vec::new(), false);
    while let Some(chunk) = within("a chunk", chunks.message()).await? {
        bytes.extend(chunk.data);
        end |= chunk.end;
    }
    Ok((String::from_utf8(bytes).expect("text"), end))
}

fn of_rank(task: &str, rank: u32) -> v1::LogRequest {
    v1::LogRequest { task: task.to_owned(), rank, ..v1::LogRequest::default() }
}

#[tokio::test]
async fn each_members_log_is_read_from_any_node_and_ends_with_the_member() {
    let cluster = Cluster::new();
    let (one, two, other) = (cluster.node(1).await, cluster.node(2).await, cluster.node(3).await);
    let all = v1::TaskSpec { gang_end: v1::GangEnd::All.into(), ..gang(vec![part(2, &[])]) };
    let id = one.queue(all).await;
    let early = read(&other, of_rank(&id, 2)).await.expect_err("there is no third");
    assert_eq!(early.code(), Code::InvalidArgument);
    assert!(early.message().contains("must be between 0 and 1 for this task, was 2"), "{early}");
    one.gather(&id, &[&two]).await;
    write_log(&one, &id, "first\n");
    write_log(&two, &id, "second\n");
    for reader in [&one, &two, &other] {
        assert_eq!(read(reader, of_rank(&id, 0)).await.expect("a log"), ("first\n".to_owned(), false));
        assert_eq!(read(reader, of_rank(&id, 1)).await.expect("a log"), ("second\n".to_owned(), false));
    }
    let ends = async {
        two.finish(&id, 0).await;
    };
    let follow = v1::LogRequest { follow: true, ..of_rank(&id, 1) };
    let (followed, here, ()) = tokio::join!(read(&other, follow.clone()), read(&two, follow), ends);
    assert_eq!(followed.expect("it ends with the member"), ("second\n".to_owned(), true));
    assert_eq!(here.expect("it ends with the member"), ("second\n".to_owned(), true));
    assert_eq!(read(&other, of_rank(&id, 0)).await.expect("a log"), ("first\n".to_owned(), false));
    let task = one.get(&id).await.expect("it exists");
    let ends: Vec<&str> = task.attempts[0].members.iter().map(|member| member.end.as_str()).collect();
    assert_eq!((task.state(), ends), (v1::State::Running, vec!["", "exit 0"]));
    one.finish(&id, 3).await;
    let task = one.get(&id).await.expect("it exists");
    assert_eq!(task.attempts[0].end, "exit 3 (member 0 on n1)");
}

fn packed(text: &str) -> Vec<u8> {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    let mut out = Vec::new();
    pack(&file, b"", &mut out).expect("packed");
    out
}

async fn keep(node: &Node, log: &str, text: &str) {
    let data = packed(text);
    let piece = v1::LogPiece { attempt: log.to_owned(), bytes: data.len() as u64, data };
    let kept = PeerClient::new(node.channel.clone()).keep_logs(stream::iter([piece])).await;
    assert_eq!(kept.expect("it is kept").into_inner().kept, 1);
}

#[tokio::test]
async fn a_members_copy_lies_beside_another_members_log_and_is_not_taken_for_it() {
    let cluster = Cluster::new();
    let (one, two, three) = (cluster.node(1).await, cluster.node(2).await, cluster.node(3).await);
    let id = one.queue(gang(vec![part(3, &[])])).await;
    one.gather(&id, &[&two, &three]).await;
    for (node, text) in [(&one, "first\n"), (&two, "second\n"), (&three, "third\n")] {
        write_log(node, &id, text);
        node.finish(&id, 0).await;
    }
    // The first holds the copies of both others, beside its own; the second that of the first.
    keep(&one, &format!("{id}.1.1"), "second\n").await;
    keep(&one, &format!("{id}.1.2"), "third\n").await;
    keep(&two, &format!("{id}.1"), "first\n").await;
    for node in [&two, &three] {
        std::fs::remove_dir_all(node.attempts_dir.join(format!("{id}.1"))).expect("its disk is lost");
    }
    cluster.nodes.lock().expect("no panic").retain(|node| node.entry.name != "n3");
    for reader in [&one, &two, &three] {
        for (rank, text) in [(0, "first\n"), (1, "second\n"), (2, "third\n")] {
            for follow in [false, true] {
                let asked = v1::LogRequest { follow, ..of_rank(&id, rank) };
                let log = read(reader, asked).await.expect("a copy");
                assert_eq!(log, (text.to_owned(), true), "{} reads {rank}", reader.name);
            }
        }
    }
    std::fs::remove_dir_all(one.attempts_dir.join(format!("{id}.1"))).expect("its disk is lost");
    assert_eq!(read(&three, of_rank(&id, 0)).await.expect("a copy"), ("first\n".to_owned(), true));
    for bad in ["1.0", "1.64", "1.x", "1.01"] {
        let piece = v1::LogPiece { attempt: format!("{id}.{bad}"), bytes: 1, data: vec![1] };
        let refused = PeerClient::new(one.channel.clone()).keep_logs(stream::iter([piece])).await;
        assert_eq!(refused.expect_err("no name").code(), Code::InvalidArgument, "{bad}");
    }
}

#[tokio::test]
async fn a_task_of_several_nodes_is_listed_once() {
    let cluster = Cluster::new();
    let (one, two, three) = (cluster.node(1).await, cluster.node(2).await, cluster.node(3).await);
    let all = v1::TaskSpec { gang_end: v1::GangEnd::All.into(), ..gang(vec![part(3, &[])]) };
    let (gathered, alone) = (one.queue(all).await, one.queue(spec("alone")).await);
    three.gather(&gathered, &[&one, &two]).await;
    two.steal(&alone).await;
    let running = async |page_size: u32| {
        let mut ids = Vec::new();
        let mut page_token = String::new();
        loop {
            let states = vec![v1::State::Running.into()];
            let asked = v1::ListRequest { states, page_size, page_token, ..v1::ListRequest::default() };
            let page = one.client.clone().list(asked).await.expect("a page").into_inner();
            ids.extend(page.tasks.into_iter().map(|task| task.id));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                ids.sort();
                return ids;
            }
        }
    };
    let mut both = vec![gathered.clone(), alone];
    both.sort();
    for page_size in [1, 2, 50] {
        assert_eq!(running(page_size).await, both, "pages of {page_size}");
    }
    three.finish(&gathered, 0).await;
    assert_eq!(running(1).await, both, "the first member has ended");
}
