//! The node's life in the cluster: registers under a lease, renews it, advances the deadline that every container's PID 1 obeys, and when
//! the lease is lost kills everything before it comes back under a new identity.
//!
//! Invariant (PROMISES P4): the page never shows a deadline later than 0.7 T after the *sending* of a renewal after which the node's key was
//! still seen by a linearizable read. So no container outlives a moment 0.7 T after its node's key vanished, whatever the store
//! thinks of the lease.

use crate::full_disk;
use crate::identity::Saved;
use crate::runner::Runner;
use shoal_container::deadline::{DeadlinePage, boottime_ns};
use shoal_container::failpoint;
use shoal_core::entry::{NodeEntry, NodeState};
use shoal_core::event::Event;
use shoal_core::id::NodeId;
use shoal_store::key::Key;
use shoal_store::port::{Compare, LeaseId, Op, Store, StoreError, Txn};
use shoal_store::record;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A container may live this share of T after the sending of the last good renewal.
pub const DEADLINE_PERCENT: u32 = 70;
/// Renewals within a T: several may fail before the deadline passes.
const RENEWALS_PER_TTL: u32 = 6;
/// Between tries to register.
const RETRY: Duration = Duration::from_millis(300);

/// Keeps the node registered.
pub struct Keeper {
    /// Where.
    pub store: Arc<dyn Store>,
    /// Kills what must not outlive an identity.
    pub runner: Runner,
    /// The registration's content.
    pub entry: NodeEntry,
    /// T.
    pub ttl: Duration,
    /// DATA.
    pub data_dir: PathBuf,
    /// Tells everybody who the node is.
    pub identity: watch::Sender<Option<(NodeId, i64)>>,
    /// The identity that the core found lost.
    pub fenced: watch::Receiver<Option<NodeId>>,
    /// What everybody is to see of this node.
    pub condition: watch::Receiver<Condition>,
    /// To the node loop.
    pub events: mpsc::Sender<Event>,
    /// Ends it.
    pub stop: CancellationToken,
}

struct Registration {
    saved: Saved,
    page: DeadlinePage,
    /// Whether `saved` is on the disk: one that was full when the node registered may have room by now.
    on_disk: bool,
    /// The condition that the entry in the store gives.
    shown: Condition,
}

/// What of the entry changes while the node lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Why it takes no tasks; empty when it takes them.
    pub reason: String,
    /// The lock on it with which no start is under way any more.
    pub lock_seen: Option<i64>,
    /// What its runner does not enforce, as far as it has said.
    pub unenforced: Vec<String>,
}

impl Condition {
    fn of(entry: &NodeEntry) -> Condition {
        let NodeEntry { reason, lock_seen, unenforced, .. } = entry.clone();
        Condition { reason, lock_seen, unenforced }
    }
}

impl Keeper {
    /// Runs until stopped. The lease is left to itself then, so that a quick restart can go on with it.
    pub async fn run(self) -> anyhow::Result<()> {
        let stop = self.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            ended = self.live() => ended,
        }
    }

    async fn live(&self) -> anyhow::Result<()> {
        let mut resumed = self.resume().await?;
        loop {
            let mut registration = match resumed.take() {
                Some(registration) => registration,
                None => self.register().await?,
            };
            let Saved { node, created, .. } = registration.saved;
            tracing::info!(%node, created, "registered");
            self.identity.send_replace(Some((node, created)));
            self.events.send(Event::Registered { node, created }).await?;
            let why = self.renew_until_lost(&mut registration).await;
            tracing::warn!(%node, why, "lease lost: fencing");
            self.identity.send_replace(None);
            self.events.send(Event::LeaseLost).await?;
        }
    }

    /// The identity of the last run, if its lease and key are still there.
    async fn resume(&self) -> anyhow::Result<Option<Registration>> {
        let Some(saved) = Saved::load(&self.identity_path(), &self.entry.name)? else { return Ok(None) };
        let sent = loop {
            let sent = boottime_ns();
            match self.still_registered(&saved).await {
                Ok(true) => break sent,
                Ok(false) | Err(StoreError::LeaseNotFound) => {
                    tracing::info!(node = %saved.node, "the last identity is gone");
                    return Ok(None);
                }
                Err(error) => tracing::warn!(%error, "cannot ask for the last identity yet"),
            }
            tokio::time::sleep(RETRY).await;
        };
        let page = page_path(&self.data_dir, saved.node);
        let page = DeadlinePage::create(&page)?;
        // Before anything else that may take its time: what runs has little of it left.
        page.advance_to(self.deadline_after(sent));
        let entry = self.entry_now();
        match self.refresh(&saved, &entry).await {
            Ok(true) => {}
            Ok(false) | Err(StoreError::LeaseNotFound) => return Ok(None),
            // The old entry stands; it is good enough until the next start.
            Err(error) => tracing::warn!(%error, "registration not refreshed"),
        }
        Ok(Some(Registration { saved, page, on_disk: true, shown: Condition::of(&entry) }))
    }

    async fn still_registered(&self, saved: &Saved) -> Result<bool, StoreError> {
        self.store.lease_renew(LeaseId(saved.lease)).await?;
        let (kv, _) = self.store.get(&Key::Node(saved.node).to_string()).await?;
        Ok(kv.is_some_and(|kv| kv.create_revision == saved.created))
    }

    /// Writes the entry anew under the old key: the program's version or addresses may have changed.
    async fn refresh(&self, saved: &Saved, entry: &NodeEntry) -> Result<bool, StoreError> {
        let key = Key::Node(saved.node).to_string();
        let lease = Some(LeaseId(saved.lease));
        let put = Op::Put { key: key.clone(), value: record::encode(entry), lease };
        let compares = vec![Compare::CreateRevision(key, saved.created)];
        Ok(self.store.txn(Txn { compares, then: vec![put], or_else: Vec::new() }).await?.succeeded)
    }

    /// The registration's content as it is now.
    fn entry_now(&self) -> NodeEntry {
        let Condition { reason, lock_seen, unenforced } = self.condition.borrow().clone();
        let state = if reason.is_empty() { self.entry.state } else { NodeState::Draining };
        NodeEntry { state, reason, lock_seen, unenforced, ..self.entry.clone() }
    }

    /// A new identity. Before it exists, everything that ran under an old one is dead.
    async fn register(&self) -> anyhow::Result<Registration> {
        self.runner.kill_all().await?;
        if let Some(old) = Saved::load(&self.identity_path(), &self.entry.name)? {
            // Everything of it is dead: its tasks need not wait for the lease to expire.
            if let Err(error) = self.store.lease_revoke(LeaseId(old.lease)).await {
                tracing::info!(%error, "old lease left to expire");
            }
        }
        let node = NodeId(Uuid::now_v7());
        let path = page_path(&self.data_dir, node);
        let page = self.new_page(&path).await?;
        loop {
            let sent = boottime_ns();
            let entry = self.entry_now();
            match self.try_register(node, &entry).await {
                Ok((lease, created)) => {
                    page.advance_to(self.deadline_after(sent));
                    let saved = Saved::new(&self.identity_path(), node, &self.entry.name, lease.0, created)?;
                    let on_disk = self.keep(&saved)?;
                    return Ok(Registration { saved, page, on_disk, shown: Condition::of(&entry) });
                }
                Err(error) => tracing::warn!(%error, "not registered yet"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// The page of a new identity. On a full disk the node waits for room: without a page it could start nothing.
    async fn new_page(&self, path: &Path) -> anyhow::Result<DeadlinePage> {
        let make = || -> anyhow::Result<DeadlinePage> {
            clear_pages(path.parent().unwrap_or(&self.data_dir))?;
            Ok(DeadlinePage::create(path)?)
        };
        loop {
            match make() {
                Err(error) if full_disk::is_cause_of(&error) => tracing::error!("not registered: {error:#}"),
                made => return made,
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Writes the identity; false on a full disk. Without it the next start takes a new one, and what runs under this dies first.
    fn keep(&self, saved: &Saved) -> anyhow::Result<bool> {
        match saved.store(&self.identity_path()).map_err(anyhow::Error::from) {
            Err(error) if full_disk::is_cause_of(&error) => {
                tracing::error!("a restart would not keep this identity: {error:#}");
                Ok(false)
            }
            kept => kept.map(|()| true),
        }
    }

    async fn try_register(&self, node: NodeId, entry: &NodeEntry) -> Result<(LeaseId, i64), StoreError> {
        let (lease, _) = self.store.lease_grant(self.ttl).await?;
        let key = Key::Node(node).to_string();
        let put = Op::Put { key: key.clone(), value: record::encode(entry), lease: Some(lease) };
        let compares = vec![Compare::CreateRevision(key.clone(), 0)];
        let written = self.store.txn(Txn { compares, then: vec![put], or_else: Vec::new() }).await;
        // Whatever the answer was, the key says what holds.
        let (kv, _) = self.store.get(&key).await?;
        match kv {
            Some(kv) if kv.lease == Some(lease) => Ok((lease, kv.create_revision)),
            Some(_) | None => {
                let unseen = || StoreError::Refused("the registration is not there".to_owned());
                self.store.lease_revoke(kv.and_then(|kv| kv.lease).unwrap_or(lease)).await?;
                Err(written.err().unwrap_or_else(unseen))
            }
        }
    }

    /// Renews until the lease is gone; returns what said so.
    async fn renew_until_lost(&self, registration: &mut Registration) -> &'static str {
        let node = registration.saved.node;
        let (mut fenced, mut condition) = (self.fenced.clone(), self.condition.clone());
        let mut ticks = tokio::time::interval(self.ttl / RENEWALS_PER_TTL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_due = tokio::select! {
                biased;
                _ = fenced.wait_for(|lost| *lost == Some(node)) => return "the node's key vanished from the view",
                _ = ticks.tick() => true,
                Ok(()) = condition.changed() => false,
            };
            if !is_due {
                // Somebody may wait for it.
                self.show_condition(registration).await;
                continue;
            }
            let sent = boottime_ns();
            failpoint!("server.before_renewal");
            match self.still_registered(&registration.saved).await {
                Ok(true) => {
                    failpoint!("server.before_deadline");
                    registration.page.advance_to(self.deadline_after(sent));
                    if !registration.on_disk {
                        registration.on_disk = self.keep(&registration.saved).unwrap_or(false);
                    }
                    self.show_condition(registration).await;
                }
                Ok(false) => return "the node's key is gone",
                Err(StoreError::LeaseNotFound) => return "the lease has expired",
                Err(error) => tracing::warn!(%error, "lease not renewed"),
            }
        }
    }

    /// Writes into the entry whether the node takes tasks, when that has changed; tried again with the next renewal.
    async fn show_condition(&self, registration: &mut Registration) {
        let entry = self.entry_now();
        let condition = Condition::of(&entry);
        if condition == registration.shown {
            return;
        }
        match self.refresh(&registration.saved, &entry).await {
            Ok(true) => registration.shown = condition,
            // The next renewal says what that means.
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "the node's condition is not shown yet"),
        }
    }

    fn deadline_after(&self, sent_ns: u64) -> u64 {
        sent_ns + (self.ttl * DEADLINE_PERCENT / 100).as_nanos() as u64
    }

    fn identity_path(&self) -> PathBuf {
        self.data_dir.join("node.json")
    }
}

/// The deadline page of one identity: attempts that it has stolen obey this page and no other.
pub fn page_path(data_dir: &Path, node: NodeId) -> PathBuf {
    data_dir.join("deadline").join(node.to_string())
}

/// Pages of earlier identities: nothing obeys them any more.
fn clear_pages(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    for entry in std::fs::read_dir(dir)? {
        std::fs::remove_file(entry?.path())?;
    }
    Ok(())
}
