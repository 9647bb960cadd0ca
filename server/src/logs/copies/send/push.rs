//! The calls to peers.

use super::batch;
use crate::logs::peer;
use futures::channel::mpsc;
use shoal_core::id::AttemptId;
use shoal_proto::v1::{self, peer_client::PeerClient};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::Status;
use tonic::transport::Channel;

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
    pub async fn wanted(&mut self, address: &str, attempts: &[AttemptId]) -> Vec<AttemptId> {
        let request = v1::WantLogsRequest { attempts: attempts.iter().map(AttemptId::to_string).collect() };
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
    pub async fn give_all(&mut self, groups: BTreeMap<String, Vec<AttemptId>>) -> Vec<AttemptId> {
        let mut calls = Vec::new();
        for (address, attempts) in groups {
            let (client, dir) = (self.client(&address), self.attempts_dir.clone());
            calls.push(async move {
                let given = match client {
                    Ok(client) => give(client, &dir, &attempts).await,
                    Err(status) => Err((0, status)),
                };
                (given, address, attempts)
            });
        }
        let mut left = Vec::new();
        for (given, address, attempts) in futures::future::join_all(calls).await {
            if let Err((taken, status)) = given {
                self.failed(&address, &status);
                left.extend(&attempts[taken..]);
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

/// Call after call until the peer has them all; or how many it has, and why no more.
async fn give(
    mut client: PeerClient<Channel>,
    dir: &Path,
    attempts: &[AttemptId],
) -> Result<(), (usize, Status)> {
    let mut taken = 0;
    while taken < attempts.len() {
        let (pieces, stream) = mpsc::channel(PIECES_AHEAD);
        let feeding = batch::feed(dir, &attempts[taken..], pieces);
        let call = async {
            let (answer, fed) = tokio::join!(client.keep_logs(stream), feeding);
            answer.map(|_| fed)
        };
        match in_time(BATCH_TIMEOUT, call).await {
            // A disk that does not give the first of them. The next pass tries again.
            Ok(0) => return Err((taken, Status::internal("logs not read"))),
            Ok(fed) => taken += fed,
            Err(status) => return Err((taken, status)),
        }
    }
    Ok(())
}

async fn in_time<T>(limit: Duration, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    tokio::time::timeout(limit, call)
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")))
}
