//! Background work and what its end means. Every task of the server is started here, under a name; one that ends while the server
//! should run, by error or panic, ends the server: a node that limps is worse for the cluster than one whose lease expires.

use std::future::Future;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// A task failed.
    #[error("{name} failed: {error:#}")]
    Failed {
        /// The task.
        name: &'static str,
        /// Its error.
        error: anyhow::Error,
    },
    /// A task panicked.
    #[error("{0} panicked")]
    Panicked(&'static str),
    /// A task ended though nobody asked it to.
    #[error("{0} ended unasked")]
    Unasked(&'static str),
}

/// Starts and joins tasks.
pub struct Supervisor {
    tasks: JoinSet<(&'static str, anyhow::Result<()>)>,
    names: std::collections::HashMap<tokio::task::Id, &'static str>,
    /// Cancelled when the server is to end; every task listens to it.
    pub stop: CancellationToken,
}

impl Supervisor {
    /// None started yet.
    pub fn new(stop: CancellationToken) -> Supervisor {
        Supervisor { tasks: JoinSet::new(), names: std::collections::HashMap::new(), stop }
    }

    /// Starts `work`, which ends with `Ok` only after `stop` is cancelled.
    pub fn start(
        &mut self,
        name: &'static str,
        work: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let handle = self.tasks.spawn(async move { (name, work.await) });
        self.names.insert(handle.id(), name);
    }

    /// Waits for `stop` or for the first task that fails, then stops and joins all.
    pub async fn run(mut self) -> Result<(), Ended> {
        let mut first = Ok(());
        while let Some(joined) = self.tasks.join_next_with_id().await {
            let stopping = self.stop.is_cancelled();
            let ended = match joined {
                Ok((_, (name, Err(error)))) if stopping => {
                    // Those that talk to each other do not end in one instant; what fails for that is no failure.
                    tracing::debug!(name, "ended while stopping: {error:#}");
                    Ok(())
                }
                Ok((_, (name, Err(error)))) => Err(Ended::Failed { name, error }),
                Ok((_, (name, Ok(())))) if !stopping => Err(Ended::Unasked(name)),
                Ok((_, (_, Ok(())))) => Ok(()),
                Err(e) => Err(Ended::Panicked(self.names.get(&e.id()).copied().unwrap_or("a task"))),
            };
            if first.is_ok() {
                first = ended;
            }
            self.stop.cancel();
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_failure_stops_all_and_is_the_reason() {
        let stop = CancellationToken::new();
        let mut supervisor = Supervisor::new(stop.clone());
        let waits = stop.clone();
        supervisor.start("waits", async move {
            waits.cancelled().await;
            Ok(())
        });
        supervisor.start("fails", async { anyhow::bail!("disk is gone") });
        assert_eq!(supervisor.run().await.unwrap_err().to_string(), "fails failed: disk is gone");
    }

    #[tokio::test]
    async fn what_fails_because_others_have_stopped_is_no_failure() {
        let stop = CancellationToken::new();
        let mut supervisor = Supervisor::new(stop.clone());
        let stopped = stop.clone();
        supervisor.start("hears silence", async move {
            stopped.cancelled().await;
            anyhow::bail!("the other side has ended")
        });
        stop.cancel();
        supervisor.run().await.unwrap();
    }

    #[tokio::test]
    async fn an_unasked_end_is_a_failure() {
        let mut supervisor = Supervisor::new(CancellationToken::new());
        supervisor.start("quits", async { Ok(()) });
        assert!(matches!(supervisor.run().await, Err(Ended::Unasked("quits"))));
    }
}
