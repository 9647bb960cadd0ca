//! The calls to peers.

use super::batch;
use crate::api::error::ApiError;
use crate::logs::name::LogName;
use crate::logs::peer;
use futures::channel::mpsc;
use shoal_proto::v1::{self, peer_client::PeerClient};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// For the answer to a question.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// For a batch of logs, the largest of which are some tens of megabytes.
const BATCH_TIMEOUT: Duration = Duration::from_secs(120);
/// Pieces read ahead of the peer.
const PIECES_AHEAD: usize = 2;

/// Asks and gives to peers.
pub struct Push {
    attempts_dir: PathBuf,
    /// By address; one that failed is made anew.
    clients: HashMap<String, PeerClient<Channel>>,
}

impl Push {
    /// Gives what lies in this directory of attempts.
    pub fn new(attempts_dir: PathBuf) -> Push {
        Push { attempts_dir, clients: HashMap::new() }
    }

    /// Which of these the peer lacks; none when it does not say.
    pub async fn wanted(&mut self, address: &str, logs: &[LogName]) -> Vec<LogName> {
        let request = v1::WantLogsRequest { attempts: logs.iter().map(LogName::to_string).collect() };
        let asked = async { self.client(address)?.want_logs(request).await };
        match in_time(ANSWER_TIMEOUT, asked).await {
            Ok(answer) => answer.into_inner().attempts.iter().filter_map(|id| id.parse().ok()).collect(),
            Err(status) => {
                self.failed(address, &status);
                Vec::new()
            }
        }
    }

    /// Gives each peer its logs, all peers at once; what was not taken comes back.
    pub async fn give_all(&mut self, groups: BTreeMap<String, Vec<LogName>>) -> Vec<LogName> {
        let mut calls = Vec::new();
        for (address, logs) in groups {
            let (client, dir) = (self.client(&address), self.attempts_dir.clone());
            calls.push(async move {
                let given = match client {
                    Ok(client) => give(client, &dir, &logs).await,
                    Err(status) => Given { left: logs, gave_up: Some(status) },
                };
                (given, address)
            });
        }
        let mut left = Vec::new();
        for (given, address) in futures::future::join_all(calls).await {
            left.extend(given.left);
            if let Some(status) = given.gave_up {
                self.failed(&address, &status);
            }
        }
        left
    }

    fn client(&mut self, address: &str) -> Result<PeerClient<Channel>, Status> {
        if let Some(client) = self.clients.get(address) {
            return Ok(client.clone());
        }
        let client = PeerClient::new(peer::endpoint(address)?.connect_lazy());
        self.clients.insert(address.to_owned(), client.clone());
        Ok(client)
    }

    fn failed(&mut self, address: &str, status: &Status) {
        tracing::debug!(address, %status, "peer took no copies of logs");
        self.clients.remove(address);
    }
}

/// What came of giving a peer some logs.
#[derive(Debug, Default)]
struct Given {
    /// Not taken.
    left: Vec<LogName>,
    /// Why the peer was given no more of them.
    gave_up: Option<Status>,
}

/// Call after call until the peer has been given them all, or is in trouble. A call ends with the first log that is refused, whichever that was: those of
/// a failed call go one by one, so that none stands in the way of the others.
async fn give(mut client: PeerClient<Channel>, dir: &Path, logs: &[LogName]) -> Given {
    let mut given = Given::default();
    let (mut done, mut one_by_one_to) = (0, 0);
    while done < logs.len() {
        let to = if done < one_by_one_to { done + 1 } else { logs.len() };
        let (fed, answer) = call(&mut client, dir, &logs[done..to]).await;
        match answer {
            Ok(()) => done += fed,
            Err(status) if !is_about_a_log(&status) => {
                given.left.extend(&logs[done..]);
                given.gave_up = Some(status);
                return given;
            }
            Err(status) if to == done + 1 => {
                tracing::debug!(log = %logs[done], %status, "log refused by a peer");
                given.left.push(logs[done]);
                done = to;
            }
            // The peer may have read less than was fed, never more.
            Err(_) => one_by_one_to = done + fed + 1,
        }
    }
    given
}

/// One call with as many of these as fit; how many were fed into it.
async fn call(client: &mut PeerClient<Channel>, dir: &Path, logs: &[LogName]) -> (usize, Result<(), Status>) {
    let (pieces, stream) = mpsc::channel(PIECES_AHEAD);
    let feeding = batch::feed(dir, logs, pieces);
    let both = async { tokio::join!(client.keep_logs(stream), feeding) };
    match tokio::time::timeout(BATCH_TIMEOUT, both).await {
        // A disk that does not give the first of them. The next pass tries again.
        Ok((Ok(_), 0)) => (0, Err(Status::data_loss("log not read"))),
        Ok((answer, fed)) => (fed, answer.map(drop)),
        Err(_) => (0, Err(Status::deadline_exceeded("no answer in time"))),
    }
}

/// Whether a log was refused, rather than the peer in trouble or busy: another log may be taken.
fn is_about_a_log(status: &Status) -> bool {
    let busy = ApiError::Busy { what: "", max: 0 };
    let is_busy = || status.get_details_error_info().is_some_and(|info| info.reason == busy.reason());
    matches!(status.code(), Code::InvalidArgument | Code::ResourceExhausted | Code::DataLoss) && !is_busy()
}

async fn in_time<T>(limit: Duration, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    tokio::time::timeout(limit, call)
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::copies::Copies;
    use crate::logs::copies::keep::Keeper;
    use shoal_core::id::{AttemptId, TaskId};
    use shoal_proto::v1::peer_server::PeerServer;
    use std::sync::Arc;
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;
    use uuid::Uuid;

    /// Where a peer answers that keeps what it is given there, as long as it is held.
    async fn peer(copies: Arc<Copies>) -> (String, JoinSet<Result<(), tonic::transport::Error>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let incoming = futures::stream::unfold(listener, |listener| async {
            Some((listener.accept().await.map(|(stream, _)| stream), listener))
        });
        let server = tonic::transport::Server::builder().add_service(PeerServer::new(Keeper::new(copies)));
        let mut running = JoinSet::new();
        running.spawn(server.serve_with_incoming(incoming));
        (address, running)
    }

    /// Text that does not get smaller.
    fn noise(bytes: usize) -> Vec<u8> {
        let hashed = |n: u64| Uuid::new_v5(&Uuid::NAMESPACE_OID, &n.to_le_bytes()).into_bytes();
        (0..).flat_map(hashed).take(bytes).collect()
    }

    #[tokio::test]
    async fn logs_that_are_refused_do_not_keep_the_others_of_their_batch_out() {
        let dir = tempfile::tempdir().unwrap();
        let copies = Arc::new(Copies::open(dir.path().join("copies"), 3000).unwrap());
        let (address, _running) = peer(copies.clone()).await;
        let name =
            |n| LogName { attempt: AttemptId { task: TaskId(Uuid::from_u128(n)), number: 1 }, rank: 0 };
        let attempts: Vec<LogName> = (1..=8).map(name).collect();
        let too_large = [attempts[0], attempts[3], attempts[7]];
        for attempt in &attempts {
            let directory = dir.path().join("attempts").join(attempt.to_string());
            std::fs::create_dir_all(&directory).unwrap();
            let bytes = if too_large.contains(attempt) { 3500 } else { 10 };
            std::fs::write(directory.join("log"), noise(bytes)).unwrap();
        }
        let mut push = Push::new(dir.path().join("attempts"));
        let left = push.give_all(BTreeMap::from([(address.clone(), attempts.clone())])).await;
        assert_eq!(left, too_large);
        for attempt in &attempts {
            assert_eq!(copies.has(*attempt), !too_large.contains(attempt), "{attempt}");
        }
        assert!(push.clients.contains_key(&address), "the peer itself is well");
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
        let left = push.give_all(BTreeMap::from([(gone, attempts.clone())])).await;
        assert_eq!(left, attempts, "one that does not answer is asked once");
    }

    #[test]
    fn a_peer_that_is_busy_refuses_no_log() {
        let busy = ApiError::Busy { what: "streams of copied logs", max: 4 };
        assert!(!is_about_a_log(&busy.into()) && !is_about_a_log(&Status::unavailable("gone")));
        assert!(is_about_a_log(&Status::resource_exhausted("copies of logs take too much")));
    }
}
