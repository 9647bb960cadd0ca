//! What the node knows of the store's voters, for people: how many, how many answer, and what that tolerates.

use tokio::sync::watch;

/// The voters, as last asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Voters {
    /// Voting members.
    pub all: u32,
    /// Those that answered.
    pub healthy: u32,
    /// What an operator should know, in one sentence.
    pub warning: Option<String>,
}

/// The last answer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Membership {
    latest: watch::Receiver<Voters>,
}

impl Membership {
    /// Reads what `latest` is told.
    pub fn new(latest: watch::Receiver<Voters>) -> Membership {
        Membership { latest }
    }
    /// All and healthy voters.
    pub fn voters(&self) -> (u32, u32) {
        let voters = self.latest.borrow();
        (voters.all, voters.healthy)
    }
    /// What an operator should know.
    pub fn warning(&self) -> Option<String> {
        self.latest.borrow().warning.clone()
    }
}
