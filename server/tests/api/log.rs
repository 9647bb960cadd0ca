//! Logs: every byte once, from any node, to the attempt's end.

use crate::fixture::{Cluster, Node, reason, spec, within};
use shoal_proto::v1;
use shoal_store::fault::{Call, HeldReply};
use std::fs::OpenOptions;
use std::io::Write;
use std::time::{Duration, Instant};
use tonic::{Code, Status, Streaming};

/// What the runner does: makes the attempt's directory and appends to its log.
fn write(node: &Node, task: &str, attempt: u32, bytes: &[u8]) {
    let directory = node.attempts_dir.join(format!("{task}.{attempt}"));
    std::fs::create_dir_all(&directory).expect("a directory");
    let mut log = OpenOptions::new().create(true).append(true).open(directory.join("log")).expect("a log");
    log.write_all(bytes).expect("written");
}

fn whole(task: &str) -> v1::LogRequest {
    v1::LogRequest { task: task.to_owned(), ..v1::LogRequest::default() }
}

fn follow(task: &str) -> v1::LogRequest {
    v1::LogRequest { follow: true, ..whole(task) }
}

async fn open(node: &Node, request: v1::LogRequest) -> Result<Streaming<v1::LogChunk>, Status> {
    Ok(within("the stream", node.client.clone().log(request)).await?.into_inner())
}

async fn next(chunks: &mut Streaming<v1::LogChunk>) -> Option<v1::LogChunk> {
    within("a chunk", chunks.message()).await.expect("no error")
}

/// All bytes, checked against their offsets, and the last chunk.
async fn read_all(node: &Node, request: v1::LogRequest) -> (Vec<u8>, u64, Option<v1::LogChunk>) {
    let mut chunks = open(node, request).await.expect("it begins");
    let (mut bytes, mut start, mut last) = (Vec::new(), None, None);
    while let Some(chunk) = next(&mut chunks).await {
        let start = *start.get_or_insert(chunk.offset);
        assert_eq!(chunk.offset, start + bytes.len() as u64, "no gap and no overlap");
        assert!(chunk.data.len() <= 64 << 10);
        bytes.extend_from_slice(&chunk.data);
        last = Some(chunk);
    }
    (bytes, start.unwrap_or(0), last)
}

async fn running(node: &Node) -> String {
    let id = node.queue(spec("a")).await;
    node.steal(&id).await;
    id
}

#[tokio::test]
async fn an_ended_log_is_read_whole_from_an_offset_and_by_its_last_lines() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let id = running(&node).await;
    let text: Vec<u8> = (0..50_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
    write(&node, &id, 1, &text);
    let (bytes, _, last) = read_all(&node, whole(&id)).await;
    assert!(bytes == text && !last.expect("a chunk").end, "it runs: no end");
    node.finish(&id, 0).await;
    let (bytes, _, last) = read_all(&node, whole(&id)).await;
    let last = last.expect("a chunk");
    assert!(bytes == text && last.end && !last.truncated && last.attempt == 1);
    let (bytes, start, _) = read_all(&node, v1::LogRequest { offset: 100_000, ..whole(&id) }).await;
    assert!(start == 100_000 && bytes == text[100_000..]);
    let (bytes, start, _) = read_all(&node, v1::LogRequest { tail_lines: 2, ..whole(&id) }).await;
    assert_eq!(String::from_utf8_lossy(&bytes), "line 49998\nline 49999\n");
    assert_eq!(start as usize, text.len() - bytes.len());
    let (bytes, start, _) = read_all(&node, v1::LogRequest { tail_lines: 20_000, ..whole(&id) }).await;
    assert!(bytes.starts_with(b"line 30000\n"), "across blocks");
    assert_eq!(start as usize + bytes.len(), text.len());
    let (bytes, _, _) = read_all(&node, v1::LogRequest { tail_lines: 60_000, ..whole(&id) }).await;
    assert!(bytes == text, "fewer lines than asked for");
    let (bytes, _, last) = read_all(&node, v1::LogRequest { offset: 1 << 40, ..whole(&id) }).await;
    assert!(bytes.is_empty() && last.expect("the end").end, "behind the end there is nothing");
}

#[tokio::test]
async fn a_cut_log_is_flagged() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    for (marker, truncated) in
        [(shoal_container::truncation_marker(3), true), ("\n[shoal: log]\n".into(), false)]
    {
        let id = running(&node).await;
        write(&node, &id, 1, format!("abc{marker}").as_bytes());
        node.finish(&id, 0).await;
        let (_, _, last) = read_all(&node, whole(&id)).await;
        assert_eq!(last.expect("the end").truncated, truncated);
    }
}

#[tokio::test]
async fn a_follower_sees_the_queue_the_start_each_write_and_the_end() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let id = node.queue(spec("a")).await;
    let refused = open(&node, whole(&id)).await.expect_err("not started");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "NOT_STARTED"));
    let mut chunks = open(&node, follow(&id)).await.expect("it waits");
    node.steal(&id).await;
    for (offset, part) in [(0, "one\n"), (4, "two\n"), (8, "three")] {
        write(&node, &id, 1, part.as_bytes());
        let chunk = next(&mut chunks).await.expect("what was written");
        assert_eq!((chunk.offset, chunk.data.as_slice(), chunk.end), (offset, part.as_bytes(), false));
    }
    write(&node, &id, 1, b"\nlast words");
    node.finish(&id, 0).await;
    let mut rest = Vec::new();
    let end = loop {
        let chunk = next(&mut chunks).await.expect("not over before its end");
        rest.extend_from_slice(&chunk.data);
        if chunk.end {
            break chunk;
        }
    };
    assert_eq!((rest.as_slice(), end.offset), (b"\nlast words".as_slice(), 24));
    assert!(next(&mut chunks).await.is_none());
}

#[tokio::test]
async fn a_follower_ends_at_once_where_the_attempt_ended_while_its_record_was_on_its_way() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let id = running(&node).await;
    write(&node, &id, 1, b"all of it");
    let record = format!("/task/{id}");
    let HeldReply { carried_out, release } =
        cluster.faults.hold_reply(move |call| matches!(call, Call::Get(key) if **key == record));
    let end = async {
        within("the first read of the record", carried_out).await.expect("it is carried out");
        let mut changes = node.changes.subscribe();
        node.finish(&id, 0).await;
        while within("the end to be told", changes.recv()).await.expect("it is told").task.to_string() != id {
        }
        release.send(()).expect("the reader waits");
        Instant::now()
    };
    let ((bytes, _, last), ended) = tokio::join!(read_all(&node, follow(&id)), end);
    assert!(bytes == b"all of it" && last.as_ref().is_some_and(|last| last.end), "{bytes:?} {last:?}");
    // Not by the slow reconcile, which reads every record again after 10 s.
    assert!(ended.elapsed() < Duration::from_secs(5), "it ended after {:?}", ended.elapsed());
}

#[tokio::test]
async fn a_follower_ends_at_once_though_the_disk_speaks_while_the_record_is_read() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let id = running(&node).await;
    write(&node, &id, 1, b"first");
    let mut stream = open(&node, follow(&id)).await.expect("it runs");
    assert_eq!(next(&mut stream).await.expect("a chunk").data, b"first");
    let record = format!("/task/{id}");
    let HeldReply { carried_out, release } =
        cluster.faults.hold_reply(move |call| matches!(call, Call::GetMany(keys) if keys.contains(&record)));
    let end = async {
        node.finish(&id, 0).await;
        within("the read of the ended record", carried_out).await.expect("it is carried out");
        // What the follower hears now makes it drop that read; it must not forget why it read.
        write(&node, &id, 1, b"second");
        Instant::now()
    };
    let rest = async {
        let mut bytes = Vec::new();
        loop {
            let chunk = within("the end", next(&mut stream)).await.expect("a chunk");
            bytes.extend(chunk.data);
            if chunk.end {
                return bytes;
            }
        }
    };
    let (bytes, spoken) = tokio::join!(rest, end);
    assert_eq!(bytes, b"second");
    assert!(spoken.elapsed() < Duration::from_secs(5), "it ended after {:?}", spoken.elapsed());
    drop(release);
}

#[tokio::test]
async fn the_log_of_a_task_that_never_ran_is_an_end_and_nothing_else() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let id = node.queue(spec("a")).await;
    let mut waiting = open(&node, follow(&id)).await.expect("it waits");
    node.cancel(&id).await.expect("it is queued");
    assert!(next(&mut waiting).await.expect("an answer").end);
    assert!(next(&mut waiting).await.is_none());
    let (bytes, _, last) = read_all(&node, whole(&id)).await;
    assert!(bytes.is_empty() && last.expect("the end").end);
    let refused =
        open(&node, v1::LogRequest { attempt: 2, ..whole(&id) }).await.expect_err("no second attempt");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "NO_SUCH_ATTEMPT"));
}

#[tokio::test]
async fn each_attempt_has_its_own_log_and_the_next_can_be_waited_for() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let id = running(&node).await;
    write(&node, &id, 1, b"first");
    node.lose(&id, 1).await;
    let mut second = open(&node, v1::LogRequest { attempt: 2, ..follow(&id) }).await.expect("it waits");
    node.steal(&id).await;
    write(&node, &id, 2, b"second");
    let chunk = next(&mut second).await.expect("a chunk");
    assert_eq!((chunk.attempt, chunk.data.as_slice()), (2, b"second".as_slice()));
    let (bytes, _, last) = read_all(&node, v1::LogRequest { attempt: 1, ..whole(&id) }).await;
    assert!(bytes == b"first" && last.expect("the end").end, "an attempt that is lost has ended");
    let (bytes, _, _) = read_all(&node, whole(&id)).await;
    assert_eq!(bytes, b"second", "the latest");
}

#[tokio::test]
async fn any_node_serves_the_log_of_another() {
    let cluster = Cluster::new();
    let (owner, other) = (cluster.node(1).await, cluster.node(2).await);
    let id = other.queue(spec("a")).await;
    let mut chunks = open(&other, follow(&id)).await.expect("it waits");
    owner.steal(&id).await;
    write(&owner, &id, 1, b"from the owner");
    assert_eq!(next(&mut chunks).await.expect("a chunk").data, b"from the owner");
    owner.finish(&id, 0).await;
    assert!(next(&mut chunks).await.expect("the end").end);
    let gone =
        open(&other, v1::LogRequest { no_proxy: true, ..whole(&id) }).await.expect_err("not on its disk");
    assert_eq!((gone.code(), reason(&gone).as_str()), (Code::NotFound, "LOG_GONE"));
    std::fs::remove_dir_all(&owner.attempts_dir).expect("removed");
    let gone = open(&other, whole(&id)).await.expect_err("gone on the owner's disk");
    assert_eq!((gone.code(), reason(&gone).as_str()), (Code::NotFound, "LOG_GONE"));
    assert!(gone.message().contains("n1"), "{gone}");
}

#[tokio::test]
async fn a_node_under_a_new_identity_still_has_its_logs() {
    let cluster = Cluster::new();
    let (owner, other) = (cluster.node(1).await, cluster.node(2).await);
    let id = running(&owner).await;
    write(&owner, &id, 1, b"kept");
    owner.finish(&id, 0).await;
    cluster.nodes.lock().expect("no panic")[0].id = shoal_core::id::NodeId(uuid::Uuid::from_u128(77));
    assert_eq!(read_all(&other, whole(&id)).await.0, b"kept");
}

#[tokio::test]
async fn the_log_of_a_dead_node_is_unavailable_at_once_and_of_a_silent_one_within_two_seconds() {
    let cluster = Cluster::new();
    let (owner, other) = (cluster.node(1).await, cluster.node(2).await);
    let id = running(&owner).await;
    // A listener that accepts and never answers: a node that is stopped in the middle.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address").to_string();
    cluster.nodes.lock().expect("no panic")[0].entry.address = address;
    let asked = Instant::now();
    let refused = open(&other, follow(&id)).await.expect_err("silent");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "LOG_UNREACHABLE"));
    assert!(refused.message().contains("node n1"), "{refused}");
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    cluster.nodes.lock().expect("no panic").remove(0);
    let refused = open(&other, follow(&id)).await.expect_err("dead");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "LOG_UNREACHABLE"));
}

#[tokio::test]
async fn bad_log_requests_are_refused() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let id = running(&node).await;
    for bad in [
        v1::LogRequest { attempt: 101, ..whole(&id) },
        v1::LogRequest { offset: u64::MAX, ..whole(&id) },
        v1::LogRequest { offset: 1, tail_lines: 1, ..whole(&id) },
        v1::LogRequest { offset: 1, since_ms: 1, ..whole(&id) },
        v1::LogRequest { since_ms: -1, ..whole(&id) },
        whole("not an id"),
    ] {
        assert_eq!(open(&node, bad).await.expect_err("refused").code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_proxied_log_whose_node_goes_away_breaks_off_with_an_error() {
    let cluster = Cluster::new();
    let (owner, other) = (cluster.node(1).await, cluster.node(2).await);
    let id = running(&owner).await;
    write(&owner, &id, 1, b"begun");
    let mut chunks = open(&other, follow(&id)).await.expect("it begins");
    assert_eq!(next(&mut chunks).await.expect("a chunk").data, b"begun");
    owner.shutdown.cancel();
    let broken = within("the error", chunks.message()).await.expect_err("not an early end");
    assert_eq!((broken.code(), reason(&broken).as_str()), (Code::Unavailable, "LOG_UNREACHABLE"));
    assert!(broken.message().contains("node n1"), "{broken}");
}
