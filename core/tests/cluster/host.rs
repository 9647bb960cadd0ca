//! A machine: its server (a [`Node`], when it is up) and its runner with containers that outlive the server but not the deadline.

use shoal_core::event::Event;
use shoal_core::features::Features;
use shoal_core::id::{AttemptId, NodeId};
use shoal_core::node::{Node, NodeConfig};
use shoal_core::resources::Resources;
use shoal_core::transition::Outcome;
use std::collections::{BTreeMap, VecDeque};

use crate::store::RANGES;

#[derive(Clone, Debug, PartialEq)]
pub enum Life {
    /// Being set up: holds capacity, has executed nothing.
    Setup,
    /// Its program runs.
    Alive,
    /// Ended and not yet forgotten.
    Ended(Outcome),
}

pub struct Container {
    pub life: Life,
    pub resources: Resources,
    pub stopping: bool,
}

/// The lease as the host knows it.
pub struct Lease {
    pub node: NodeId,
    pub created: i64,
    /// No container of the host lives past this.
    pub deadline: u64,
}

pub struct Host {
    pub name: String,
    pub capacity: Resources,
    /// What its operator lets tasks have.
    pub offers: Features,
    pub server: Option<Node>,
    /// Which life of the server this is: what was meant for an earlier one is thrown away.
    pub life: u64,
    /// Which watch is open.
    pub watch: u64,
    pub seen: [usize; RANGES],
    pub lease: Option<Lease>,
    pub containers: BTreeMap<AttemptId, Container>,
    /// The server takes no step before then.
    pub frozen_until: u64,
    /// A frozen server whose renewals go on all the same.
    pub renews_while_frozen: bool,
    /// The store is out of reach until then.
    pub cut_until: u64,
    pub backlog: VecDeque<Event>,
    pub wake: Option<u64>,
    /// The last fault it met ends, or has ended, then.
    pub trouble: u64,
    pub ticks: u64,
}

impl Host {
    pub fn new(number: usize, capacity: Resources, offers: Features) -> Host {
        Host {
            name: format!("n{number}"),
            capacity,
            offers,
            server: None,
            life: 0,
            watch: 0,
            seen: [0; RANGES],
            lease: None,
            containers: BTreeMap::new(),
            frozen_until: 0,
            renews_while_frozen: false,
            cut_until: 0,
            backlog: VecDeque::new(),
            wake: None,
            trouble: 0,
            ticks: 0,
        }
    }

    pub fn new_server(&self) -> Node {
        Node::new(NodeConfig { name: self.name.clone(), requeue_wait_ms: 0, requeue_stagger_ms: 300 })
    }

    /// What its containers hold.
    pub fn held(&self) -> Resources {
        let live = self.containers.values().filter(|c| matches!(c.life, Life::Setup | Life::Alive));
        live.fold(Resources::default(), |sum, c| sum.plus(&c.resources))
    }
}
