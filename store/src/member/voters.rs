//! How many members vote, and what a node that joins does: pure functions, decided from what a member list says.
//!
//! Voters are odd in number: a second one would not add tolerance but take some away, since then either of the two can stop the
//! cluster. So voters are added in pairs. The first of a pair joins as a *learner*, a copy without a vote, and waits; the next node
//! that joins promotes it and becomes a voter itself. (etcd 3.4 allows one learner at a time, so the waiting one must be promoted before the
//! next can come.) Two nodes are therefore one voter and one learner, three are three voters, four are three and a learner, five are five.
//!
//! Between the two promotions of a pair, some hundred milliseconds, the number of voters is even. A node that dies just then leaves it even; who
//! joins or restarts next sees an even number and makes it odd again.

/// How many voters a cluster of so many nodes should have.
pub fn voters_wanted(nodes: usize) -> usize {
    match nodes {
        0..=2 => 1,
        3..=4 => 3,
        _ => 5,
    }
}

/// How many voters may be lost while the rest still decides.
pub fn losses_tolerated(voters: usize) -> usize {
    voters.saturating_sub(1) / 2
}

/// What people must be told about a cluster with so many voters.
pub fn warning(voters: usize) -> Option<String> {
    match voters {
        0 => Some("no voters: the store cannot work".to_owned()),
        1 => Some("1 voter: this cluster tolerates no loss; the store stops with that node (a third node makes it three voters)".to_owned()),
        2 => Some("2 voters: this cluster tolerates no loss; the store stops with either node (a third voter would change that)".to_owned()),
        _ => None,
    }
}

/// What a node that wants to join sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// Voting members.
    pub voters: usize,
    /// Members that do not vote yet.
    pub learners: usize,
    /// Nodes of the cluster, the joining one included.
    pub nodes: usize,
}

/// The next step of a node that wants to join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Promote the learner that waits, then look again.
    PromoteLearner,
    /// Become a learner.
    BecomeLearner,
    /// There are enough members: use them as a client.
    ClientOnly,
}

/// What a node that joins does next.
pub fn next_step(census: Census) -> Step {
    let Census { voters, learners, nodes } = census;
    let even = voters.is_multiple_of(2);
    if learners > 0 {
        let pair_wanted = voters + 2 <= voters_wanted(nodes);
        return if even || pair_wanted { Step::PromoteLearner } else { Step::ClientOnly };
    }
    // An odd number is left alone unless the node after this one completes a pair.
    if even || voters < voters_wanted(nodes + 1) { Step::BecomeLearner } else { Step::ClientOnly }
}

/// Whether a learner should become a voter now, by itself.
pub fn learner_should_vote(voters: usize) -> bool {
    voters.is_multiple_of(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_three_five_voters() {
        let wanted: Vec<usize> = (0..=8).map(voters_wanted).collect();
        assert_eq!(wanted, [1, 1, 1, 3, 3, 5, 5, 5, 5]);
    }

    #[test]
    fn only_clusters_that_tolerate_nothing_are_warned_about() {
        for voters in 0..8 {
            assert_eq!(warning(voters).is_some(), losses_tolerated(voters) == 0, "{voters}");
        }
        assert!(warning(2).is_some_and(|text| text.contains("tolerates no loss")));
    }

    /// Lets nodes join one after the other and returns (voters, learners) after each.
    fn grow(nodes: usize) -> Vec<(usize, usize)> {
        let (mut voters, mut learners) = (1, 0);
        let mut seen = vec![(voters, learners)];
        for nodes in 2..=nodes {
            loop {
                match next_step(Census { voters, learners, nodes }) {
                    Step::PromoteLearner => (voters, learners) = (voters + 1, learners - 1),
                    Step::BecomeLearner if learner_should_vote(voters) => break voters += 1,
                    Step::BecomeLearner => break learners += 1,
                    Step::ClientOnly => break,
                }
            }
            seen.push((voters, learners));
        }
        seen
    }

    #[test]
    fn a_cluster_grows_by_pairs_and_stops_at_five() {
        assert_eq!(grow(8), [(1, 0), (1, 1), (3, 0), (3, 1), (5, 0), (5, 0), (5, 0), (5, 0)]);
    }

    #[test]
    fn an_even_number_left_by_a_crash_is_made_odd() {
        assert_eq!(next_step(Census { voters: 2, learners: 0, nodes: 2 }), Step::BecomeLearner);
        assert!(learner_should_vote(2));
        assert_eq!(next_step(Census { voters: 2, learners: 1, nodes: 3 }), Step::PromoteLearner);
    }

    #[test]
    fn no_step_ever_makes_more_voters_than_wanted() {
        for voters in (1..=5).step_by(2) {
            for learners in 0..=1 {
                for nodes in 1..12 {
                    if next_step(Census { voters, learners, nodes }) == Step::PromoteLearner {
                        assert!(voters + 2 <= voters_wanted(nodes), "{voters} {learners} {nodes}");
                    }
                }
            }
        }
    }
}
