//! The tasks of one round and what must become of them.

use anyhow::{Context, Result, ensure};
use shoal_proto::v1::{OnNodeLoss, State, SubmitRequest, Task, TaskSpec};
use shoal_tests::api::{Api, exit_code, exit_signal};
use shoal_tests::tasks::{witness, witness_then};
use shoal_tests::wait;
use std::time::Duration;

/// No round comes near it, however often its tasks are hit; a task that reached it would fail as poison.
const ATTEMPTS_MAX: u32 = 20;
/// How long a submit is tried again while the server is away.
const SUBMIT_LIMIT: Duration = Duration::from_secs(60);

/// How a task must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Complete with this exit code.
    Code(i32),
    /// Complete by this signal.
    Signal(i32),
    /// Canceled.
    Canceled,
}

/// A kind of task.
#[derive(Clone, Debug)]
pub struct Kind {
    spec: TaskSpec,
    /// How it must end.
    pub expected: Expected,
    /// Whether it must start at most once, and may be lost therefore.
    pub once: bool,
    /// Whether it runs when the fault comes.
    pub ran_before: bool,
}

/// An accepted task.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// What it is.
    pub kind: Kind,
}

fn kind(spec: TaskSpec, expected: Expected, once: bool) -> Kind {
    let on_node_loss = if once { OnNodeLoss::Fail } else { OnNodeLoss::Requeue };
    let spec = TaskSpec { on_node_loss: on_node_loss as i32, max_attempts: ATTEMPTS_MAX, ..spec };
    Kind { spec, expected, once, ran_before: false }
}

/// Tasks that run when the fault comes: one ends by itself after it, one has to be canceled.
pub fn running() -> Vec<Kind> {
    let kinds = [
        kind(witness(2_500), Expected::Code(0), false),
        kind(witness(600_000), Expected::Canceled, false),
        kind(witness(2_000), Expected::Code(0), true),
    ];
    kinds.into_iter().map(|kind| Kind { ran_before: true, ..kind }).collect()
}

/// Tasks that start and end about when the fault comes.
pub fn fresh() -> Vec<Kind> {
    let code = kind(witness_then(60, "exit 7"), Expected::Code(7), false);
    let signal = kind(witness_then(100, "kill -9 $$"), Expected::Signal(9), false);
    let once = kind(witness_then(80, "exit 3"), Expected::Code(3), true);
    vec![code.clone(), signal, once, kind(witness(1_000), Expected::Code(0), false), code]
}

/// Submits, again and again under one request id until that is answered: a lost answer must not make a second set of tasks.
pub async fn submit(api: &Api, kinds: Vec<Kind>) -> Result<Vec<Job>> {
    let request = SubmitRequest {
        request_id: uuid::Uuid::now_v7().to_string(),
        tasks: kinds.iter().map(|kind| kind.spec.clone()).collect(),
        validate_only: false,
        allow_impossible: false,
    };
    let ids = wait::until("a submit to be answered", SUBMIT_LIMIT, async || {
        let answer = tokio::time::timeout(Duration::from_secs(3), api.raw().submit(request.clone())).await;
        Ok(answer.context("no answer")??.into_inner().ids)
    })
    .await?;
    ensure!(ids.len() == kinds.len(), "{} ids for {} tasks", ids.len(), kinds.len());
    Ok(ids.into_iter().zip(kinds).map(|(id, kind)| Job { id, kind }).collect())
}

impl Job {
    /// Whether the record says what must have become of it.
    pub fn check_end(&self, task: &Task) -> Result<()> {
        let as_expected = match self.kind.expected {
            Expected::Code(code) => task.state() == State::Complete && exit_code(task) == Some(code),
            Expected::Signal(signal) => task.state() == State::Complete && exit_signal(task) == Some(signal),
            Expected::Canceled => task.state() == State::Canceled,
        };
        let lost = self.kind.once
            && task.failure.as_ref().is_some_and(|f| f.kind() == shoal_proto::v1::FailureKind::Lost);
        ensure!(as_expected || lost, "expected {:?}, but: {task:?}", self.kind.expected);
        ensure!(
            task.exit.as_ref().is_none_or(|exit| !exit.oom_killed),
            "nothing ran out of memory: {task:?}"
        );
        Ok(())
    }
}
