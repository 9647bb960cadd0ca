//! Several embedded members with the real etcd: founding together, losing one, and growing from one node.

#![allow(clippy::unwrap_used)] // a test's helper may panic like the test itself

mod member_support;

use member_support::{DEADLINE, config, fresh_url, get, kill, put, start, wait_for};
use rustix::process::Signal;
use shoal_store::member::join::JoinError;
use shoal_store::member::{
    InitialCluster, Member, MemberConfig, MemberError, MemberState, Origin, Role, Started,
};
use tempfile::TempDir;

/// Configurations of members that found a cluster together.
fn founders(names: &[&str], dir: &TempDir) -> Vec<MemberConfig> {
    let mut configs: Vec<MemberConfig> = names.iter().map(|name| config(name, dir)).collect();
    let list: Vec<String> =
        configs.iter().map(|config| format!("{}={}", config.name, config.peer_url)).collect();
    let cluster: InitialCluster = list.join(",").parse().unwrap();
    for config in &mut configs {
        config.origin = Origin::Found(Some(cluster.clone()));
    }
    configs
}

async fn start_all(configs: &[MemberConfig]) -> Vec<Member> {
    let mut members = Vec::new();
    for config in configs {
        members.push(start(config.clone()).await);
    }
    for member in &members {
        member.wait_healthy(DEADLINE).await.unwrap();
    }
    members
}

async fn stop_all(members: Vec<Member>) {
    futures::future::join_all(members.into_iter().map(Member::stop)).await;
}

/// A node that joins through `seed`.
fn joiner(name: &str, dir: &TempDir, seed: &MemberConfig) -> MemberConfig {
    let mut config = config(name, dir);
    config.origin = Origin::Join(vec![seed.client_url.to_string()]);
    config
}

/// As a server does: the number of registered nodes is what a joiner counts.
async fn register_node(seed: &MemberConfig, name: &str) {
    put(&seed.client_url, &format!("/node/{name}"), "").await;
}

#[tokio::test]
async fn three_members_found_a_cluster_and_survive_the_loss_of_one() {
    let dir = tempfile::tempdir().unwrap();
    let configs = founders(&["a", "b", "c"], &dir);
    let members = start_all(&configs).await;
    for (member, config) in members.iter().zip(&configs) {
        let cluster =
            wait_for("three endpoints", &mut member.cluster(), |cluster| cluster.endpoints.len() == 3).await;
        assert_eq!(cluster.voters, 3);
        assert_eq!(cluster.endpoints[0], config.client_url.to_string(), "its own comes first");
    }
    put(&configs[0].client_url, "k", "before").await;
    let mut state = members[0].state();
    kill(members[0].pid().unwrap(), Signal::KILL);
    wait_for("restart", &mut state, |state| !matches!(state, MemberState::Healthy { .. })).await;
    put(&configs[1].client_url, "k", "during").await;
    members[0].wait_healthy(DEADLINE).await.unwrap();
    assert_eq!(get(&configs[0].client_url, "k").await.as_deref(), Some("during"));
    stop_all(members).await;
}

#[tokio::test]
async fn a_whole_cluster_comes_back_with_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let configs = founders(&["a", "b", "c"], &dir);
    let members = start_all(&configs).await;
    put(&configs[2].client_url, "k", "kept").await;
    stop_all(members).await;
    let members = start_all(&configs).await;
    assert_eq!(get(&configs[0].client_url, "k").await.as_deref(), Some("kept"));
    stop_all(members).await;
}

#[tokio::test]
async fn one_node_grows_to_three_voters_by_a_pair_and_the_fourth_is_a_spare() {
    let dir = tempfile::tempdir().unwrap();
    let first = config("a", &dir);
    let a = start(first.clone()).await;
    a.wait_healthy(DEADLINE).await.unwrap();
    put(&first.client_url, "k", "v").await;
    register_node(&first, "a").await;

    let second = joiner("b", &dir, &first);
    let b = start(second.clone()).await;
    assert_eq!(
        b.wait_healthy(DEADLINE).await.unwrap(),
        Role::Learner,
        "two voters would tolerate less than one"
    );
    assert_eq!(b.endpoints(), [first.client_url.to_string()], "a learner does not serve");
    register_node(&first, "b").await;

    let third = joiner("c", &dir, &first);
    let c = start(third.clone()).await;
    wait_for("c a voter", &mut c.cluster(), |cluster| cluster.voters == 3).await;
    let seen = wait_for("b a voter", &mut b.cluster(), |cluster| cluster.voters == 3).await;
    assert_eq!(seen.endpoints[0], second.client_url.to_string());
    assert_eq!(get(&third.client_url, "k").await.as_deref(), Some("v"));
    register_node(&first, "c").await;

    // Three voters: the loss of the first node does not stop the others.
    a.stop().await;
    put(&second.client_url, "k", "after").await;
    assert_eq!(get(&third.client_url, "k").await.as_deref(), Some("after"));
    let a = start(first.clone()).await;
    a.wait_healthy(DEADLINE).await.unwrap();

    let d = start(joiner("d", &dir, &second)).await;
    assert_eq!(d.wait_healthy(DEADLINE).await.unwrap(), Role::Learner);
    stop_all(vec![a, b, c, d]).await;
}

#[tokio::test]
async fn nodes_that_join_at_the_same_time_leave_an_odd_number_of_voters() {
    let dir = tempfile::tempdir().unwrap();
    let first = config("a", &dir);
    let a = start(first.clone()).await;
    a.wait_healthy(DEADLINE).await.unwrap();
    let (b, c) = tokio::join!(start(joiner("b", &dir, &first)), start(joiner("c", &dir, &first)));
    wait_for("three voters", &mut a.cluster(), |cluster| cluster.voters == 3).await;
    for member in [&b, &c] {
        let mut state = member.state();
        wait_for("a voter", &mut state, |state| *state == MemberState::Healthy { role: Role::Voter }).await;
    }
    stop_all(vec![a, b, c]).await;
}

#[tokio::test]
async fn a_learner_that_restarts_is_still_itself() {
    let dir = tempfile::tempdir().unwrap();
    let first = config("a", &dir);
    let a = start(first.clone()).await;
    a.wait_healthy(DEADLINE).await.unwrap();
    let second = joiner("b", &dir, &first);
    start(second.clone()).await.stop().await;
    let b = start(second).await;
    assert_eq!(b.wait_healthy(DEADLINE).await.unwrap(), Role::Learner);
    stop_all(vec![a, b]).await;
}

#[tokio::test]
async fn a_joiner_whose_data_were_lost_joins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let first = config("a", &dir);
    let a = start(first.clone()).await;
    a.wait_healthy(DEADLINE).await.unwrap();
    let second = joiner("b", &dir, &first);
    start(second.clone()).await.stop().await;
    std::fs::remove_dir_all(&second.data_dir).unwrap();
    let b = start(second).await;
    assert_eq!(b.wait_healthy(DEADLINE).await.unwrap(), Role::Learner);
    stop_all(vec![a, b]).await;
}

#[tokio::test]
async fn a_name_that_the_cluster_has_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = config("a", &dir);
    let a = start(first.clone()).await;
    a.wait_healthy(DEADLINE).await.unwrap();
    let other = tempfile::tempdir().unwrap();
    let error = Member::start(joiner("a", &other, &first)).await.unwrap_err();
    assert!(matches!(error, MemberError::Join(JoinError::NameTaken { .. })), "{error}");
    a.stop().await;
}

#[tokio::test]
async fn a_node_that_is_not_needed_as_a_member_is_a_client() {
    let dir = tempfile::tempdir().unwrap();
    let configs = founders(&["a", "b", "c", "d", "e"], &dir);
    let members = start_all(&configs).await;
    match Member::start(joiner("f", &dir, &configs[0])).await.unwrap() {
        Started::ClientOnly { mut endpoints, reason } => {
            let mut voters: Vec<String> =
                configs.iter().map(|config| config.client_url.to_string()).collect();
            voters.sort();
            endpoints.sort();
            assert_eq!(endpoints, voters);
            assert!(reason.contains("5 voters"), "{reason}");
        }
        Started::Member(_) => panic!("five voters are enough"),
    }
    stop_all(members).await;
}

#[tokio::test]
async fn nobody_to_join_is_an_error_with_a_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config("a", &dir);
    config.origin = Origin::Join(vec![fresh_url().to_string()]);
    config.join_deadline = std::time::Duration::from_secs(1);
    let error = Member::start(config).await.unwrap_err();
    assert!(matches!(error, MemberError::Join(JoinError::Deadline { .. })), "{error}");
}
