//! Keeps room in the store. etcd never gives space back by itself: what compaction frees stays in its file, and at the quota it refuses
//! every put until somebody compacts, defragments and disarms. A node with a member looks after that, one step a look:
//! - full: the node whose member leads makes room on all members; where data and not history fill it, it says what to do;
//! - early: a member whose file is large while little of it is in use is defragmented by its own node, one at a time.
//!
//! What was accepted waits meanwhile: results in the journals, renewals and deletes work as ever.

use shoal_store::member::maintenance::{self, MaintenanceError, MemberStatus, SpaceReport};
use shoal_store::member::{Cluster, Member};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// Between looks.
const PERIOD: Duration = Duration::from_secs(10);
/// Below this share of the quota there is room worth making.
const ROOM_PERCENT: u64 = 90;
/// A file above this share of the quota is defragmented early ...
const EARLY_SIZE_PERCENT: u64 = 80;
/// ... where less than this share of the quota is in use.
const EARLY_IN_USE_PERCENT: u64 = 50;
/// After an attempt that made no room, the next one waits this long, unless room shows before: each stops writes for seconds.
pub const RETRY: Duration = Duration::from_secs(300);

/// What one look came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// Nothing to do for this node.
    Fine,
    /// The store was full and has room again.
    Recovered(SpaceReport),
    /// The store is full of data that is in use.
    Full {
        /// What is in use, on the fullest member.
        in_use_bytes: u64,
        /// Whether this look tried to make room.
        tried: bool,
    },
    /// The own member's file has shrunk.
    Defragmented {
        /// From.
        before_bytes: u64,
        /// To.
        after_bytes: u64,
    },
}

/// Looks after the room of one member, and of all where that leads.
pub struct Space {
    /// The own member's client URL.
    own: String,
    cluster: watch::Receiver<Cluster>,
    quota_bytes: u64,
    stop: CancellationToken,
    /// When room was last tried for in vain.
    vain: Option<Instant>,
}

impl Space {
    /// For this node's member, whose database may grow to `quota_bytes`.
    pub fn new(member: &Member, quota_bytes: u64, stop: CancellationToken) -> Space {
        Space {
            own: member.client_url().to_string(),
            cluster: member.cluster(),
            quota_bytes,
            stop,
            vain: None,
        }
    }

    /// Runs until stopped. Trouble with etcd is told once and tried again.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let stop = self.stop.clone();
        let mut looks = tokio::time::interval(PERIOD);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // A member that has just been started does not answer yet.
        looks.reset();
        let mut trouble = String::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = looks.tick() => {}
            }
            let looked = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                looked = self.look(Instant::now()) => looked,
            };
            let now = looked.as_ref().err().map(ToString::to_string).unwrap_or_default();
            if !now.is_empty() && now != trouble {
                tracing::warn!(error = now, "cannot look after the store's space");
            }
            trouble = now;
            looked.iter().for_each(|looked| self.tell(looked));
        }
    }

    /// Looks, and takes one step where one is due.
    pub async fn look(&mut self, now: Instant) -> Result<Looked, MaintenanceError> {
        let own = maintenance::status(&self.own).await?;
        let early = wants_early(&own, self.quota_bytes);
        if !own.is_leader() && !early {
            return Ok(Looked::Fine);
        }
        let full = !maintenance::nospace_alarms(&self.own).await?.is_empty();
        if full && own.is_leader() {
            return self.make_room(&own, now).await;
        }
        if early && !full && self.is_my_turn(&own).await {
            maintenance::defragment(&self.own).await?;
            let after_bytes = maintenance::status(&self.own).await?.db_size_bytes;
            return Ok(Looked::Defragmented { before_bytes: own.db_size_bytes, after_bytes });
        }
        Ok(Looked::Fine)
    }

    async fn make_room(&mut self, own: &MemberStatus, now: Instant) -> Result<Looked, MaintenanceError> {
        let room = |bytes| is_below(bytes, ROOM_PERCENT, self.quota_bytes);
        let waits = self.vain.is_some_and(|vain| now.saturating_duration_since(vain) < RETRY);
        // How much of what is in use is history shows only when it has been dropped: hence the first attempt in any case.
        if waits && !room(own.db_in_use_bytes) {
            return Ok(Looked::Full { in_use_bytes: own.db_in_use_bytes, tried: false });
        }
        // A member that is down makes its room when it is back: its size raises the alarm again.
        let (answer, _) = self.members().await;
        let report =
            maintenance::recover_space(&answer.iter().map(|(url, _)| url.clone()).collect::<Vec<_>>())
                .await?;
        let in_use_bytes = report.in_use_bytes;
        if room(in_use_bytes) {
            self.vain = None;
            return Ok(Looked::Recovered(report));
        }
        self.vain = Some(now);
        Ok(Looked::Full { in_use_bytes, tried: true })
    }

    async fn is_my_turn(&self, own: &MemberStatus) -> bool {
        let (answer, silent) = self.members().await;
        let all: Vec<MemberStatus> = answer.into_iter().map(|(_, status)| status).collect();
        silent == 0 && is_first(own, &all, self.quota_bytes)
    }

    /// The members that answer, and how many do not.
    async fn members(&self) -> (Vec<(String, MemberStatus)>, usize) {
        let urls = self.cluster.borrow().endpoints.clone();
        let answers = futures::future::join_all(urls.iter().map(|url| maintenance::status(url))).await;
        let count = urls.len();
        let answer: Vec<_> =
            urls.into_iter().zip(answers).filter_map(|(url, status)| Some((url, status.ok()?))).collect();
        let silent = count - answer.len();
        (answer, silent)
    }

    fn tell(&self, looked: &Looked) {
        match looked {
            Looked::Fine | Looked::Full { tried: false, .. } => {}
            Looked::Recovered(report) => tracing::info!(
                compacted_to = report.compacted_to,
                before_bytes = report.before_bytes,
                after_bytes = report.after_bytes,
                alarms = report.alarms_disarmed,
                "store was full: dropped its history, defragmented all members, takes writes again"
            ),
            Looked::Full { in_use_bytes, tried: true } => tracing::warn!(
                in_use_bytes,
                quota_bytes = self.quota_bytes,
                "store is full of tasks and refuses submits: restart all nodes with a shorter --retention or a larger --etcd-quota, or cancel what waits"
            ),
            Looked::Defragmented { before_bytes, after_bytes } => {
                tracing::info!(before_bytes, after_bytes, "defragmented the own member early");
            }
        }
    }
}

fn is_below(bytes: u64, percent: u64, quota_bytes: u64) -> bool {
    bytes.saturating_mul(100) < quota_bytes.saturating_mul(percent)
}

fn wants_early(status: &MemberStatus, quota_bytes: u64) -> bool {
    !is_below(status.db_size_bytes, EARLY_SIZE_PERCENT, quota_bytes)
        && is_below(status.db_in_use_bytes, EARLY_IN_USE_PERCENT, quota_bytes)
}

/// Whether it is this member's turn: the lowest id among those that want it goes, the others see it smaller afterwards. The leader is
/// spared, because all writes would wait for it; one that is alone has no choice.
fn is_first(own: &MemberStatus, all: &[MemberStatus], quota_bytes: u64) -> bool {
    let others = || all.iter().filter(|other| other.member_id != own.member_id);
    if others().next().is_none() {
        return true;
    }
    let wants = |status: &MemberStatus| !status.is_leader() && wants_early(status, quota_bytes);
    wants(own) && !others().any(|other| wants(other) && other.member_id < own.member_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: u64 = 1000;

    fn member(member_id: u64, db_size_bytes: u64, db_in_use_bytes: u64) -> MemberStatus {
        MemberStatus {
            version: String::new(),
            member_id,
            leader_id: Some(1),
            is_learner: false,
            raft_term: 1,
            revision: 1,
            db_size_bytes,
            db_in_use_bytes,
        }
    }

    #[test]
    fn early_means_large_and_mostly_free() {
        for (size, in_use, wants) in
            [(900, 100, true), (800, 499, true), (799, 100, false), (900, 500, false)]
        {
            assert_eq!(wants_early(&member(1, size, in_use), QUOTA), wants, "{size} {in_use}");
        }
    }

    #[test]
    fn one_member_at_a_time_goes_and_the_leader_only_alone() {
        let turns = |all: &[MemberStatus]| -> Vec<u64> {
            all.iter().filter(|own| is_first(own, all, QUOTA)).map(|own| own.member_id).collect()
        };
        assert_eq!(turns(&[member(1, 900, 100), member(2, 900, 100), member(3, 900, 100)]), [2]);
        assert_eq!(turns(&[member(1, 900, 100), member(2, 100, 100), member(3, 900, 100)]), [3]);
        assert_eq!(turns(&[member(1, 900, 100), member(2, 100, 100), member(3, 100, 100)]), [0; 0]);
        assert_eq!(turns(&[member(1, 900, 100)]), [1]);
    }
}
