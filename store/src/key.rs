//! Every key of the store is built and parsed here and nowhere else; `docs/KEY_SCHEMA.md` shows the table.
//!
//! Invariant: `Key::parse(&key.to_string()) == Ok(key)`, and each text has at most one key. Ids are lower-case hyphenated UUIDs, an
//! epoch is 12 digits, so that keys of one kind have one width and sort as their parts do.

mod escape;

use crate::port::KeyRange;
use escape::{Escaped, unescaped};
use shoal_core::gang_key::is_key;
use shoal_core::id::{NodeId, TaskId};
use shoal_core::image::Digest;
use shoal_core::lock::Lockable;
use shoal_core::task::{Task, TaskState};
use shoal_core::time::WallMs;
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

const TASK: &str = "/task/";
const QUEUED: &str = "/task/status/queued/";
const RUNNING: &str = "/task/status/running/";
const OFFERED: &str = "/task/status/offered/";
const STATUS: &str = "/task/status/";
const NODE: &str = "/node/";
const IMAGE: &str = "/image/";
const CLOCK: &str = "/clock";
const LOCK: &str = "/lock/";
const LOCK_NODE: &str = "/lock/node/";
const LOCK_QUEUE: &str = "/lock/queue";
const RESERVE: &str = "/policy/reserve";
const DURATION: &str = "/duration/";
const GANG: &str = "/gang/";
/// A node's name has so many bytes at most (`shoald --name`).
pub const NODE_NAME_BYTES_MAX: usize = 64;
/// Named in transactions and never written; see [`crate::moves::batch`].
pub const NEVER_WRITTEN: &str = "/never-written";
const EPOCH_DIGITS: usize = 12;
const EPOCH_MAX: u64 = 999_999_999_999;

/// Seconds since 1970 at which a task ended, in the fixed width that keys need. Serves retention alone, never order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// Seconds since 1970; what does not fit twelve digits becomes the highest that does.
    pub fn new(seconds: u64) -> Epoch {
        Epoch(seconds.min(EPOCH_MAX))
    }
    /// The second in which `at` lies; times before 1970 become 0.
    pub fn of(at: WallMs) -> Epoch {
        Epoch::new(u64::try_from(at.0 / 1000).unwrap_or(0))
    }
    /// Seconds since 1970.
    pub fn seconds(self) -> u64 {
        self.0
    }
}

/// Which end a task came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndKind {
    /// Its process ended by itself.
    Complete,
    /// Somebody asked for its end.
    Canceled,
    /// The infrastructure, or a limit, ended it.
    Failed,
}

impl EndKind {
    /// All of them.
    pub const ALL: [EndKind; 3] = [EndKind::Complete, EndKind::Canceled, EndKind::Failed];

    fn word(self) -> &'static str {
        match self {
            EndKind::Complete => "complete",
            EndKind::Canceled => "canceled",
            EndKind::Failed => "failed",
        }
    }
    fn of_word(word: &str) -> Option<EndKind> {
        EndKind::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// A key of the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// `/task/UUID`: the task's record.
    Task(TaskId),
    /// `/task/status/queued/UUID`: the task waits.
    Queued(TaskId),
    /// `/task/status/running/NODE/UUID`: the node has the task.
    Running(NodeId, TaskId),
    /// `/task/status/offered/UUID/NODE`: the node keeps room for the queued task of several nodes; attached to the node's lease.
    Offered(TaskId, NodeId),
    /// `/task/status/{complete,canceled,failed}/EPOCH/UUID`: the task has ended.
    Ended(EndKind, Epoch, TaskId),
    /// `/node/NODE`: the node lives; attached to its lease.
    Node(NodeId),
    /// `/image/DIGEST`: an image that was imported.
    Image(Digest),
    /// `/clock`: the cluster's time.
    Clock,
    /// `/lock/node/NAME`, `/lock/queue`: somebody keeps it from taking tasks.
    Lock(Lockable),
    /// `/policy/reserve`: so many nodes are kept for people.
    Reserve,
    /// `/duration/NAME`: how long tasks of this name take. The name is not empty.
    Duration(String),
    /// `/gang/UUID/ATTEMPT`: this attempt of a task of several nodes is the one that runs.
    Gang(TaskId, u32),
    /// `/gang/UUID/ATTEMPT/KEY`: what a member has told the others. The key is one ([`is_key`]).
    GangKey(TaskId, u32, String),
}

/// The text is no key of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a key of Shoal: {text:?}: {why}")]
pub struct BadKey {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Key {
    /// The status keys that `task` has in its present state: one, or one for each node that it still runs on.
    pub fn statuses_of(task: &Task) -> Vec<Key> {
        let ended = |kind| vec![Key::Ended(kind, Epoch::of(task.ended.unwrap_or(task.submitted)), task.id)];
        match &task.state {
            TaskState::Queued => vec![Key::Queued(task.id)],
            TaskState::Running { .. } => {
                task.live_nodes().into_iter().map(|node| Key::Running(node, task.id)).collect()
            }
            TaskState::Complete { .. } => ended(EndKind::Complete),
            TaskState::Canceled { .. } => ended(EndKind::Canceled),
            TaskState::Failed { .. } => ended(EndKind::Failed),
        }
    }

    /// The task that the key is about; `None` for all that are about something else.
    pub fn task(&self) -> Option<TaskId> {
        match self {
            Key::Task(task) | Key::Queued(task) | Key::Running(_, task) => Some(*task),
            Key::Offered(task, _) | Key::Ended(_, _, task) => Some(*task),
            Key::Gang(task, _) | Key::GangKey(task, _, _) => Some(*task),
            Key::Node(_) | Key::Image(_) | Key::Clock | Key::Lock(_) => None,
            Key::Reserve | Key::Duration(_) => None,
        }
    }

    /// Reads a key.
    pub fn parse(text: &str) -> Result<Key, BadKey> {
        parse(text).map_err(|why| BadKey { text: text.to_owned(), why })
    }
}

fn parse(text: &str) -> Result<Key, &'static str> {
    if let Some(id) = text.strip_prefix(NODE) {
        return Ok(Key::Node(NodeId(id_of(id)?)));
    }
    if let Some(digest) = text.strip_prefix(IMAGE) {
        return digest.parse().map(Key::Image).map_err(|_| "not a digest");
    }
    if text == LOCK_QUEUE {
        return Ok(Key::Lock(Lockable::Queue));
    }
    if let Some(name) = text.strip_prefix(LOCK_NODE) {
        return if is_node_name(name) {
            Ok(Key::Lock(Lockable::Node(name.to_owned())))
        } else {
            Err("not a node's name")
        };
    }
    if let Some(name) = text.strip_prefix(DURATION) {
        let name = unescaped(name).filter(|name| !name.is_empty());
        return name.map(Key::Duration).ok_or("not an escaped name");
    }
    if let Some(gang) = text.strip_prefix(GANG) {
        return gang_of(gang);
    }
    if text == RESERVE {
        return Ok(Key::Reserve);
    }
    if text == CLOCK {
        return Ok(Key::Clock);
    }
    let Some(status) = text.strip_prefix(STATUS) else {
        let id = text.strip_prefix(TASK).ok_or("unknown prefix")?;
        return Ok(Key::Task(TaskId(id_of(id)?)));
    };
    let (kind, rest) = status.split_once('/').ok_or("no status")?;
    match kind {
        "queued" => Ok(Key::Queued(TaskId(id_of(rest)?))),
        "running" => {
            let (node, task) = rest.split_once('/').ok_or("no node")?;
            Ok(Key::Running(NodeId(id_of(node)?), TaskId(id_of(task)?)))
        }
        "offered" => {
            let (task, node) = rest.split_once('/').ok_or("no node")?;
            Ok(Key::Offered(TaskId(id_of(task)?), NodeId(id_of(node)?)))
        }
        word => {
            let kind = EndKind::of_word(word).ok_or("unknown status")?;
            let (epoch, task) = rest.split_once('/').ok_or("no epoch")?;
            Ok(Key::Ended(kind, epoch_of(epoch)?, TaskId(id_of(task)?)))
        }
    }
}

fn gang_of(text: &str) -> Result<Key, &'static str> {
    let (task, rest) = text.split_once('/').ok_or("no attempt")?;
    let task = TaskId(id_of(task)?);
    match rest.split_once('/') {
        None => Ok(Key::Gang(task, attempt_of(rest)?)),
        Some((attempt, key)) if is_key(key) => Ok(Key::GangKey(task, attempt_of(attempt)?, key.to_owned())),
        Some(_) => Err("not a key of a gang"),
    }
}

/// The one form of each number, without zeros before it.
fn attempt_of(text: &str) -> Result<u32, &'static str> {
    let number: u32 = text.parse().map_err(|_| "not an attempt's number")?;
    if number.to_string() == text { Ok(number) } else { Err("not an attempt's number") }
}

/// What a node may be called: 1 to 64 letters, digits, `.`, `_` or `-`.
pub fn is_node_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=NODE_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

/// Only the form that `Display` writes: the others that the uuid crate reads would give one key several texts.
fn id_of(text: &str) -> Result<Uuid, &'static str> {
    let id = Uuid::from_str(text).map_err(|_| "not a UUID")?;
    let mut canonical = Uuid::encode_buffer();
    if *text == *id.hyphenated().encode_lower(&mut canonical) { Ok(id) } else { Err("not a canonical UUID") }
}

fn epoch_of(text: &str) -> Result<Epoch, &'static str> {
    if text.len() != EPOCH_DIGITS || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("an epoch is twelve digits");
    }
    text.parse().map(Epoch::new).map_err(|_| "an epoch is twelve digits")
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Task(task) => write!(f, "{TASK}{task}"),
            Key::Queued(task) => write!(f, "{QUEUED}{task}"),
            Key::Running(node, task) => write!(f, "{RUNNING}{node}/{task}"),
            Key::Offered(task, node) => write!(f, "{OFFERED}{task}/{node}"),
            Key::Ended(kind, epoch, task) => {
                write!(f, "{STATUS}{}/{:0EPOCH_DIGITS$}/{task}", kind.word(), epoch.0)
            }
            Key::Node(node) => write!(f, "{NODE}{node}"),
            Key::Image(digest) => write!(f, "{IMAGE}{digest}"),
            Key::Clock => f.write_str(CLOCK),
            Key::Lock(Lockable::Queue) => f.write_str(LOCK_QUEUE),
            Key::Lock(Lockable::Node(name)) => write!(f, "{LOCK_NODE}{name}"),
            Key::Reserve => f.write_str(RESERVE),
            Key::Duration(name) => write!(f, "{DURATION}{}", Escaped(name)),
            Key::Gang(task, attempt) => write!(f, "{GANG}{task}/{attempt}"),
            Key::GangKey(task, attempt, key) => write!(f, "{GANG}{task}/{attempt}/{key}"),
        }
    }
}

/// All task records and no status key: UUIDs begin with a hexadecimal digit, `status` sorts behind them.
pub fn records() -> KeyRange {
    KeyRange { start: format!("{TASK}0"), end: format!("{TASK}g") }
}

/// All status keys.
pub fn statuses() -> KeyRange {
    KeyRange::prefix(STATUS)
}

/// The queue.
pub fn queued() -> KeyRange {
    KeyRange::prefix(QUEUED)
}

/// All running tasks.
pub fn running() -> KeyRange {
    KeyRange::prefix(RUNNING)
}

/// The running tasks of one node.
pub fn running_of(node: NodeId) -> KeyRange {
    KeyRange::prefix(&format!("{RUNNING}{node}/"))
}

/// The offers to one task.
pub fn offers_to(task: TaskId) -> KeyRange {
    KeyRange::prefix(&format!("{OFFERED}{task}/"))
}

/// The tasks that ended so.
pub fn ended(kind: EndKind) -> KeyRange {
    KeyRange::prefix(&format!("{STATUS}{}/", kind.word()))
}

/// The tasks that ended so before `before`: what retention may delete.
pub fn ended_before(kind: EndKind, before: Epoch) -> KeyRange {
    let start = format!("{STATUS}{}/", kind.word());
    let end = format!("{start}{:0EPOCH_DIGITS$}", before.0);
    KeyRange { start, end }
}

/// All images.
pub fn images() -> KeyRange {
    KeyRange::prefix(IMAGE)
}

/// All nodes.
pub fn nodes() -> KeyRange {
    KeyRange::prefix(NODE)
}

/// The clock, which is one key.
pub fn clock() -> KeyRange {
    KeyRange { start: CLOCK.to_owned(), end: format!("{CLOCK}\0") }
}

/// All locks.
pub fn locks() -> KeyRange {
    KeyRange::prefix(LOCK)
}

/// How many nodes are kept for people, which is one key.
pub fn reserve() -> KeyRange {
    KeyRange { start: RESERVE.to_owned(), end: format!("{RESERVE}\0") }
}

/// What stands in the store of gangs that run.
pub fn gangs() -> KeyRange {
    KeyRange::prefix(GANG)
}

/// The same of one task, whichever of its attempts runs.
pub fn gang_of_task(task: TaskId) -> KeyRange {
    KeyRange::prefix(&format!("{GANG}{task}/"))
}

/// What the members of one attempt have told each other.
pub fn gang_keys(task: TaskId, attempt: u32) -> KeyRange {
    KeyRange::prefix(&format!("{GANG}{task}/{attempt}/"))
}

/// All that was learned of durations.
pub fn durations() -> KeyRange {
    KeyRange::prefix(DURATION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_key() -> impl Strategy<Value = Key> {
        let id = any::<u128>().prop_map(Uuid::from_u128);
        let name = ".{1,40}";
        (0..14u8, id.clone(), id, 0..3usize, any::<u64>(), name).prop_map(
            |(which, a, b, kind, epoch, name)| match which {
                0 => Key::Task(TaskId(a)),
                1 => Key::Queued(TaskId(a)),
                2 => Key::Running(NodeId(a), TaskId(b)),
                3 => Key::Ended(EndKind::ALL[kind], Epoch::new(epoch), TaskId(a)),
                4 => Key::Node(NodeId(a)),
                5 => Key::Clock,
                6 => Key::Lock(Lockable::Queue),
                7 => Key::Lock(Lockable::Node(format!("n{}", a.simple()))),
                8 => Key::Duration(name),
                9 => Key::Offered(TaskId(a), NodeId(b)),
                10 => Key::Reserve,
                11 => Key::Gang(TaskId(a), kind as u32),
                12 => Key::GangKey(TaskId(a), kind as u32, format!("k.{epoch}")),
                _ => Key::Image(Digest::new([a.into_bytes(), b.into_bytes()].concat().try_into().unwrap())),
            },
        )
    }

    proptest! {
        #[test]
        fn every_key_round_trips_and_lies_in_its_ranges_only(key in any_key()) {
            let text = key.to_string();
            prop_assert_eq!(&Key::parse(&text).unwrap(), &key);
            let is_status = matches!(key, Key::Queued(_) | Key::Running(..) | Key::Offered(..) | Key::Ended(..));
            prop_assert_eq!(statuses().contains(&text), is_status);
            prop_assert_eq!(records().contains(&text), matches!(key, Key::Task(_)));
            prop_assert_eq!(queued().contains(&text), matches!(key, Key::Queued(_)));
            prop_assert_eq!(running().contains(&text), matches!(key, Key::Running(..)));
            prop_assert_eq!(nodes().contains(&text), matches!(key, Key::Node(_)));
            prop_assert_eq!(images().contains(&text), matches!(key, Key::Image(_)));
            prop_assert_eq!(clock().contains(&text), key == Key::Clock);
            prop_assert_eq!(locks().contains(&text), matches!(key, Key::Lock(_)));
            prop_assert_eq!(reserve().contains(&text), key == Key::Reserve);
            prop_assert_eq!(durations().contains(&text), matches!(key, Key::Duration(_)));
            prop_assert_eq!(gangs().contains(&text), matches!(key, Key::Gang(..) | Key::GangKey(..)));
            if let Key::Gang(task, attempt) = key {
                prop_assert!(gang_of_task(task).contains(&text) && !gang_keys(task, attempt).contains(&text));
            }
            if let Key::GangKey(task, attempt, _) = key {
                prop_assert!(gang_of_task(task).contains(&text) && gang_keys(task, attempt).contains(&text));
                prop_assert!(!gang_keys(task, attempt + 10).contains(&text));
            }
            if let Key::Running(node, _) = key {
                prop_assert!(running_of(node).contains(&text));
            }
            if let Key::Offered(task, _) = key {
                prop_assert!(offers_to(task).contains(&text));
            }
            for kind in EndKind::ALL {
                prop_assert_eq!(ended(kind).contains(&text), matches!(key, Key::Ended(k, ..) if k == kind));
            }
        }

        #[test]
        fn hostile_text_is_an_error_or_reads_back_the_same(text in "(/task/|/node/|/clock|/gang/|/lock/node/|/duration/|/task/status/)?.{0,90}") {
            if let Ok(key) = Key::parse(&text) {
                prop_assert_eq!(key.to_string(), text);
            }
        }

        #[test]
        fn damaged_keys_are_errors_or_other_keys(key in any_key(), at in any::<prop::sample::Index>(), with in any::<char>()) {
            let mut chars: Vec<char> = key.to_string().chars().collect();
            let at = at.index(chars.len());
            chars[at] = with;
            let text: String = chars.into_iter().collect();
            if let Ok(other) = Key::parse(&text) {
                prop_assert_eq!(other.to_string(), text);
            }
        }
    }

    #[test]
    fn other_spellings_of_an_id_are_no_keys() {
        let id = "0192d000-0000-7000-8000-00000000000a";
        assert!(Key::parse(&format!("/task/{id}")).is_ok());
        for bad in [
            format!("/task/{}", id.to_uppercase()),
            format!("/task/{{{id}}}"),
            format!("/task/urn:uuid:{id}"),
            format!("/task/{}", id.replace('-', "")),
            format!("/task/{id}/"),
            format!("/task//{id}"),
            format!("/task/status/complete/1/{id}"),
            format!("/task/status/complete/+00000000001/{id}"),
            format!("/task/status/lost/000000000001/{id}"),
            format!("/task/status/running/{id}"),
            "/lock/node/".to_owned(),
            "/lock/node/a/b".to_owned(),
            format!("/lock/node/{}", "n".repeat(65)),
            format!("/gang/{id}"),
            format!("/gang/{id}/"),
            format!("/gang/{id}/01"),
            format!("/gang/{id}/+1"),
            format!("/gang/{id}/1/"),
            format!("/gang/{id}/1/.hidden"),
            format!("/gang/{id}/1/a/b"),
            format!("/gang/{id}/1/{}", "k".repeat(65)),
            "/policy/".to_owned(),
            "/policy/reserve/".to_owned(),
            "/duration/".to_owned(),
            "/duration/a%2Fb".to_owned(),
            "/duration/a%2".to_owned(),
            "/duration/a%c3%bc".to_owned(),
            "/duration/%FF".to_owned(),
            "/duration/a b".to_owned(),
            "/task/".to_owned(),
            "/task/status/".to_owned(),
            String::new(),
        ] {
            assert!(Key::parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn retention_takes_what_ended_before_and_no_more() {
        let key = |epoch| Key::Ended(EndKind::Failed, Epoch::new(epoch), TaskId(Uuid::nil())).to_string();
        let range = ended_before(EndKind::Failed, Epoch::new(100));
        assert!(range.contains(&key(0)) && range.contains(&key(99)));
        assert!(!range.contains(&key(100)) && !range.contains(&key(u64::MAX)));
    }

    #[test]
    fn a_clock_before_1970_gives_epoch_zero() {
        assert_eq!(Epoch::of(WallMs(-5_000)).seconds(), 0);
        assert_eq!(Epoch::of(WallMs(1_999)).seconds(), 1);
    }
}
