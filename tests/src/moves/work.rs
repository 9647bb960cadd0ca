//! The tasks of a measurement: written before it begins, while the queue is paused, and judged by their records after it.

use anyhow::{Result, ensure};
use shoal_core::id::{NodeId, TaskId};
use shoal_core::lock::{LockEntry, Lockable};
use shoal_core::resources::Resources;
use shoal_core::spec::TaskSpec;
use shoal_core::task::{Task, TaskState};
use shoal_core::time::WallMs;
use shoal_server::clock;
use shoal_store::key::{self, Key};
use shoal_store::moves::{self, Guard, Move};
use shoal_store::port::{ListOptions, Op, Store, Txn};
use shoal_store::record::{self, Stored};
use uuid::Uuid;

/// What a task asks for; a node offers a number of these.
pub const TASK: Resources = Resources { cpu_milli: 1000, memory_bytes: 16 << 20 };

/// One attempt of a task, on the wall clock of the one machine that all nodes share here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Who ran it.
    pub node: NodeId,
    /// When its steal was made ready to be sent.
    pub started: WallMs,
    /// The same of its finish.
    pub ended: WallMs,
}

/// Writes so many queued tasks, as a submit does.
pub async fn submit(store: &dyn Store, count: usize) -> Result<Vec<Stored<Task>>> {
    let request = Uuid::now_v7();
    let spec = spec()?;
    let task = |index| {
        let place = (index as u32, count as u32);
        Task::new(TaskId::of_request(request, index), spec.clone(), place, clock::wall())
    };
    let all: Vec<Move> =
        (0..count).map(|index| Move { old: None, new: task(index), guard: Guard::None }).collect();
    let mut written = Vec::with_capacity(count);
    for batch in all.chunks(moves::MOVES_MAX) {
        let revision = store.txn(moves::batch(batch)?).await?.revision;
        written.extend(batch.iter().map(|one| Stored {
            value: one.new.clone(),
            create_revision: revision,
            mod_revision: revision,
        }));
    }
    Ok(written)
}

/// What `shoal run -- true` asks for, with what the API fills in.
fn spec() -> Result<TaskSpec> {
    Ok(serde_json::from_value(serde_json::json!({
        "command": ["true"], "root": "default", "resources": TASK, "pids_max": 64, "user": "bench",
        "workdir": "/work", "time_limit_ms": 0, "kill_grace_ms": 10_000, "max_attempts": 3, "on_node_loss": "requeue",
    }))?)
}

/// No task starts from now on.
pub async fn pause(store: &dyn Store) -> Result<()> {
    let lock = LockEntry {
        by: "bench".to_owned(),
        reason: String::new(),
        at: clock::wall(),
        until: None,
        request: None,
        unknown: Default::default(),
    };
    let put =
        Op::Put { key: Key::Lock(Lockable::Queue).to_string(), value: record::encode(&lock), lease: None };
    store.txn(Txn { then: vec![put], ..Txn::default() }).await?;
    Ok(())
}

/// Tasks start again.
pub async fn resume(store: &dyn Store) -> Result<()> {
    let delete = Op::Delete(Key::Lock(Lockable::Queue).to_string());
    store.txn(Txn { then: vec![delete], ..Txn::default() }).await?;
    Ok(())
}

/// When each task ran where; an error unless there are `count`, each complete after its first attempt.
pub async fn spans(store: &dyn Store, count: usize) -> Result<Vec<Span>> {
    let listed = store.list(key::records(), ListOptions::default()).await?;
    ensure!(listed.kvs.len() == count, "{} records of {count} tasks", listed.kvs.len());
    listed
        .kvs
        .iter()
        .map(|kv| {
            let task: Task = record::decode_kv(kv)?.value;
            let (TaskState::Complete { .. }, [attempt], Some(ended)) =
                (&task.state, task.attempts.as_slice(), task.ended)
            else {
                anyhow::bail!("not complete after one attempt: {task:?}");
            };
            Ok(Span { node: attempt.node, started: attempt.started, ended })
        })
        .collect()
}
