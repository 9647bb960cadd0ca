//! What a queue may be told once, when it is made.

use std::time::Duration;

/// What happens to a client that has reached its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtLimit {
    /// Its requests wait until the limit allows them.
    #[default]
    Wait,
    /// When nothing else may be served, the limit does not hold: capacity never lies idle.
    Allow,
    /// A request whose limit tag is further in the future than the threshold is refused when it is added. Only with [`Tagging::Immediate`].
    Reject {
        /// How far over its limit a client may queue.
        threshold: Duration,
    },
}

/// When a request gets its tags, and with them whose delta and rho count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tagging {
    /// When it is added, with its own delta and rho.
    #[default]
    Immediate,
    /// When it becomes the first of its client, with the latest delta and rho that the client sent: fresher in deep queues, but what those in between
    /// said is lost.
    Delayed,
}

/// Where this crate leaves the reference behaviour, because that is unfair. Each can be had alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrections {
    /// Bounded credit: reservation and limit tags of who is served late lag behind the clock by this span at most. Without it (`None`), who waited for
    /// long behind others may later exceed its limit for as long, and reservations that cannot all be kept starve the client that joins last.
    pub credit: Option<Duration>,
    /// Virtual-time clamp: proportion tags are never behind those of the clients that compete now, instead of never behind the clock. Without it weights
    /// hold only where capacity exceeds their sum, and who was stopped by its limit hoards what it could not use.
    pub virtual_time: bool,
    /// Refund on cancel: a removed or rejected request leaves the tags as if it had never come. Without it a client pays for what it did not get.
    pub refund: bool,
}

impl Corrections {
    /// The reference behaviour.
    pub const NONE: Corrections = Corrections { credit: None, virtual_time: false, refund: false };
    /// All of them, with a credit of a second.
    pub const ALL: Corrections =
        Corrections { credit: Some(Duration::from_secs(1)), virtual_time: true, refund: true };
}

/// How a queue behaves. Start from [`Config::corrected`] or [`Config::faithful`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// What happens at the limit.
    pub at_limit: AtLimit,
    /// When tags are computed.
    pub tagging: Tagging,
    /// Where the reference behaviour is left.
    pub corrections: Corrections,
    /// A client whose next request comes within this span of its last one keeps its place in time, as if it had come this much earlier: against "deceptive
    /// idleness" of clients that wait for an answer before they ask again. Zero turns it off.
    pub anticipation: Duration,
    /// A client without requests for so long is idle; when it comes back its weight counts from then on (reference behaviour; with
    /// [`Corrections::virtual_time`] that is so at once).
    pub idle_age: Duration,
    /// A client without requests for so long is forgotten. At least the idle age.
    pub erase_age: Duration,
    /// How often ages are looked at; ages count from the first look after the last request. Below the idle age.
    pub check_every: Duration,
    /// Look up the parameters of a client for each tag, not only when told that they changed.
    pub reread_params: bool,
}

impl Config {
    /// With all corrections: what to use.
    pub const fn corrected() -> Config {
        Config { corrections: Corrections::ALL, ..Config::faithful() }
    }

    /// As the reference implementation behaves, for comparison with it.
    pub const fn faithful() -> Config {
        Config {
            at_limit: AtLimit::Wait,
            tagging: Tagging::Immediate,
            corrections: Corrections::NONE,
            anticipation: Duration::ZERO,
            idle_age: Duration::from_secs(300),
            erase_age: Duration::from_secs(600),
            check_every: Duration::from_secs(60),
            reread_params: false,
        }
    }

    /// Whether it contradicts itself.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn check(&self) -> Result<(), ConfigError> {
        if matches!(self.at_limit, AtLimit::Reject { .. }) && self.tagging == Tagging::Delayed {
            return Err(ConfigError::RejectNeedsImmediate);
        }
        if self.check_every.is_zero() || self.check_every >= self.idle_age {
            return Err(ConfigError::CheckEvery { idle_age: self.idle_age, value: self.check_every });
        }
        if self.erase_age < self.idle_age {
            return Err(ConfigError::EraseAge { idle_age: self.idle_age, value: self.erase_age });
        }
        Ok(())
    }
}

impl Default for Config {
    fn default() -> Config {
        Config::corrected()
    }
}

/// A configuration that contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Whether to refuse is decided by a tag that delayed tagging does not have yet.
    #[error("at_limit must not be reject with tagging delayed: no request has tags yet when it is added")]
    RejectNeedsImmediate,
    /// See [`Config::check_every`].
    #[error("check_every must be above 0 and below the idle_age of {idle_age:?}, was {value:?}")]
    CheckEvery {
        /// The limit.
        idle_age: Duration,
        /// What was given.
        value: Duration,
    },
    /// See [`Config::erase_age`].
    #[error("erase_age must be at least the idle_age of {idle_age:?}, was {value:?}")]
    EraseAge {
        /// The limit.
        idle_age: Duration,
        /// What was given.
        value: Duration,
    },
}
