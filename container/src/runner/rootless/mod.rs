//! A runner that an ordinary user has started. It makes a user namespace around itself in which it is root, and from there everything goes its usual
//! way: a container's own user namespace is nested in this one. What only the machine's root could enforce is not enforced, and is
//! named ([`Lack`]) to the server, which tells its users.
//!
//! The ids of this namespace: 0 is the user; from 1 on there are the ids that the administrator has given the user in /etc/subuid and /etc/subgid,
//! as far as the programs `newuidmap` and `newgidmap` are installed. Without them there is 0 alone, and stub and task of all containers are
//! the user to the host.
//!
//! With ids of its own, a container can be signalled only from within this namespace. So that a later runner can come back into it, a
//! process stays in it ([`keeper`]) for as long as containers may.

mod ids;
mod keeper;

use crate::policy::UserRange;
use crate::sys;
use ids::{Granted, Helpers, Own};
use std::io;
use std::path::Path;

/// Why the namespace could not be had.
#[derive(Debug, thiserror::Error)]
pub enum RootlessError {
    /// The kernel or its configuration does not let ordinary users have one.
    #[error("this runner is not root, and cannot make a user namespace to be root in: {0}")]
    Namespace(io::Error),
    /// The ids in it.
    #[error("this runner is not root, and cannot map its ids into a user namespace: {0}")]
    Map(io::Error),
    /// The process that stays.
    #[error("this runner is not root, and cannot keep its user namespace: {0}")]
    Keeper(io::Error),
}

/// What cannot be kept apart without root, by the word that the protocol has for it. (Control groups say themselves what they lack.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// All containers are the same ids to the host, so their processes are kept apart by their namespaces alone.
    Ids,
    /// Tasks keep the supplementary groups of the user who started the runner, since only root can take them away.
    Groups,
}

impl Lack {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Lack::Ids => "ids",
            Lack::Groups => "groups",
        }
    }
}

/// The namespace that the runner has made around itself, or came back into.
#[derive(Debug)]
pub struct Rootless {
    /// Ids of it that belong to containers.
    pub users: UserRange,
    /// What cannot be enforced for the lack of ids.
    pub lacks: Vec<Lack>,
    keeper: Option<keeper::Keeper>,
}

impl Rootless {
    /// Makes this process root of a namespace unless it is root already. It must have one thread.
    pub fn enter(state_dir: &Path) -> Result<Option<Rootless>, RootlessError> {
        if rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        if let Some(keeper) = keeper::Keeper::find(state_dir) {
            keeper.join().map_err(RootlessError::Keeper)?;
            let granted = ids::present().map_err(RootlessError::Map)?;
            return Ok(Some(Rootless::with(granted, Some(keeper))));
        }
        let granted = make()?;
        let keeper = match granted {
            Granted::Range(_) => Some(keeper::Keeper::start(state_dir).map_err(RootlessError::Keeper)?),
            Granted::Own => None,
        };
        Ok(Some(Rootless::with(granted, keeper)))
    }

    fn with(granted: Granted, keeper: Option<keeper::Keeper>) -> Rootless {
        match granted {
            Granted::Range(count) => {
                let users = UserRange { first: 1, count };
                let apart = count >= 2 * crate::slot::IDS_PER_SLOT;
                Rootless { users, lacks: if apart { Vec::new() } else { vec![Lack::Ids] }, keeper }
            }
            Granted::Own => {
                let mut lacks = vec![Lack::Ids];
                if ids::has_supplementary_groups() {
                    lacks.push(Lack::Groups);
                }
                Rootless { users: UserRange { first: 0, count: 1 }, lacks, keeper }
            }
        }
    }

    /// No container is left: nobody has to come back.
    pub fn leave(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.end();
        }
    }
}

/// The namespace and its maps. The helpers must stay outside, so they are started before.
fn make() -> Result<Granted, RootlessError> {
    let own = Own::ask();
    let helpers = ids::grant().map(Helpers::start).transpose().map_err(RootlessError::Map)?;
    sys::unshare(libc::CLONE_NEWUSER).map_err(RootlessError::Namespace)?;
    match helpers.map(Helpers::map) {
        Some(Ok(count)) => Ok(Granted::Range(count)),
        // Not installed, or they do not find what is written in the files: said by them in the runner's log.
        Some(Err(_)) | None => own.map().map(|()| Granted::Own).map_err(RootlessError::Map),
    }
}
