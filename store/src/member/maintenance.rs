//! What an operator, or the server on his behalf, does with the members of a cluster: look at them, and make room when the store is
//! full. At NOSPACE etcd refuses every put until the alarm is disarmed, and disarming without room raises it again; so the order is
//! compact, defragment each member, disarm.

use super::health::{Unhealthy, connect, within};
use etcd_client::{AlarmAction, AlarmOptions, AlarmType, Client, CompactionOptions, GetOptions};
use std::collections::BTreeSet;
use std::time::Duration;

/// For questions.
const CALL_DEADLINE: Duration = Duration::from_secs(3);
/// For a compaction that waits until it is done, and for the defragmentation of one member: 0.4 s per 100,000 keys measured.
const WORK_DEADLINE: Duration = Duration::from_secs(120);
/// How often alarms are listed and disarmed at most: a member may raise its own a moment after the others' were listed. One that is
/// raised still later, or that has no room, is for the next attempt.
const DISARM_ROUNDS: usize = 3;

/// What one member says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its etcd's version.
    pub version: String,
    /// Its id in the cluster.
    pub member_id: u64,
    /// The leader's id; `None` without one.
    pub leader_id: Option<u64>,
    /// Whether it copies without voting.
    pub is_learner: bool,
    /// The election it is in.
    pub raft_term: u64,
    /// The store's revision as it knows it.
    pub revision: i64,
    /// The database on disk, which the quota limits.
    pub db_size_bytes: u64,
    /// What of it is in use; the rest is free for new data.
    pub db_in_use_bytes: u64,
}

impl MemberStatus {
    /// Whether it leads.
    pub fn is_leader(&self) -> bool {
        self.leader_id == Some(self.member_id)
    }
}

/// What making room came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpaceReport {
    /// History is gone up to this revision.
    pub compacted_to: i64,
    /// Database sizes of all members together before.
    pub before_bytes: u64,
    /// And after.
    pub after_bytes: u64,
    /// What is still in use on the member where that is most: each is held to the quota on its own.
    pub in_use_bytes: u64,
    /// How many members' alarms were disarmed.
    pub alarms_disarmed: usize,
}

/// A call that failed: which member, which step.
#[derive(Debug, thiserror::Error)]
#[error("etcd member {endpoint}: {why}")]
pub struct MaintenanceError {
    /// The member's client URL.
    pub endpoint: String,
    /// What happened.
    pub why: Unhealthy,
}

fn at(endpoint: &str) -> impl Fn(Unhealthy) -> MaintenanceError {
    move |why| MaintenanceError { endpoint: endpoint.to_owned(), why }
}

/// Asks the member at this client URL about itself.
pub async fn status(endpoint: &str) -> Result<MemberStatus, MaintenanceError> {
    let mut client = connect(&[endpoint.to_owned()], CALL_DEADLINE).await.map_err(at(endpoint))?;
    status_by(&mut client).await.map_err(at(endpoint))
}

async fn status_by(client: &mut Client) -> Result<MemberStatus, Unhealthy> {
    let status = within(CALL_DEADLINE, "status", client.status()).await?;
    let header = status.header().ok_or_else(|| Unhealthy("status: an answer without a header".to_owned()))?;
    let bytes = |size: i64| u64::try_from(size).unwrap_or_default();
    Ok(MemberStatus {
        version: status.version().to_owned(),
        member_id: header.member_id(),
        leader_id: Some(status.leader()).filter(|id| *id != 0),
        is_learner: status.is_learner(),
        raft_term: status.raft_term(),
        revision: header.revision(),
        db_size_bytes: bytes(status.db_size()),
        db_in_use_bytes: bytes(status.raft_used_db_size()),
    })
}

/// Ids of the members with a NOSPACE alarm, as any member tells them.
pub async fn nospace_alarms(endpoint: &str) -> Result<Vec<u64>, MaintenanceError> {
    let mut client = connect(&[endpoint.to_owned()], CALL_DEADLINE).await.map_err(at(endpoint))?;
    alarms_by(&mut client).await.map_err(at(endpoint))
}

async fn alarms_by(client: &mut Client) -> Result<Vec<u64>, Unhealthy> {
    let get = client.alarm(AlarmAction::Get, AlarmType::Nospace, None);
    let answer = within(CALL_DEADLINE, "alarm list", get).await?;
    let nospace = answer.alarms().iter().filter(|alarm| alarm.alarm() == AlarmType::Nospace);
    Ok(nospace.map(etcd_client::AlarmMember::member_id).collect())
}

/// Makes room: drops all history, gives the space back on each member in turn (the leader last, so that there is one all the
/// time), and disarms the alarms. Writes wait while a member is defragmented. Watches that lag behind have to list again.
pub async fn recover_space(endpoints: &[String]) -> Result<SpaceReport, MaintenanceError> {
    let mut members = Vec::new();
    for endpoint in endpoints {
        let mut client =
            connect(std::slice::from_ref(endpoint), WORK_DEADLINE).await.map_err(at(endpoint))?;
        let status = status_by(&mut client).await.map_err(at(endpoint))?;
        members.push((endpoint.as_str(), client, status));
    }
    members.sort_by_key(|(_, _, status)| status.is_leader());
    let before_bytes = members.iter().map(|(_, _, status)| status.db_size_bytes).sum();
    let Some((last_endpoint, last_client, _)) = members.last() else {
        let why = Unhealthy("no endpoint given".to_owned());
        return Err(MaintenanceError { endpoint: String::new(), why });
    };
    let (endpoint, mut leader) = (*last_endpoint, last_client.clone());
    let compacted_to = revision(&mut leader).await.map_err(at(endpoint))?;
    let (mut after_bytes, mut in_use_bytes) = (0, 0);
    for (member, client, _) in &mut members {
        compact(client, compacted_to).await.map_err(at(member))?;
        within(WORK_DEADLINE, "defragment", client.defragment()).await.map_err(at(member))?;
        let status = status_by(client).await.map_err(at(member))?;
        after_bytes += status.db_size_bytes;
        in_use_bytes = in_use_bytes.max(status.db_in_use_bytes);
    }
    let alarms_disarmed = disarm(&mut leader).await.map_err(at(endpoint))?;
    Ok(SpaceReport { compacted_to, before_bytes, after_bytes, in_use_bytes, alarms_disarmed })
}

/// Disarms the alarms of all members, and tells how many members had one.
async fn disarm(client: &mut Client) -> Result<usize, Unhealthy> {
    let mut disarmed = BTreeSet::new();
    for _ in 0..DISARM_ROUNDS {
        let raised = alarms_by(client).await?;
        if raised.is_empty() {
            break;
        }
        for member in &raised {
            let mut options = AlarmOptions::new();
            options.with_member(*member);
            let disarm = client.alarm(AlarmAction::Deactivate, AlarmType::Nospace, Some(options));
            within(CALL_DEADLINE, "disarm", disarm).await?;
        }
        disarmed.extend(raised);
    }
    Ok(disarmed.len())
}

/// Gives the free space of one member's database back to its disk. The member answers nothing meanwhile.
pub async fn defragment(endpoint: &str) -> Result<(), MaintenanceError> {
    let mut client = connect(&[endpoint.to_owned()], WORK_DEADLINE).await.map_err(at(endpoint))?;
    within(WORK_DEADLINE, "defragment", client.defragment()).await.map(drop).map_err(at(endpoint))
}

/// The store's revision now.
async fn revision(client: &mut Client) -> Result<i64, Unhealthy> {
    let count_only = Some(GetOptions::new().with_count_only());
    let now = within(CALL_DEADLINE, "read revision", client.get("/", count_only)).await?;
    Ok(now.header().map_or(0, etcd_client::ResponseHeader::revision))
}

/// Drops all history up to `revision`, and waits until this member has done so. Each member is asked, although the first one's
/// request reaches them all: each works by itself, and a request waits only for the member that it was sent to. Where the work has
/// been ordered before, etcd refuses the request, but still only after it is done; a defragmentation before that gives nothing back.
async fn compact(client: &mut Client, revision: i64) -> Result<(), Unhealthy> {
    let physical = Some(CompactionOptions::new().with_physical());
    match within(WORK_DEADLINE, "compact", client.compact(revision, physical)).await {
        Err(error) if error.0.contains("has been compacted") => Ok(()),
        done => done.map(drop),
    }
}
