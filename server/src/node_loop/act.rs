//! Doing what the core decided.

use super::{Done, NodeLoop, offers};
use crate::clock;
use crate::facts::{self, Seen};
use crate::journal;
use crate::propose::Settled;
use crate::seam::{ProposeError, TaskChanged};
use shoal_container::failpoint;
use shoal_core::amount::Amount;
use shoal_core::clock::Tick;
use shoal_core::entry::OfferEntry;
use shoal_core::event::{Action, Decision, Event};
use shoal_core::id::{AttemptId, TaskId};
use shoal_core::lock::Lockable;
use shoal_core::spec::Unknown;
use shoal_core::task::Task;
use shoal_core::transition::Transition;
use shoal_store::advance::advance;
use shoal_store::key::Key;
use shoal_store::list_watch::FollowItem;
use shoal_store::port::Change;
use shoal_store::record;
use std::collections::HashMap;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

impl NodeLoop {
    /// Lets the core hear an event; what it wants done is done by [`NodeLoop::decide`].
    pub(super) fn hear(&mut self, event: Event) {
        if let Some((name, took_ms)) = self.stopwatch.lesson(&event) {
            self.ports.durations.teach(name, took_ms, self.node.view().clock().0);
        }
        self.node.hear(clock::boot(), event, &mut self.actions);
    }

    /// Lets the core decide and carries everything out.
    pub(super) async fn decide(&mut self) -> anyhow::Result<()> {
        let begin = Instant::now();
        self.wake = None;
        self.node.decide(clock::boot(), &mut self.actions);
        self.rest_until =
            self.rest_until.max(begin) + (begin.elapsed() * super::REST_FACTOR).min(super::REST_MAX);
        self.carry_out().await
    }

    /// Does what the core wants done.
    pub(super) async fn carry_out(&mut self) -> anyhow::Result<()> {
        for action in std::mem::take(&mut self.actions) {
            self.act(action).await?;
        }
        self.ports.ready.send_if_modified(|ready| std::mem::replace(ready, self.node.is_ready()) != *ready);
        Ok(())
    }

    async fn act(&mut self, action: Action) -> anyhow::Result<()> {
        match action {
            Action::Propose { task, transition } => self.propose(task, transition),
            Action::Advance { to, after, over } => self.advance(to, after, over),
            Action::Offer { task, attempt, amount, created, node } => {
                let Amount { resources, counts } = amount;
                let entry = OfferEntry { attempt, resources, counts, unknown: Unknown::new() };
                let store = self.ports.store.clone();
                self.work
                    .spawn(async move { Done::of(offers::offer(&*store, node, task, entry, created).await) });
            }
            Action::Withdraw { task, node } => {
                let store = self.ports.store.clone();
                self.work.spawn(async move { Done::of(offers::withdraw(&*store, node, task).await) });
            }
            Action::Claim(task) => self.claim(task),
            Action::Start(task) => {
                failpoint!("server.before_start");
                let start = self.ports.launch.start(&task, self.fence_of(&task));
                self.start(&task, start).await?;
            }
            Action::Stop { attempt, grace_ms } => {
                if !self.stop_preparing(attempt) {
                    self.ports.runner.stop(attempt.to_string(), grace_ms).await?
                }
            }
            Action::Release(attempt) => self.release(attempt).await?,
            Action::Fence(node) => {
                self.records.clear();
                self.stopwatch.clear();
                self.preparing.values().for_each(CancellationToken::cancel);
                self.ports.fenced.send_replace(Some(node));
            }
            Action::Unfit(reason) => {
                if reason.is_empty() {
                    tracing::info!("this node takes tasks again");
                } else {
                    tracing::error!(reason, "this node takes no tasks");
                }
                self.ports.condition.send_modify(|condition| condition.reason = reason);
            }
            Action::LockSeen(lock) => {
                self.ports.condition.send_modify(|condition| condition.lock_seen = Some(lock));
            }
            Action::WakeAt(at) => self.wake = Some(at),
        }
        Ok(())
    }

    fn propose(&mut self, task: TaskId, transition: Transition) {
        let known = match &transition {
            Transition::Finish { .. } => self.records.get(&task).cloned(),
            Transition::Steal { .. }
            | Transition::Lose { .. }
            | Transition::Cancel(_)
            | Transition::Adjust(_) => None,
        };
        let proposer = self.ports.proposer.clone();
        self.work.spawn(async move {
            failpoint!("server.before_steal" if matches!(transition, Transition::Steal { .. }));
            failpoint!("server.before_finish" if matches!(transition, Transition::Finish { .. }));
            let mut settled = proposer.settle(task, transition.clone(), known, None).await;
            // Refused by the store as such: what the proposal was may be the only trace of a result, so it is not let go.
            while let Err(ProposeError::Unavailable(_) | ProposeError::NoSpace) = settled {
                tokio::time::sleep(super::REFUSED_RETRY).await;
                settled = proposer.settle(task, transition.clone(), None, None).await;
            }
            failpoint!("server.after_steal" if matches!(transition, Transition::Steal { .. }));
            failpoint!("server.after_finish" if matches!(transition, Transition::Finish { .. }));
            let (decision, stored) = match settled {
                Ok(Settled::Committed(stored)) => {
                    let task = Box::new(stored.value.clone());
                    (Decision::Committed { revision: stored.mod_revision, task }, Some(stored))
                }
                Ok(Settled::Refused { current, .. }) => {
                    let runs_here = match &transition {
                        Transition::Steal { node, .. } => current.is_some_and(|task| task.runs_on(*node)),
                        _ => false,
                    };
                    (Decision::Refused { runs_here }, None)
                }
                // The next start finds out.
                Err(ProposeError::Stopping | ProposeError::Unavailable(_) | ProposeError::NoSpace) => {
                    std::future::pending().await
                }
            };
            let record = stored.filter(|_| matches!(transition, Transition::Steal { .. }));
            Done { event: Event::Decided { task, transition, decision }, record, prepared: None }
        });
    }

    fn advance(&mut self, to: Tick, after: i64, over: Vec<(Lockable, i64)>) {
        let store = self.ports.store.clone();
        self.work.spawn(async move {
            // What came of it the watch shows, whoever was first.
            if let Err(error) = store.txn(advance(to, after, &over)).await {
                tracing::debug!(%error, %to, "the clock was not advanced");
            }
            Done::of(Event::Tick)
        });
    }

    fn claim(&mut self, task: TaskId) {
        let store = self.ports.store.clone();
        self.work.spawn(async move {
            let key = Key::Task(task).to_string();
            loop {
                match store.get(&key).await {
                    Ok((kv, _)) => {
                        let stored = kv.and_then(|kv| record::decode_kv::<Task>(&kv).ok()).map(Box::new);
                        let revision = stored.as_ref().map_or(0, |s| s.mod_revision);
                        let record = stored.as_ref().map(|s| Box::new(s.value.clone()));
                        let event = Event::Claimed { task, record, revision };
                        return Done { event, record: stored, prepared: None };
                    }
                    Err(error) => tracing::warn!(%task, %error, "claimed record not read yet"),
                }
                tokio::time::sleep(super::CLAIM_RETRY).await;
            }
        });
    }

    async fn release(&mut self, attempt: AttemptId) -> anyhow::Result<()> {
        self.records.remove(&attempt.task);
        self.stopwatch.forget(attempt);
        failpoint!("server.before_forget");
        self.ports.runner.forget(attempt.to_string()).await?;
        self.ports.journal.send(journal::Entry::Recorded(attempt)).await?;
        let _ = self.ports.ended.try_send(attempt);
        Ok(())
    }

    /// The revision that gave this node the task: grows with each attempt, so what the task touches can refuse older ones.
    fn fence_of(&self, task: &Task) -> i64 {
        self.records.get(&task.id).map_or(0, |stored| stored.mod_revision)
    }

    pub(super) fn follow(&mut self, item: FollowItem) {
        match item {
            FollowItem::Snapshot { kvs, revision } => {
                self.known.departed.note_all(self.node.view(), clock::boot());
                self.known.index.clear();
                self.ports.durations.reset(&kvs);
                facts::tasks_of(&kvs).for_each(|task| self.known.index.insert(task));
                self.hear(Event::Synced(Box::new(facts::snapshot(&kvs, revision))));
            }
            FollowItem::Changes { changes, revision } => {
                let seen = facts::seen(&changes);
                let facts = facts::changes(&seen);
                self.known.departed.note(self.node.view(), &facts, clock::boot());
                self.hear(Event::Changed { facts, revision });
                let told = seen.iter().filter_map(|seen| self.tell(seen)).collect();
                self.tell_of_members(&seen, &told);
            }
            FollowItem::Progress(_) => {}
            FollowItem::Interrupted(why) => tracing::warn!(why, "view is interrupted"),
        }
        self.ports.folded.send_replace(self.node.view().revision);
    }

    /// Of several members all but the last end without any status key of the task being written: what was deleted says that its record changed.
    fn tell_of_members(&self, seen: &[Seen<'_>], told: &HashMap<TaskId, i64>) {
        for Seen { key, change } in seen {
            let (Key::Running(_, task), Change::Delete { revision, .. }) = (key, change) else { continue };
            if told.get(task).is_none_or(|at| at < revision) {
                let _ = self.ports.changes.send(TaskChanged { task: *task, revision: *revision });
            }
        }
    }

    /// The task whose status was written, and the revision that did.
    fn tell(&mut self, seen: &Seen<'_>) -> Option<(TaskId, i64)> {
        self.known.index.fold(seen);
        if matches!(seen.key, Key::Duration(_)) {
            self.ports.durations.fold(seen.change);
        }
        let Change::Put(kv) = seen.change else { return None };
        let (task, revision) = (facts::task_of(&seen.key)?, kv.mod_revision);
        // Nobody listening is fine.
        let _ = self.ports.changes.send(TaskChanged { task, revision });
        Some((task, revision))
    }
}
