//! Joins an existing cluster by asking any of its members: look at the member list, decide ([`super::voters`]), be added as a
//! learner, start, and vote when the number of voters asks for it.
//!
//! Every step may have been carried out although its answer was lost, and other nodes may join at the same time. So no step is repeated
//! blindly: each round reads the member list anew and goes on from what is there. An entry with our peer URL that never started is ours,
//! from an attempt that was cut short.

use super::bootstrap::InitialCluster;
use super::health::{Role, Unhealthy, connect, within};
use super::url::{MemberUrl, UrlError};
use super::voters::{Census, Step, learner_should_vote, next_step};
use crate::key;
use etcd_client::{Client, GetOptions, Member, MemberAddOptions};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// One question's deadline; adding a member waits for a majority.
const CALL_DEADLINE: Duration = Duration::from_secs(3);
/// The wait between two rounds. etcd has no event for "healthy again" or "in sync".
const ROUND_INTERVAL: Duration = Duration::from_millis(200);
/// A learner that does not come into sync for so long is not waited for any longer.
const LEARNER_PATIENCE: Duration = Duration::from_secs(15);

/// Who wants to join, and by whom.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    /// The member's name.
    pub name: String,
    /// Where the others would reach it.
    pub peer_url: MemberUrl,
    /// Client URLs of some members; one that answers is enough.
    pub seeds: Vec<String>,
    /// How long all of it may take.
    pub deadline: Duration,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joined {
    /// It is in the member list: start it with this cluster, as existing.
    Member {
        /// The members to name on the command line, itself included.
        cluster: InitialCluster,
        /// Client URLs of the voters there are.
        voters: Vec<String>,
    },
    /// There are enough members without it.
    ClientOnly {
        /// Client URLs of the voters.
        endpoints: Vec<String>,
        /// Why, for people.
        reason: String,
    },
}

/// Why a node could not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Nobody to ask.
    #[error("join: no endpoint given")]
    NoSeeds,
    /// It took too long.
    #[error("could not join through {seeds} within {deadline:?}: {last}")]
    Deadline {
        /// Who was asked.
        seeds: String,
        /// The limit.
        deadline: Duration,
        /// The last obstacle.
        last: String,
    },
    /// Another member has the name.
    #[error(
        "the cluster has a member `{name}` with peer url {url}: choose another name, or remove that member first"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// The other's peer URLs.
        url: String,
    },
    /// Another member has the peer URL.
    #[error("the cluster's member `{holder}` has the peer url {url}: choose another")]
    PeerUrlTaken {
        /// Who has it.
        holder: String,
        /// The peer URL.
        url: MemberUrl,
    },
    /// The member list cannot be put on a command line.
    #[error("member `{name}` of the cluster")]
    PeerUrl {
        /// Whose.
        name: String,
        /// What is wrong with its URL.
        source: UrlError,
    },
}

/// How one round ended when it did not end the joining.
enum Round {
    /// Something was done: look again.
    Again,
    /// Not possible now.
    Later(String),
    /// Not possible until somebody else's learner is in sync.
    LearnerInTheWay { reason: String, voters: Vec<String> },
    /// Done.
    Done(Joined),
}

/// Gets the member into the cluster's member list, or finds that it is not needed there. Only for a member without data: one that has
/// data is a member already.
pub async fn join(request: &JoinRequest) -> Result<Joined, JoinError> {
    if request.seeds.is_empty() {
        return Err(JoinError::NoSeeds);
    }
    let begin = Instant::now();
    let mut blocked_since = None;
    loop {
        let last = match round(request).await? {
            Round::Done(joined) => return Ok(joined),
            Round::Again => continue,
            Round::Later(why) => {
                blocked_since = None;
                why
            }
            Round::LearnerInTheWay { reason, voters } => {
                let since = *blocked_since.get_or_insert_with(Instant::now);
                if since.elapsed() > LEARNER_PATIENCE {
                    return Ok(Joined::ClientOnly { endpoints: voters, reason });
                }
                reason
            }
        };
        wait_for_round(request, begin, last).await?;
    }
}

async fn round(request: &JoinRequest) -> Result<Round, JoinError> {
    let (mut client, members) = match ask_any(&request.seeds).await {
        Ok(answer) => answer,
        Err(error) => return Ok(Round::Later(error.0)),
    };
    if let Some(own) = member_at(&members, &request.peer_url) {
        return if own.name().is_empty() {
            Ok(Round::Done(Joined::Member {
                cluster: cluster_of(request, &members)?,
                voters: voter_urls(&members),
            }))
        } else {
            replace_lost(request, &mut client, own).await
        };
    }
    if let Some(other) = members.iter().find(|member| member.name() == request.name) {
        return Err(JoinError::NameTaken { name: request.name.clone(), url: other.peer_urls().join(",") });
    }
    let nodes = match within(CALL_DEADLINE, "count nodes", count_nodes(&mut client)).await {
        Ok(registered) => registered.max(members.len()) + 1,
        Err(error) => return Ok(Round::Later(error.0)),
    };
    let learners = members.iter().filter(|member| member.is_learner()).count();
    let voters = members.len() - learners;
    match next_step(Census { voters, learners, nodes }) {
        Step::ClientOnly => {
            let reason = format!("{voters} voters are enough for {nodes} nodes");
            Ok(Round::Done(Joined::ClientOnly { endpoints: voter_urls(&members), reason }))
        }
        Step::PromoteLearner => Ok(promote_other(&mut client, &members).await),
        Step::BecomeLearner => {
            let options = Some(MemberAddOptions::new().with_is_learner());
            let add = client.member_add([request.peer_url.to_string()], options);
            // Whatever the answer, the next round's list says what came of it.
            Ok(within(CALL_DEADLINE, "member add", add)
                .await
                .map_or_else(|error| Round::Later(error.0), |_| Round::Again))
        }
    }
}

/// Promotes the learner that waits for a partner. One that never started is left alone: etcd before 3.5.7 would promote it, and the
/// cluster would wait for its vote.
async fn promote_other(client: &mut Client, members: &[Member]) -> Round {
    let voters = voter_urls(members);
    let Some(learner) = members.iter().find(|member| member.is_learner()) else { return Round::Again };
    if learner.name().is_empty() {
        return Round::LearnerInTheWay {
            reason: "another node is just joining, but has not started".to_owned(),
            voters,
        };
    }
    match within(CALL_DEADLINE, "member promote", client.member_promote(learner.id())).await {
        Ok(_) => Round::Again,
        Err(error) => {
            Round::LearnerInTheWay { reason: format!("learner `{}`: {error}", learner.name()), voters }
        }
    }
}

/// The list has us as a member that ran once, but our data are gone: such a member never comes back, etcd's advice is to remove it
/// and join anew. Only when name and URL are ours and nobody answers there: a live namesake is an error.
async fn replace_lost(request: &JoinRequest, client: &mut Client, lost: &Member) -> Result<Round, JoinError> {
    if lost.name() != request.name {
        return Err(JoinError::PeerUrlTaken {
            holder: lost.name().to_owned(),
            url: request.peer_url.clone(),
        });
    }
    for url in lost.client_urls() {
        if let Ok(mut other) = connect(std::slice::from_ref(url), CALL_DEADLINE).await
            && within(CALL_DEADLINE, "status", other.status()).await.is_ok()
        {
            return Err(JoinError::NameTaken { name: request.name.clone(), url: lost.peer_urls().join(",") });
        }
    }
    tracing::warn!(
        member = lost.name(),
        id = lost.id(),
        "this member's data are gone: replacing it by a new one"
    );
    let remove = client.member_remove(lost.id());
    Ok(within(CALL_DEADLINE, "member remove", remove)
        .await
        .map_or_else(|error| Round::Later(error.0), |_| Round::Again))
}

/// Lets a started learner become a voter when the number of voters asks for it; returns what it is in the end. The caller has seen
/// it healthy.
pub async fn settle(request: &JoinRequest) -> Result<Role, JoinError> {
    let begin = Instant::now();
    loop {
        let last = match ask_any(&request.seeds).await {
            Err(error) => error.0,
            Ok((mut client, members)) => {
                let voters = members.iter().filter(|member| !member.is_learner()).count();
                match member_at(&members, &request.peer_url) {
                    Some(own) if !own.is_learner() => return Ok(Role::Voter),
                    Some(own) if learner_should_vote(voters) => {
                        let promote = client.member_promote(own.id());
                        match within(CALL_DEADLINE, "member promote", promote).await {
                            Ok(_) => continue,
                            Err(error) => error.0,
                        }
                    }
                    Some(_) => return Ok(Role::Learner),
                    None => "the cluster's member list does not have this member".to_owned(),
                }
            }
        };
        wait_for_round(request, begin, last).await?;
    }
}

async fn wait_for_round(request: &JoinRequest, begin: Instant, last: String) -> Result<(), JoinError> {
    if begin.elapsed() + ROUND_INTERVAL > request.deadline {
        return Err(JoinError::Deadline { seeds: request.seeds.join(","), deadline: request.deadline, last });
    }
    tracing::debug!(%last, "cannot join yet");
    sleep(ROUND_INTERVAL).await;
    Ok(())
}

/// The member list from the first seed that gives it, with the client that got it. A learner gives none.
async fn ask_any(seeds: &[String]) -> Result<(Client, Vec<Member>), Unhealthy> {
    let mut last = Unhealthy("no endpoint given".to_owned());
    for seed in seeds {
        let answer = async {
            let mut client = connect(std::slice::from_ref(seed), CALL_DEADLINE).await?;
            let list = within(CALL_DEADLINE, "member list", client.member_list()).await?;
            Ok::<_, Unhealthy>((client, list.members().to_vec()))
        };
        match answer.await {
            Ok(answer) => return Ok(answer),
            Err(error) => last = Unhealthy(format!("{seed}: {error}")),
        }
    }
    Err(last)
}

async fn count_nodes(client: &mut Client) -> Result<usize, etcd_client::Error> {
    let range = key::nodes();
    let options = GetOptions::new().with_range(range.end).with_count_only();
    let answer = client.get(range.start, Some(options)).await?;
    Ok(usize::try_from(answer.count()).unwrap_or_default())
}

fn member_at<'a>(members: &'a [Member], peer_url: &MemberUrl) -> Option<&'a Member> {
    let own = peer_url.to_string();
    members.iter().find(|member| member.peer_urls().contains(&own))
}

fn voter_urls(members: &[Member]) -> Vec<String> {
    let voters = members.iter().filter(|member| !member.is_learner());
    voters.flat_map(|member| member.client_urls().iter().cloned()).collect()
}

/// The list as a new member must be told it: etcd compares the peer URLs with the cluster's, and finds itself by its name.
fn cluster_of(request: &JoinRequest, members: &[Member]) -> Result<InitialCluster, JoinError> {
    let mut cluster = Vec::new();
    for member in members {
        let own = member.peer_urls().contains(&request.peer_url.to_string());
        let name = match member.name() {
            _ if own => request.name.clone(),
            "" => format!("member-{:x}", member.id()),
            name => name.to_owned(),
        };
        for url in member.peer_urls() {
            let url = url.parse().map_err(|source| JoinError::PeerUrl { name: name.clone(), source })?;
            cluster.push((name.clone(), url));
        }
    }
    Ok(InitialCluster::from_members(cluster))
}
