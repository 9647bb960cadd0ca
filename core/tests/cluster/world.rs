//! The world: hosts over one store, and a queue of what happens next. Everything random comes from one seed.

use crate::Plant;
use crate::host::{Container, Host, Life};
use crate::store::{RANGES, Store};
use crate::support::{Rng, cores};
use crate::witness::Witness;
use shoal_core::amount::Amount;
use shoal_core::clock::Tick;
use shoal_core::event::{Action, Decision, Event};
use shoal_core::features::{Features, GANGS, NET_HOST};
use shoal_core::id::{AttemptId, NodeId, TaskId};
use shoal_core::task::Task;
use shoal_core::time::BootMs;
use shoal_core::transition::{Outcome, Transition};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

pub enum Happening {
    /// Something for the server of this life.
    Arrive { host: usize, life: u64, event: Event },
    /// A proposal reaches the store.
    Apply { host: usize, life: u64, task: TaskId, transition: Transition },
    /// A step of the clock reaches the store.
    Advance { host: usize, to: Tick, after: i64 },
    /// An offer reaches the store.
    Offer { host: usize, life: u64, task: TaskId, node: NodeId, of: (u32, Amount, i64) },
    /// The end of an offer reaches the store.
    Withdraw { host: usize, life: u64, task: TaskId, node: NodeId },
    /// A read of a record reaches the store.
    Read { host: usize, life: u64, task: TaskId },
    /// The watch delivers what has gathered in a range.
    Poll { host: usize, watch: u64, range: usize },
    /// The server lists everything and watches from there.
    List { host: usize, watch: u64 },
    /// A container that was set up executes its program.
    Execute { host: usize, id: AttemptId },
    /// A program ends by itself or is killed.
    Exit { host: usize, id: AttemptId, outcome: Outcome },
    /// A timer that the node asked for.
    Tick { host: usize, life: u64, at: u64 },
    /// Time to renew the lease.
    Renew { host: usize },
    /// The containers' deadline, as it was when this was scheduled.
    Deadline { host: usize, node: NodeId },
    /// The lease's end, as it was when this was scheduled.
    Expire { node: NodeId },
    /// A server starts, with the identity on its disk if that still holds.
    Boot { host: usize, life: u64 },
    /// A server takes a new identity.
    Register { host: usize, life: u64 },
    /// A frozen server goes on.
    Thaw { host: usize },
    /// The next fault.
    Fault,
    /// The next tasks.
    Submit,
}

pub struct World {
    pub rng: Rng,
    pub now: u64,
    pub plant: Plant,
    pub store: Store,
    pub hosts: Vec<Host>,
    pub leases: BTreeMap<NodeId, u64>,
    pub witness: Witness,
    pub to_submit: u64,
    pub proposals: u64,
    pub steps: u64,
    pub ids: u64,
    pub violation: Option<String>,
    future: BinaryHeap<Reverse<(u64, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    made: u64,
}

impl World {
    pub fn new(seed: u64, plant: Plant) -> World {
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5ca1ab1e);
        let count = rng.within(1, 5) as usize;
        // The first offers all that tasks may need, so that none waits for ever.
        let offers = |rng: &mut Rng, n| match n == 0 || rng.chance(50) {
            true => Features { has: [NET_HOST, GANGS].map(str::to_owned).into(), ..Features::default() },
            false => Features { has: [GANGS.to_owned()].into(), ..Features::default() },
        };
        let host = |n| Host::new(n, cores(rng.within(2, 6) as u32), offers(&mut rng, n));
        let hosts = (0..count).map(host).collect();
        let mut world = World {
            now: 0,
            plant,
            store: Store::new(plant),
            hosts,
            leases: BTreeMap::new(),
            witness: Witness::default(),
            to_submit: rng.within(10, 60),
            proposals: 0,
            steps: 0,
            ids: 0,
            violation: None,
            future: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            made: 0,
            rng,
        };
        for host in 0..count {
            let after = world.rng.within(0, 300);
            world.after(after, Happening::Boot { host, life: 0 });
            world.after(0, Happening::Renew { host });
        }
        world.after(50, Happening::Submit);
        world.after(400, Happening::Fault);
        world
    }

    pub fn after(&mut self, delay: u64, happening: Happening) {
        self.made += 1;
        self.future.push(Reverse((self.now + delay, self.made)));
        self.happenings.insert(self.made, happening);
    }

    /// The next happening; `None` when nothing will ever happen again.
    pub fn next(&mut self) -> Option<Happening> {
        let Reverse((at, number)) = self.future.pop()?;
        self.now = at;
        self.happenings.remove(&number)
    }

    pub fn check(&mut self, result: Result<(), String>) {
        if let Err(broken) = result {
            self.violation.get_or_insert(broken);
        }
    }

    pub fn is_cut(&self, host: usize) -> bool {
        self.hosts[host].cut_until > self.now
    }

    /// A short delay, or the rest of a cut and a short delay.
    pub fn reach(&mut self, host: usize) -> u64 {
        self.hosts[host].cut_until.saturating_sub(self.now) + self.rng.within(1, 20)
    }

    /// Writes go through here, so that every watch hears of them and the witness judges them.
    pub fn wrote(&mut self, written: Option<Task>) {
        if let Some(task) = written {
            let judged = self.witness.recorded(&task);
            self.check(judged);
        }
        for host in 0..self.hosts.len() {
            for range in 0..RANGES {
                let delay = if self.rng.chance(3) { 900 } else { 60 };
                let delay = self.rng.within(0, delay);
                self.after(delay, Happening::Poll { host, watch: self.hosts[host].watch, range });
            }
        }
    }

    pub fn propose(&mut self, task: TaskId, transition: &Transition) -> Decision {
        match self.store.propose(task, transition) {
            Ok(decision) => {
                if let Decision::Committed { task, .. } = &decision {
                    self.wrote(Some((**task).clone()));
                }
                decision
            }
            Err(broken) => {
                self.check(Err(broken));
                Decision::Refused { runs_here: false }
            }
        }
    }

    /// Gives the server an event, now or when it thaws.
    pub fn tell(&mut self, host: usize, event: Event) {
        self.hosts[host].backlog.push_back(event);
        self.thaw(host);
    }

    /// The server hears what has gathered for it, then decides once.
    pub fn thaw(&mut self, host: usize) {
        if self.hosts[host].frozen_until > self.now {
            return;
        }
        let now = BootMs(self.now);
        let events = std::mem::take(&mut self.hosts[host].backlog);
        let Some(server) = self.hosts[host].server.as_mut().filter(|_| !events.is_empty()) else { return };
        let mut actions = Vec::new();
        for event in events {
            server.hear(now, event, &mut actions);
        }
        server.decide(now, &mut actions);
        self.steps += 1;
        self.hosts[host].wake = None;
        for action in actions {
            self.act(host, action);
        }
        self.plant_greed(host);
    }

    /// The planted bug: a steal with no thought of capacity.
    fn plant_greed(&mut self, host: usize) {
        let Some(server) = self.hosts[host].server.as_ref().filter(|_| self.plant == Plant::Greed) else {
            return;
        };
        let Some((node, _)) = server.identity() else { return };
        let Some(task) = server.view().all_queued().next().map(|(task, _)| task) else { return };
        let (tick, members) = (Tick(0), Vec::new());
        let steal = Transition::Steal { node, node_name: "greedy".to_owned(), tick, members };
        self.propose(task, &steal);
    }

    fn act(&mut self, host: usize, action: Action) {
        let life = self.hosts[host].life;
        match action {
            Action::Propose { task, transition } => {
                self.proposals += 1;
                if let (Transition::Lose { attempt: number, node: of }, Some(lease)) =
                    (&transition, &self.hosts[host].lease)
                {
                    let id = AttemptId { task, number: *number };
                    let by = lease.node;
                    let life_judged = self.witness.requeue_proposed((by, life), id, *of, self.now);
                    self.check(life_judged);
                }
                let delay = self.reach(host);
                self.after(delay, Happening::Apply { host, life, task, transition });
            }
            Action::Offer { task, attempt, amount, created, node } => {
                let delay = self.reach(host);
                self.after(
                    delay,
                    Happening::Offer { host, life, task, node, of: (attempt, amount, created) },
                );
            }
            Action::Withdraw { task, node } => {
                let mut delay = self.reach(host);
                if self.plant == Plant::HastyWithdrawal {
                    self.after(1, Happening::Arrive { host, life, event: Event::OfferGone { task, node } });
                    delay += 200;
                }
                self.after(delay, Happening::Withdraw { host, life, task, node });
            }
            Action::Claim(task) => {
                let delay = self.reach(host);
                self.after(delay, Happening::Read { host, life, task });
            }
            Action::Advance { to, after, .. } => {
                let delay = self.reach(host);
                self.after(delay, Happening::Advance { host, to, after });
            }
            Action::Start(task) => self.start(host, &task),
            Action::Stop { attempt, grace_ms } => self.stop(host, attempt, grace_ms),
            Action::Release(attempt) => self.release(host, attempt),
            // No container of this model survives its kill.
            Action::Unfit(_) | Action::LockSeen(_) => {}
            Action::Fence(node) => self.fence(host, node),
            Action::WakeAt(at) => {
                if at.0 <= self.now {
                    self.check(Err(format!("busy loop: WakeAt {} at {}", at.0, self.now)));
                    return;
                }
                self.hosts[host].wake = Some(at.0);
                self.after(at.0 - self.now, Happening::Tick { host, life, at: at.0 });
            }
        }
    }

    fn start(&mut self, host: usize, task: &Task) {
        let id = task.attempt_id();
        if self.hosts[host].containers.contains_key(&id) {
            return self.check(Err(format!("started twice: the runner knows {id}")));
        }
        let container = Container { life: Life::Setup, resources: task.spec.resources, stopping: false };
        self.hosts[host].containers.insert(id, container);
        let (held, capacity) = (self.hosts[host].held(), self.hosts[host].capacity);
        if !capacity.fits(&held) {
            self.check(Err(format!("capacity: {} holds {held} of {capacity}", self.hosts[host].name)));
        }
        let needs = Features::needed_by(&task.spec);
        let lack = self.hosts[host].offers.lacks(&needs).next();
        if let Some(lack) = lack {
            self.check(Err(format!("needs: {id} starts on {}, which {lack}", self.hosts[host].name)));
        }
        let delay = self.rng.within(0, 30);
        self.after(delay, Happening::Execute { host, id });
    }

    fn stop(&mut self, host: usize, id: AttemptId, grace_ms: u64) {
        let delay = self.rng.within(0, grace_ms);
        let Some(container) = self.hosts[host].containers.get_mut(&id) else { return };
        container.stopping = true;
        if container.life == Life::Alive {
            self.after(delay, Happening::Exit { host, id, outcome: crate::killed() });
        }
    }

    fn release(&mut self, host: usize, id: AttemptId) {
        let Some(container) = self.hosts[host].containers.remove(&id) else { return };
        if !matches!(container.life, Life::Ended(_)) {
            self.check(Err(format!("{id} is released and lives")));
        }
    }

    fn fence(&mut self, host: usize, node: NodeId) {
        self.kill_all(host, true);
        self.hosts[host].lease = None;
        if self.rng.chance(50) && !self.is_cut(host) {
            self.leases.remove(&node);
            self.store.unregister(node);
            self.wrote(None);
        }
        let (life, delay) = (self.hosts[host].life, self.reach(host));
        self.after(delay, Happening::Register { host, life });
    }

    /// Ends every container of the host; kept until forgotten, or forgotten with it.
    pub fn kill_all(&mut self, host: usize, keep: bool) {
        let ids: Vec<AttemptId> = self.hosts[host].containers.keys().copied().collect();
        for id in ids {
            if keep {
                self.ended(host, id, Outcome::Vanished("its deadline passed".to_owned()));
            } else {
                self.witness.dead(id, host, None);
                self.hosts[host].containers.remove(&id);
            }
        }
    }

    /// A container ends: its outcome is on disk, the server hears of it if there is one.
    pub fn ended(&mut self, host: usize, id: AttemptId, outcome: Outcome) {
        let Some(container) = self.hosts[host].containers.get_mut(&id) else { return };
        if matches!(container.life, Life::Ended(_)) {
            return;
        }
        container.life = Life::Ended(outcome.clone());
        self.witness.dead(id, host, Some(&outcome));
        let life = self.hosts[host].life;
        self.after(1, Happening::Arrive { host, life, event: Event::Ended { attempt: id, outcome } });
    }
}
