//! What nodes do not offer alike: labels, the host's network, named mounts, more than the usual of a limit. A task *needs* some, a node *offers* some; a task
//! runs only where every need is met.
//!
//! Persisted in queue and node entries. Words and numbers are open lists, not an enum, so that a need of a newer version is one that an older node
//! does not offer, instead of one that it overlooks.

use crate::image;
use crate::spec::{Net, TaskSpec};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The host's own network.
pub const NET_HOST: &str = "net:host";
/// Imported images as roots.
pub const IMAGES: &str = "images";
/// Being one of the nodes of a task that takes several.
pub const GANGS: &str = "gangs";
/// What is counted ([`crate::counts`]), and nodes for oneself.
pub const COUNTS: &str = "counts";
/// What the word for a mount begins with; its name follows.
const MOUNT: &str = "mount:";
/// What the word for a label begins with; the label follows.
const LABEL: &str = "label:";
/// Characters of a label.
pub const LABEL_CHARS_MAX: usize = 64;
/// Processes and threads at once.
pub const PIDS: &str = "pids";
/// Open files of a process.
pub const OPEN_FILES: &str = "open_files";
/// Bytes kept of an attempt's log.
pub const LOG_BYTES: &str = "log_bytes";

/// Every node lets a task have so many processes and threads.
pub const PIDS_USUAL: u32 = 1024;
/// Every node lets each process of a task have so many open files.
pub const OPEN_FILES_USUAL: u32 = 1024;

/// The word for a directory that nodes' operators show to tasks under `name`.
pub fn mount(name: &str) -> String {
    format!("{MOUNT}{name}")
}

/// The word for a label that operators have given to nodes: a machine's type, its rack, a lab.
pub fn label(label: &str) -> String {
    format!("{LABEL}{label}")
}

/// Whether it is a label: `NAME` or `NAME=VALUE`, of letters, digits, `.`, `_` and `-`.
pub fn is_label(text: &str) -> bool {
    let (name, value) = text.split_once('=').unwrap_or((text, "x"));
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    text.len() <= LABEL_CHARS_MAX && part(name) && part(value)
}

/// What a task needs, or what a node offers.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Features {
    /// Words: `net:host`, `mount:NAME`, `label:LABEL`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub has: BTreeSet<String>,
    /// Numbers, by [`PIDS`] and its like: how much a task asks for, how much a node gives at most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub up_to: BTreeMap<String, u64>,
}

/// One need that an offer does not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// The word is not offered.
    Word(String),
    /// Less is offered.
    Amount {
        /// Of what.
        what: String,
        /// What the task needs.
        asked: u64,
        /// What is offered at most; `None` when the node knows no such limit.
        most: Option<u64>,
    },
}

impl Features {
    /// Nothing that some node might not offer.
    pub fn is_empty(&self) -> bool {
        self.has.is_empty() && self.up_to.is_empty()
    }

    /// What a task needs beside room and a root. What every node gives is not listed, so that ordinary entries stay small.
    pub fn needed_by(spec: &TaskSpec) -> Features {
        let host_net = (spec.net == Net::Host).then(|| NET_HOST.to_owned());
        let images = image::is_image(&spec.root).then(|| IMAGES.to_owned());
        let mounts = spec.mounts.iter().map(|asked| mount(&asked.name));
        let labels = spec.labels.iter().map(|asked| label(asked));
        // An older node would take such a task for one of one node, or overlook what it counts.
        let gangs = (!spec.parts.is_empty()).then(|| GANGS.to_owned());
        let counts = (spec.exclusive || !spec.counts.is_empty()).then(|| COUNTS.to_owned());
        let amounts = [
            (PIDS, u64::from(spec.pids_max), u64::from(PIDS_USUAL)),
            (OPEN_FILES, u64::from(spec.open_files_max), u64::from(OPEN_FILES_USUAL)),
            // How much of a log is kept has no usual: an operator may keep less than the default.
            (LOG_BYTES, spec.log_bytes_max, 0),
        ];
        let above = amounts.into_iter().filter(|(_, asked, usual)| asked > usual);
        Features {
            has: host_net
                .into_iter()
                .chain(images)
                .chain(mounts)
                .chain(labels)
                .chain(gangs)
                .chain(counts)
                .collect(),
            up_to: above.map(|(what, asked, _)| (what.to_owned(), asked)).collect(),
        }
    }

    /// These and those; of a number, the greater.
    pub fn and(&self, more: &Features) -> Features {
        Features::of_any([self, more])
    }

    /// What at least one of these offers: what it lacks, nobody has.
    pub fn of_any<'a>(offers: impl IntoIterator<Item = &'a Features>) -> Features {
        let mut any = Features::default();
        for offer in offers {
            any.has.extend(offer.has.iter().cloned());
            for (what, most) in &offer.up_to {
                let best = any.up_to.entry(what.clone()).or_default();
                *best = (*best).max(*most);
            }
        }
        any
    }

    /// The names of the mounts among the words, in order.
    pub fn mounts(&self) -> impl Iterator<Item = &str> {
        self.has.iter().filter_map(|word| word.strip_prefix(MOUNT))
    }

    /// The labels among the words, in order.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.has.iter().filter_map(|word| word.strip_prefix(LABEL))
    }

    /// Whether this offer meets every need.
    pub fn meets(&self, needs: &Features) -> bool {
        self.lacks(needs).next().is_none()
    }

    /// The needs that this offer does not meet.
    pub fn lacks(&self, needs: &Features) -> impl Iterator<Item = Lack> {
        let words = needs.has.iter().filter(|word| !self.has.contains(*word)).cloned().map(Lack::Word);
        let amounts = needs.up_to.iter().filter_map(|(what, asked)| {
            let most = self.up_to.get(what).copied();
            let enough = most.is_some_and(|most| most >= *asked);
            (!enough).then(|| Lack::Amount { what: what.clone(), asked: *asked, most })
        });
        words.chain(amounts)
    }
}

impl Lack {
    /// The sentence about a need that no live node meets ([`Features::of_any`]).
    pub fn nowhere(&self) -> String {
        match self {
            Lack::Word(word) => format!("no live node offers {}", Offered(word)),
            Lack::Amount { what, asked, most: Some(most) } => {
                format!("no live node gives a task {asked} {}, the most is {most}", unit(what))
            }
            Lack::Amount { what, asked, most: None } => {
                format!("no live node knows of {asked} {}", unit(what))
            }
        }
    }
}

/// A word as a sentence names it.
struct Offered<'a>(&'a str);

impl fmt::Display for Offered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(label) = self.0.strip_prefix(LABEL) {
            return write!(f, "the label {label:?}");
        }
        match self.0.strip_prefix(MOUNT) {
            Some(name) => write!(f, "the mount {name:?}"),
            None if self.0 == NET_HOST => f.write_str("the host's network"),
            None if self.0 == IMAGES => f.write_str("images"),
            None if self.0 == GANGS => f.write_str("tasks of several nodes"),
            None if self.0 == COUNTS => f.write_str("counted resources and nodes for oneself"),
            None => write!(f, "{:?}", self.0),
        }
    }
}

/// What a node does not do, as the end of a sentence that begins with it.
impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lack::Word(word) => write!(f, "does not offer {}", Offered(word)),
            Lack::Amount { what, asked, most: Some(most) } => {
                write!(f, "gives a task at most {most} {}, not {asked}", unit(what))
            }
            Lack::Amount { what, asked, most: None } => {
                write!(f, "does not know of {asked} {}", unit(what))
            }
        }
    }
}

/// The words for an amount.
fn unit(what: &str) -> &str {
    match what {
        PIDS => "processes and threads",
        OPEN_FILES => "open files",
        LOG_BYTES => "bytes of log",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features<const W: usize, const N: usize>(words: [&str; W], numbers: [(&str, u64); N]) -> Features {
        Features {
            has: words.map(str::to_owned).into(),
            up_to: numbers.map(|(what, amount)| (what.to_owned(), amount)).into(),
        }
    }

    #[test]
    fn labels_are_short_words_with_or_without_a_value() {
        for good in ["gpu", "type=smithi", "rack=a-7.left", "A_1"] {
            assert!(is_label(good), "{good}");
        }
        for bad in ["", "=", "a=", "=b", "a=b=c", "a b", "a:b", "lab,x", "ä", &"x".repeat(65)] {
            assert!(!is_label(bad), "{bad}");
        }
        let offers = features(["label:type=smithi"], []);
        let needs = features(["label:type=mira"], []);
        let lacks: Vec<String> = offers.lacks(&needs).map(|lack| lack.to_string()).collect();
        assert_eq!(lacks, ["does not offer the label \"type=mira\""]);
        assert_eq!(offers.labels().collect::<Vec<_>>(), ["type=smithi"]);
    }

    #[test]
    fn every_need_must_be_met() {
        let offers = features([NET_HOST, "mount:data"], [(PIDS, 2048)]);
        assert!(offers.meets(&Features::default()));
        assert!(offers.meets(&features(["mount:data"], [(PIDS, 2048)])));
        assert!(!offers.meets(&features(["mount:data", "mount:other"], [])));
        assert!(!offers.meets(&features([], [(PIDS, 2049)])));
    }

    #[test]
    fn what_a_node_has_never_heard_of_it_does_not_offer() {
        let offers = features([], [(PIDS, 2048)]);
        let needs = features(["gpu"], [("hugepages", 1)]);
        let lacks = offers.lacks(&needs).map(|lack| lack.to_string());
        assert_eq!(lacks.collect::<Vec<_>>(), ["does not offer \"gpu\"", "does not know of 1 hugepages"]);
    }

    #[test]
    fn what_any_offers_is_all_that_some_offer() {
        let offers = [features(["mount:a"], [(PIDS, 9)]), features(["mount:b"], [(PIDS, 7), (LOG_BYTES, 1)])];
        let any = Features::of_any(&offers);
        assert_eq!(any, features(["mount:a", "mount:b"], [(PIDS, 9), (LOG_BYTES, 1)]));
        assert_eq!(any.mounts().collect::<Vec<_>>(), ["a", "b"]);
        let needs = features(["mount:c"], [(PIDS, 10)]);
        let lacks = any.lacks(&needs).map(|lack| lack.nowhere());
        assert_eq!(
            lacks.collect::<Vec<_>>(),
            [
                "no live node offers the mount \"c\"",
                "no live node gives a task 10 processes and threads, the most is 9",
            ]
        );
    }

    #[test]
    fn a_lack_is_said_with_the_limit_and_the_value() {
        let (offers, needs) =
            (features([], [(PIDS, 1024)]), features([NET_HOST, "mount:data"], [(PIDS, 4096)]));
        assert_eq!(
            offers.lacks(&needs).map(|lack| lack.to_string()).collect::<Vec<_>>(),
            [
                "does not offer the mount \"data\"",
                "does not offer the host's network",
                "gives a task at most 1024 processes and threads, not 4096",
            ]
        );
    }
}
