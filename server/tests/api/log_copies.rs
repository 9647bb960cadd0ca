//! Copies of logs: taken whole from peers or not at all, and read when the log's own node is not there.

use crate::fixture::{Cluster, Node, reason, spec, within};
use futures::stream;
use shoal_proto::v1::{self, peer_client::PeerClient};
use shoal_server::logs::packed::pack;
use std::io::Write;
use std::time::{Duration, Instant};
use tonic::{Code, Status};

/// A log as it is copied.
fn packed(text: &[u8]) -> Vec<u8> {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(text).expect("written");
    let mut out = Vec::new();
    pack(&file, b"", &mut out).expect("packed");
    out
}

fn first(attempt: &str, bytes: usize, data: &[u8]) -> v1::LogPiece {
    v1::LogPiece { attempt: attempt.to_owned(), bytes: bytes as u64, data: data.to_vec() }
}

async fn keep(node: &Node, pieces: Vec<v1::LogPiece>) -> Result<u32, Status> {
    let mut peer = PeerClient::new(node.channel.clone());
    Ok(within("the copy", peer.keep_logs(stream::iter(pieces))).await?.into_inner().kept)
}

async fn read(node: &Node, request: v1::LogRequest) -> Result<(Vec<u8>, bool), Status> {
    let mut chunks = within("the stream", node.client.clone().log(request)).await?.into_inner();
    let (mut bytes, mut end) = (Vec::new(), false);
    while let Some(chunk) = within("a chunk", chunks.message()).await? {
        bytes.extend(chunk.data);
        end |= chunk.end;
    }
    Ok((bytes, end))
}

fn whole(task: &str) -> v1::LogRequest {
    v1::LogRequest { task: task.to_owned(), ..v1::LogRequest::default() }
}

/// A task that ended on this node, whose log is nowhere yet.
async fn ended(node: &Node) -> String {
    let id = node.queue(spec("a")).await;
    node.steal(&id).await;
    node.finish(&id, 0).await;
    id
}

#[tokio::test]
async fn a_copy_is_read_from_any_node_when_the_logs_own_is_dead_silent_or_without_its_disk() {
    let cluster = Cluster::new();
    let (owner, holder, other) = (cluster.node(1).await, cluster.node(2).await, cluster.node(3).await);
    let id = ended(&owner).await;
    let text: Vec<u8> = (0..50_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
    let copy = packed(&text);
    let mut pieces: Vec<_> = copy.chunks(10_000).map(|part| first("", 0, part)).collect();
    (pieces[0].attempt, pieces[0].bytes) = (format!("{id}.1"), copy.len() as u64);
    assert_eq!(keep(&holder, pieces).await.expect("it is kept"), 1);
    let check = async |how: &str| {
        for reader in [&holder, &other] {
            let asked = Instant::now();
            for follow in [false, true] {
                let read = read(reader, v1::LogRequest { follow, ..whole(&id) }).await.expect("a copy");
                assert!(read.0 == text && read.1, "{how}: {} bytes", read.0.len());
            }
            let part = read(reader, v1::LogRequest { offset: 300_000, ..whole(&id) }).await.expect("a copy");
            assert!(part.0 == text[300_000..], "{how}");
            let tail = read(reader, v1::LogRequest { tail_lines: 1, ..whole(&id) }).await.expect("a copy");
            assert_eq!(tail.0, b"line 49999\n", "{how}");
            assert!(asked.elapsed() < 4 * Duration::from_secs(2), "{how}: {:?}", asked.elapsed());
        }
    };
    check("without its disk").await;
    assert!(read(&owner, whole(&id)).await.expect("a copy").0 == text, "asked itself");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address").to_string();
    cluster.nodes.lock().expect("no panic")[0].entry.address = address;
    check("silent").await;
    cluster.nodes.lock().expect("no panic").remove(0);
    check("dead").await;
}

#[tokio::test]
async fn a_log_that_nobody_has_is_unavailable_within_two_seconds_whoever_is_silent() {
    let cluster = Cluster::new();
    let (owner, _holder, other) = (cluster.node(1).await, cluster.node(2).await, cluster.node(3).await);
    let id = ended(&owner).await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address").to_string();
    for silent in [0, 1] {
        cluster.nodes.lock().expect("no panic")[silent].entry.address = address.clone();
        let asked = Instant::now();
        let refused = read(&other, whole(&id)).await.expect_err("nobody has it");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "LOG_UNREACHABLE"));
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    }
}

#[tokio::test]
async fn what_is_no_whole_log_by_its_own_name_is_refused_and_leaves_nothing() {
    let cluster = Cluster::new();
    let node = cluster.node(1).await;
    let id = uuid::Uuid::from_u128(7).to_string();
    let (name, log) = (format!("{id}.1"), packed(b"text"));
    let bytes = log.len();
    for (what, pieces) in [
        ("no name", vec![first("", bytes, &log)]),
        ("a way out", vec![first("../../etc/passwd.1", bytes, &log)]),
        ("another spelling", vec![first(&format!("{}.01", id), bytes, &log)]),
        ("braces", vec![first(&format!("{{{id}}}.1"), bytes, &log)]),
        ("more than announced", vec![first(&name, bytes - 1, &log)]),
        ("less than announced", vec![first(&name, bytes + 1, &log)]),
        (
            "another before its end",
            vec![first(&name, bytes, &log[..4]), first(&format!("{id}.2"), bytes, &log)],
        ),
        ("no log", vec![first(&name, 4, b"text")]),
        ("empty", vec![first(&name, 0, b"")]),
        ("too large", vec![first(&name, 1 << 40, &log)]),
    ] {
        let refused = keep(&node, pieces).await.expect_err(what);
        assert!(
            matches!(refused.code(), Code::InvalidArgument | Code::ResourceExhausted),
            "{what}: {refused}"
        );
        let left: Vec<_> =
            std::fs::read_dir(node.attempts_dir.with_file_name("log-copies")).expect("a directory").collect();
        assert!(left.is_empty(), "{what}: {left:?}");
    }
    let mut peer = PeerClient::new(node.channel.clone());
    let ask = v1::WantLogsRequest { attempts: vec![name.clone()] };
    let wanted = within("the answer", peer.want_logs(ask.clone())).await.expect("an answer");
    assert_eq!(wanted.into_inner().attempts, ask.attempts);
    assert_eq!(keep(&node, vec![first(&name, bytes, &log); 2]).await.expect("kept"), 2, "again is no error");
    let wanted = within("the answer", peer.want_logs(ask)).await.expect("an answer");
    assert!(wanted.into_inner().attempts.is_empty());
    let many = v1::WantLogsRequest { attempts: vec![name; 1001] };
    assert_eq!(peer.want_logs(many).await.expect_err("too many").code(), Code::InvalidArgument);
}
