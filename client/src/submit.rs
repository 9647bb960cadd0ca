//! Submit: in batches, each under a request id of its own, so that to retry is always safe.

use crate::client::Client;
use crate::error::Error;
use prost::Message;
use shoal_proto::v1;
use shoal_proto::v1::shoal_client::ShoalClient;
use tonic::transport::Channel;
use uuid::Uuid;

/// Tasks of one request: what a node takes at most.
pub const BATCH_TASKS_MAX: usize = 1000;
/// Bytes of one request, far below what a node takes at most.
pub const BATCH_BYTES_MAX: usize = 2 << 20;

/// The request id of batch `index` of the submission `base`: `base` itself for the first, else derived from it. The first 48 bits
/// (the milliseconds of a version 7 id) are kept, so that all tasks of one submission sort together.
pub fn batch_id(base: Uuid, index: usize) -> Uuid {
    if index == 0 {
        return base;
    }
    let hashed = Uuid::new_v5(&base, format!("batch {index}").as_bytes());
    let mut bytes = *hashed.as_bytes();
    bytes[..6].copy_from_slice(&base.as_bytes()[..6]);
    bytes[6] = 0x70 | (bytes[6] & 0x0f);
    Uuid::from_bytes(bytes)
}

/// Splits tasks into batches; the same tasks are always split in the same way.
fn batches(tasks: Vec<v1::TaskSpec>) -> Vec<Vec<v1::TaskSpec>> {
    let (mut done, mut batch, mut bytes) = (Vec::new(), Vec::new(), 0);
    for task in tasks {
        let len = task.encoded_len();
        let full = batch.len() >= BATCH_TASKS_MAX || bytes + len > BATCH_BYTES_MAX;
        if full && !batch.is_empty() {
            done.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        bytes += len;
        batch.push(task);
    }
    if !batch.is_empty() {
        done.push(batch);
    }
    done
}

/// A submission that is queued.
#[derive(Clone, Debug, Default)]
pub struct Submitted {
    /// Of all its tasks, in the order given.
    pub ids: Vec<String>,
    /// What no node that is known could ever run, and why.
    pub impossible: Vec<String>,
}

/// What is asked for beside the tasks.
#[derive(Clone, Copy, Default)]
struct Ask {
    validate_only: bool,
    allow_impossible: bool,
}

/// A submission that stopped in the middle: the tasks of its first batches are queued.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct Partial {
    /// The tasks that are queued.
    pub ids: Vec<String>,
    /// Why the others are not, as far as is known.
    pub source: Error,
}

impl Client {
    /// Queues `tasks` and returns their ids in order. OK means: durable. The same `base` with the same tasks may be submitted again, and
    /// names the same tasks.
    pub async fn submit(&self, base: Uuid, tasks: Vec<v1::TaskSpec>) -> Result<Vec<String>, Partial> {
        self.submit_all(base, tasks, Ask::default()).await.map(|submitted| submitted.ids)
    }

    /// The same, but what no node that is known could ever run is queued too, and named.
    pub async fn submit_anyway(&self, base: Uuid, tasks: Vec<v1::TaskSpec>) -> Result<Submitted, Partial> {
        self.submit_all(base, tasks, Ask { allow_impossible: true, ..Ask::default() }).await
    }

    /// Checks `tasks` without queueing them.
    pub async fn validate(&self, tasks: Vec<v1::TaskSpec>) -> Result<(), Error> {
        let ask = Ask { validate_only: true, ..Ask::default() };
        self.submit_all(Uuid::now_v7(), tasks, ask).await.map(drop).map_err(|partial| partial.source)
    }

    async fn submit_all(
        &self,
        base: Uuid,
        tasks: Vec<v1::TaskSpec>,
        Ask { validate_only, allow_impossible }: Ask,
    ) -> Result<Submitted, Partial> {
        let mut ids = Vec::with_capacity(tasks.len());
        let mut impossible = Vec::new();
        for (index, batch) in batches(tasks).into_iter().enumerate() {
            let count = batch.len();
            let request = v1::SubmitRequest {
                request_id: batch_id(base, index).to_string(),
                tasks: batch,
                validate_only,
                allow_impossible,
            };
            let call = |mut stub: ShoalClient<Channel>| {
                let request = request.clone();
                async move { stub.submit(request).await }
            };
            match self.call(call).await {
                Ok(answer) if validate_only || answer.ids.len() == count => {
                    ids.extend(answer.ids);
                    impossible.extend(answer.impossible);
                }
                Ok(_) => {
                    return Err(Partial {
                        ids,
                        source: Error::Protocol("Submit with another number of ids"),
                    });
                }
                Err(source) => return Err(Partial { ids, source }),
            }
        }
        Ok(Submitted { ids, impossible })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(bytes: usize) -> v1::TaskSpec {
        v1::TaskSpec { command: vec!["x".repeat(bytes)], ..v1::TaskSpec::default() }
    }

    #[test]
    fn batches_stay_within_count_and_bytes_and_lose_nothing() {
        let small = batches(vec![task(1); 2500]);
        assert_eq!(small.iter().map(Vec::len).collect::<Vec<_>>(), [1000, 1000, 500]);
        let large = batches(vec![task(200_000); 25]);
        assert!(
            large
                .iter()
                .all(|batch| batch.iter().map(Message::encoded_len).sum::<usize>() <= BATCH_BYTES_MAX)
        );
        assert_eq!(large.iter().map(Vec::len).sum::<usize>(), 25);
        assert!(batches(Vec::new()).is_empty());
    }

    #[test]
    fn batch_ids_differ_are_stable_and_keep_the_time() {
        let base = Uuid::now_v7();
        assert_eq!(batch_id(base, 0), base);
        assert_eq!(batch_id(base, 1), batch_id(base, 1));
        assert_ne!(batch_id(base, 1), batch_id(base, 2));
        assert_eq!(batch_id(base, 2).as_bytes()[..6], base.as_bytes()[..6]);
        assert_eq!(batch_id(base, 2).get_version_num(), 7);
    }
}
