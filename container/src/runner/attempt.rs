//! The attempts a runner knows: alive, being cleaned up, or ended and not yet forgotten.

use super::stuck::Killed;
use crate::deadline::DeadlinePage;
use crate::protocol::{End, Limits, Report};
use crate::slot::Slot;
use rustix::process::Pid;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// Directories of attempts that have ended, which are kept until a server has read them: each is up to a megabyte of memory, and a server that never forgets must
/// not use up the machine's.
const LAST_WORDS_MAX: usize = 64;
/// Epoll tokens below this are not attempts'.
const TOKEN_BASE: u64 = 16;

/// One attempt.
pub struct Attempt {
    /// `TASKUUID.NUMBER`.
    pub id: String,
    /// Where it stands.
    pub phase: Phase,
    /// What it shares with the other members of its task, until it is forgotten: a server that was away reads its last words after its end.
    pub gang: Option<OwnedFd>,
}

/// Where an attempt stands.
pub enum Phase {
    /// Its stub lives.
    Alive(Alive),
    /// The stub is gone; its control group is not, yet.
    Removing {
        /// To be told when it is.
        end: End,
        /// Removals tried so far.
        tries: u32,
        /// When to try again, on the boot-time clock.
        at_ms: u64,
    },
    /// Nothing is left but the log and the status.
    Ended(End),
}

/// An attempt with a living stub.
pub struct Alive {
    /// The stub, on the host.
    pub pid: Pid,
    /// The stub.
    pub pidfd: OwnedFd,
    /// What it has of the runner's.
    pub lent: Lent,
    /// The deadline; `None` when the page of an adopted attempt is gone.
    pub page: Option<Rc<DeadlinePage>>,
    /// When to kill the stub itself because it did not end in time, on the boot-time clock.
    pub kill_at_ms: Option<u64>,
    /// Whether its program is known to have been executed.
    pub started: bool,
    /// That the runner killed it.
    pub killed: Option<Killed>,
}

/// What an attempt has of the runner's.
pub enum Lent {
    /// A slot.
    Slot {
        /// To be given back.
        slot: Box<Slot>,
        /// Of the attempt.
        limits: Limits,
        /// Whether nobody outside of the attempt can hold a part of it (see [`crate::slot::Slots::give_back`]).
        reusable: bool,
    },
    /// The number of a slot that an earlier runner has lent it, where that is known.
    Number(Option<u32>),
}

/// All attempts, by number in the order of their start.
#[derive(Default)]
pub struct Attempts {
    by_number: BTreeMap<u64, Attempt>,
    by_id: HashMap<String, u64>,
    /// Those that are alive or being cleaned up.
    live: BTreeSet<u64>,
    /// Those that have ended and still have their directory, oldest first.
    last_words: VecDeque<u64>,
    next: u64,
}

impl Attempts {
    /// All that are not forgotten.
    pub fn len(&self) -> usize {
        self.by_number.len()
    }

    /// The number of the next one.
    pub fn next_number(&self) -> u64 {
        self.next
    }

    /// Adds one; its id must be new.
    pub fn insert(&mut self, id: String, phase: Phase) -> u64 {
        let number = self.next;
        self.next += 1;
        if !matches!(phase, Phase::Ended(_)) {
            self.live.insert(number);
        }
        self.by_id.insert(id.clone(), number);
        self.by_number.insert(number, Attempt { id, phase, gang: None });
        number
    }

    /// By id.
    pub fn number(&self, id: &str) -> Option<u64> {
        self.by_id.get(id).copied()
    }

    /// By number.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut Attempt> {
        self.by_number.get_mut(&number)
    }

    /// By number, if its stub lives.
    pub fn alive_mut(&mut self, number: u64) -> Option<&mut Alive> {
        match self.by_number.get_mut(&number)?.phase {
            Phase::Alive(ref mut alive) => Some(alive),
            _ => None,
        }
    }

    /// How it ended, if it did and is known.
    pub fn end(&self, id: &str) -> Option<&End> {
        match &self.by_number.get(self.by_id.get(id)?)?.phase {
            Phase::Ended(end) => Some(end),
            _ => None,
        }
    }

    /// Moves one to its next phase.
    pub fn set(&mut self, number: u64, phase: Phase) {
        let ended = matches!(phase, Phase::Ended(_));
        if ended {
            self.live.remove(&number);
        }
        let Some(attempt) = self.by_number.get_mut(&number) else { return };
        attempt.phase = phase;
        if ended && attempt.gang.is_some() {
            self.last_words.push_back(number);
        }
        while self.last_words.len() > LAST_WORDS_MAX {
            let oldest = self.last_words.pop_front().and_then(|number| self.by_number.get_mut(&number));
            if let Some(oldest) = oldest {
                oldest.gang = None;
            }
        }
    }

    /// Forgets one.
    pub fn remove(&mut self, number: u64) {
        self.live.remove(&number);
        self.last_words.retain(|other| *other != number);
        if let Some(attempt) = self.by_number.remove(&number) {
            self.by_id.remove(&attempt.id);
        }
    }

    /// Numbers of those alive or being cleaned up, oldest first.
    pub fn live(&self) -> Vec<u64> {
        self.live.iter().copied().collect()
    }

    /// The live ones themselves.
    pub fn iter_live(&self) -> impl Iterator<Item = &Attempt> {
        self.live.iter().filter_map(|number| self.by_number.get(number))
    }

    /// Whether this one is alive or being cleaned up.
    pub fn is_live(&self, number: u64) -> bool {
        self.live.contains(&number)
    }

    /// Whether none is alive or being cleaned up.
    pub fn none_live(&self) -> bool {
        self.live.is_empty()
    }

    /// The oldest live one.
    pub fn first_live(&self) -> Option<u64> {
        self.live.first().copied()
    }

    /// All of them, for a `Welcome`; the live ones first.
    pub fn reports(&self) -> Vec<Report> {
        let mut reports: Vec<Report> = self
            .by_number
            .values()
            .map(|attempt| Report {
                id: attempt.id.clone(),
                end: match &attempt.phase {
                    Phase::Ended(end) => Some(end.clone()),
                    _ => None,
                },
                gang: attempt.gang.is_some(),
            })
            .collect();
        reports.sort_by_key(|report| report.end.is_some());
        reports
    }
}

/// The epoll token of an attempt's end.
pub fn token(number: u64) -> u64 {
    TOKEN_BASE + number
}

/// The attempt that an epoll token means.
pub fn untoken(token: u64) -> Option<u64> {
    token.checked_sub(TOKEN_BASE)
}
