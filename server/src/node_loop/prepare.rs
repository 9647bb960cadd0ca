//! Starts of attempts whose root is an image: it is made ready first, beside the loop, which goes on meanwhile. What fails or is stopped in that time is a
//! failed launch that is not held against the node: it takes the way of every end, through the journal.

use super::{Done, NodeLoop};
use crate::images::ImageError;
use crate::journal;
use shoal_container::protocol::{Root, Start};
use shoal_core::event::Event;
use shoal_core::id::AttemptId;
use shoal_core::task::Task;
use shoal_core::transition::Outcome;
use tokio_util::sync::CancellationToken;

/// What came of making an image ready.
pub(super) struct Prepared {
    attempt: AttemptId,
    start: Start,
    outcome: Result<(), Outcome>,
}

impl NodeLoop {
    /// Starts an attempt, at once or when its image is ready.
    pub(super) async fn start(&mut self, task: &Task, start: Start) -> anyhow::Result<()> {
        let (Root::Image(_), Some(images)) = (&start.root, self.ports.images.clone()) else {
            return Ok(self.ports.runner.start(start).await?);
        };
        let (attempt, root) = (task.attempt_id(), task.spec.root.clone());
        let stop = CancellationToken::new();
        self.preparing.insert(attempt, stop.clone());
        self.work.spawn(async move {
            let prepare = async {
                let digest = root.parse().map_err(|bad| Outcome::NoImage(format!("root {root:?}: {bad}")))?;
                images.prepare(digest).await.map_err(outcome_of)
            };
            let outcome = tokio::select! {
                outcome = prepare => outcome,
                () = stop.cancelled() => Err(Outcome::LaunchFailed("stopped while its image was made ready".to_owned())),
            };
            Done { event: Event::Tick, record: None, prepared: Some(Prepared { attempt, start, outcome }) }
        });
        Ok(())
    }

    /// Whether the attempt's image was still being made ready; that ends then, and with it the attempt.
    pub(super) fn stop_preparing(&self, attempt: AttemptId) -> bool {
        self.preparing.get(&attempt).inspect(|stop| stop.cancel()).is_some()
    }

    pub(super) async fn prepared(&mut self, prepared: Prepared) -> anyhow::Result<()> {
        let Prepared { attempt, start, outcome } = prepared;
        let stopped = self.preparing.remove(&attempt).is_some_and(|stop| stop.is_cancelled());
        match outcome {
            // It may have been stopped in the moment in which it was ready.
            Ok(()) if !stopped => self.ports.runner.start(start).await?,
            outcome => {
                let stopped = || Outcome::LaunchFailed("stopped before it was started".to_owned());
                let outcome = outcome.err().unwrap_or_else(stopped);
                tracing::warn!(%attempt, ?outcome, "attempt not started");
                self.ports.journal.send(journal::Entry::Ended(attempt, outcome)).await?;
            }
        }
        Ok(())
    }
}

/// What an image that is not ready means for the attempt.
fn outcome_of(error: ImageError) -> Outcome {
    match error {
        ImageError::Unknown(_) => Outcome::NoImage(format!("{error}: it was removed")),
        error => Outcome::ImageNotReady(error.to_string()),
    }
}
