//! What each happening does to the world.

use crate::host::{Lease, Life};
use crate::support::{node, node_entry};
use crate::world::{Happening, World};
use crate::{LEASE_MS, Plant, faults, killed};
use shoal_core::amount::Amount;
use shoal_core::entry::OfferEntry;
use shoal_core::event::{Event, Found};
use shoal_core::features::NET_HOST;
use shoal_core::id::{AttemptId, NodeId, TaskId};
use shoal_core::spec::Unknown;
use shoal_core::task::{Exit, ExitHow};
use shoal_core::time::BootMs;
use shoal_core::transition::{Outcome, Transition};

impl World {
    pub fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrive { host, life, event } => {
                if self.hosts[host].life == life {
                    self.tell(host, event);
                }
            }
            Happening::Apply { host, life, task, transition } => self.apply(host, life, task, transition),
            Happening::Read { host, life, task } => self.read(host, life, task),
            Happening::Offer { host, life, task, node, of } => self.offer((host, life), task, node, of),
            Happening::Withdraw { host, life, task, node } => self.withdraw((host, life), task, node),
            // Nobody waits for the answer, so what is cut off is lost.
            Happening::Advance { host, to, after } if !self.is_cut(host) => self.store.advance(to, after),
            Happening::Advance { .. } => {}
            Happening::Poll { host, watch, range } => self.poll(host, watch, range),
            Happening::List { host, watch } => self.list(host, watch),
            Happening::Execute { host, id } => self.execute(host, id),
            Happening::Exit { host, id, outcome } => self.exit(host, id, outcome),
            Happening::Tick { host, life, at } => {
                if self.hosts[host].life == life && self.hosts[host].wake == Some(at) {
                    self.hosts[host].wake = None;
                    self.hosts[host].ticks += 1;
                    if self.hosts[host].ticks > 50 + self.now / 100 {
                        let name = &self.hosts[host].name;
                        self.check(Err(format!(
                            "busy loop: {name} has asked for {} ticks",
                            self.hosts[host].ticks
                        )));
                    }
                    self.tell(host, Event::Tick);
                }
            }
            Happening::Renew { host } => self.renew(host),
            Happening::Deadline { host, node } => self.deadline(host, node),
            Happening::Expire { node } => {
                if self.leases.get(&node).is_some_and(|end| *end <= self.now) {
                    self.leases.remove(&node);
                    self.store.unregister(node);
                    self.wrote(None);
                }
            }
            Happening::Boot { host, life } => self.boot(host, life),
            Happening::Register { host, life } => self.register(host, life),
            Happening::Thaw { host } => self.thaw(host),
            Happening::Fault => faults::next(self),
            Happening::Submit => faults::submit(self),
        }
    }

    /// A cut proposer keeps its proposal until the store is in reach; what a dead server had sent may still arrive.
    fn apply(&mut self, host: usize, life: u64, task: TaskId, transition: Transition) {
        if self.is_cut(host) {
            let delay = self.reach(host);
            return self.after(delay, Happening::Apply { host, life, task, transition });
        }
        if self.hosts[host].life != life && self.rng.chance(50) {
            return;
        }
        let decision = self.propose(task, &transition);
        // A lost reply: the outcome is read back, later.
        let delay = if self.rng.chance(5) { self.rng.within(200, 3_000) } else { self.rng.within(1, 20) };
        self.after(
            delay,
            Happening::Arrive { host, life, event: Event::Decided { task, transition, decision } },
        );
    }

    /// Like any write it may come late, and its answer later; what a dead server had sent may still arrive.
    fn offer(&mut self, (host, life): (usize, u64), task: TaskId, node: NodeId, of: (u32, Amount, i64)) {
        if self.is_cut(host) {
            let delay = self.reach(host);
            return self.after(delay, Happening::Offer { host, life, task, node, of });
        }
        if self.hosts[host].life != life && self.rng.chance(50) {
            return;
        }
        let (attempt, Amount { resources, counts }, created) = of;
        let entry = OfferEntry { attempt, resources, counts, unknown: Unknown::new() };
        let event = match self.store.offer(task, node, entry, created) {
            Some(revision) => Event::Offered { task, node, revision },
            None => Event::OfferGone { task, node },
        };
        self.wrote(None);
        let delay = if self.rng.chance(5) { self.rng.within(200, 3_000) } else { self.rng.within(1, 20) };
        self.after(delay, Happening::Arrive { host, life, event });
    }

    fn withdraw(&mut self, (host, life): (usize, u64), task: TaskId, node: NodeId) {
        if self.is_cut(host) {
            let delay = self.reach(host);
            return self.after(delay, Happening::Withdraw { host, life, task, node });
        }
        if !self.store.withdraw(task, node) {
            let delay = self.rng.within(1, 20);
            self.after(delay, Happening::Arrive { host, life, event: Event::OfferGone { task, node } });
        }
        self.wrote(None);
    }

    fn read(&mut self, host: usize, life: u64, task: TaskId) {
        if self.is_cut(host) {
            let delay = self.reach(host);
            return self.after(delay, Happening::Read { host, life, task });
        }
        let read = self.store.read(task);
        let revision = read.as_ref().map_or(self.store.revision, |(_, revision)| *revision);
        let event = Event::Claimed { task, record: read.map(|(task, _)| Box::new(task)), revision };
        let delay = self.rng.within(1, 40);
        self.after(delay, Happening::Arrive { host, life, event });
    }

    fn poll(&mut self, host: usize, watch: u64, range: usize) {
        let h = &self.hosts[host];
        if h.watch != watch || h.server.is_none() {
            return;
        }
        if self.is_cut(host) {
            let delay = self.reach(host);
            return self.after(delay, Happening::Poll { host, watch, range });
        }
        let (from, len) = (h.seen[range], self.store.log[range].len());
        if from >= len {
            return;
        }
        let upto = self.rng.within(from as u64 + 1, len as u64) as usize;
        let news = &self.store.log[range][from..upto];
        let revision = news.last().map_or(0, |(revision, _)| *revision);
        let facts = news.iter().flat_map(|(_, facts)| facts.iter().cloned()).collect();
        self.hosts[host].seen[range] = upto;
        self.tell(host, Event::Changed { facts, revision });
        if upto < len {
            self.after(5, Happening::Poll { host, watch, range });
        }
    }

    fn list(&mut self, host: usize, watch: u64) {
        if self.hosts[host].watch != watch || self.hosts[host].server.is_none() {
            return;
        }
        if self.is_cut(host) {
            let delay = self.reach(host);
            return self.after(delay, Happening::List { host, watch });
        }
        for (seen, log) in self.hosts[host].seen.iter_mut().zip(&self.store.log) {
            *seen = log.len();
        }
        let snapshot = Box::new(self.store.list());
        self.tell(host, Event::Synced(snapshot));
    }

    fn execute(&mut self, host: usize, id: AttemptId) {
        let Some(container) = self.hosts[host].containers.get_mut(&id) else { return };
        if container.life != Life::Setup {
            return;
        }
        if container.stopping {
            return self.ended(host, id, killed());
        }
        let in_time = self.hosts[host].lease.as_ref().is_some_and(|lease| lease.deadline > self.now);
        if !in_time && self.plant != Plant::NoDeadline {
            return self.ended(host, id, Outcome::Vanished("its deadline passed".to_owned()));
        }
        match self.rng.within(0, 99) {
            0..5 => return self.ended(host, id, Outcome::LaunchFailed("no cgroup".to_owned())),
            5..7 => return self.ended(host, id, Outcome::NotFound("no such file".to_owned())),
            _ => {}
        }
        let Some(record) = self.store.records.get(&id.task).map(|r| r.task.clone()) else { return };
        let seen = self.witness.executes(id, host, &record);
        self.check(seen);
        if let Some(container) = self.hosts[host].containers.get_mut(&id) {
            container.life = Life::Alive;
        }
        let life = self.hosts[host].life;
        self.after(1, Happening::Arrive { host, life, event: Event::Started(id) });
        let longest = if self.rng.chance(20) { 4_000 } else { 400 };
        let lasts = self.rng.within(1, longest);
        let exit = Exit { how: ExitHow::Code((lasts % 3) as u8), oom_killed: false };
        let outcome = if lasts.is_multiple_of(50) { Outcome::TimeLimit } else { Outcome::Exited(exit) };
        self.after(lasts, Happening::Exit { host, id, outcome });
    }

    fn exit(&mut self, host: usize, id: AttemptId, outcome: Outcome) {
        let alive = self.hosts[host].containers.get(&id).is_some_and(|c| c.life == Life::Alive);
        if alive && outcome != killed() {
            let judged = self.witness.ends_by_itself(id.task, self.hosts[host].trouble, self.now);
            self.check(judged);
        }
        self.ended(host, id, outcome);
    }

    fn renew(&mut self, host: usize) {
        self.after(LEASE_MS / 3, Happening::Renew { host });
        let h = &self.hosts[host];
        let asleep = h.frozen_until > self.now && !h.renews_while_frozen;
        if h.server.is_none() || asleep || self.is_cut(host) {
            return;
        }
        let Some(lease) = &h.lease else { return };
        let (node, life) = (lease.node, h.life);
        if self.store.has_node(node) {
            self.extend(host, node);
        } else {
            self.after(1, Happening::Arrive { host, life, event: Event::LeaseLost });
        }
    }

    fn extend(&mut self, host: usize, node: NodeId) {
        self.leases.insert(node, self.now + LEASE_MS);
        self.after(LEASE_MS, Happening::Expire { node });
        if let Some(lease) = &mut self.hosts[host].lease {
            lease.deadline = self.now + LEASE_MS * 7 / 10;
            self.after(LEASE_MS * 7 / 10, Happening::Deadline { host, node });
        }
    }

    /// The containers' own clocks: what no renewal has moved kills them, whatever the server does.
    fn deadline(&mut self, host: usize, node: NodeId) {
        let h = &self.hosts[host];
        if !h.lease.as_ref().is_some_and(|l| l.node == node && l.deadline <= self.now) {
            return;
        }
        let life = h.life;
        if self.plant != Plant::NoDeadline {
            self.kill_all(host, true);
            if self.rng.chance(70) {
                self.after(1, Happening::Arrive { host, life, event: Event::LeaseLost });
            }
        }
    }

    fn boot(&mut self, host: usize, life: u64) {
        if self.hosts[host].life != life {
            return;
        }
        if self.is_cut(host) {
            let delay = self.reach(host);
            return self.after(delay, Happening::Boot { host, life });
        }
        self.hosts[host].server = Some(self.hosts[host].new_server());
        self.hosts[host].watch += 1;
        let watch = self.hosts[host].watch;
        let kept = self.hosts[host].lease.as_ref().filter(|l| l.deadline > self.now);
        let kept = kept.filter(|l| self.store.has_node(l.node)).map(|l| (l.node, l.created));
        let Some((node, created)) = kept else {
            self.kill_all(host, true);
            self.hosts[host].lease = None;
            self.list(host, watch);
            self.adopt(host);
            return self.register(host, life);
        };
        self.extend(host, node);
        let list_first = self.rng.chance(30);
        if list_first {
            self.list(host, watch);
        }
        self.tell(host, Event::Registered { node, created });
        self.adopt(host);
        if !list_first {
            let delay = self.rng.within(0, 50);
            self.after(delay, Happening::List { host, watch });
        }
    }

    /// The runner says everything that it has not forgotten.
    fn adopt(&mut self, host: usize) {
        let attempts: Vec<(AttemptId, Found)> = self.hosts[host]
            .containers
            .iter()
            .map(|(id, container)| match &container.life {
                Life::Ended(outcome) => (*id, Found::Ended(outcome.clone())),
                Life::Setup | Life::Alive => (*id, Found::Alive),
            })
            .collect();
        for (attempt, found) in attempts {
            self.tell(host, Event::Adopted { attempt, found });
        }
    }

    fn register(&mut self, host: usize, life: u64) {
        if self.hosts[host].life != life || self.hosts[host].lease.is_some() {
            return;
        }
        if self.is_cut(host) {
            let delay = self.reach(host);
            return self.after(delay, Happening::Register { host, life });
        }
        self.ids += 1;
        let (id, h) = (node(self.ids), &self.hosts[host]);
        let mut entry = node_entry(&h.name, h.capacity);
        entry.offers = h.offers.clone();
        if self.plant == Plant::Boast {
            entry.offers.has.insert(NET_HOST.to_owned());
        }
        let created = self.store.register(id, entry);
        self.hosts[host].lease = Some(Lease { node: id, created, deadline: 0 });
        self.extend(host, id);
        self.wrote(None);
        self.tell(host, Event::Registered { node: id, created });
    }

    /// The present state of what is not terminal, for people who debug a seed.
    pub fn stuck(&self) -> String {
        let mut text = String::new();
        for record in self.store.records.values().filter(|r| !r.task.state.is_terminal()) {
            text +=
                &format!("  {} attempt {} {:?}\n", record.task.id, record.task.attempt, record.task.state);
        }
        for host in &self.hosts {
            let server = host.server.as_ref();
            let local = server.map(|s| format!("{:?} {:?}", s.identity(), s.local()));
            let plan = server.map(|s| s.plan(BootMs(self.now)).to_string());
            let why = server.and_then(|s| {
                s.view().all_queued().next().and_then(|(t, _)| {
                    shoal_core::why::why(s.view(), &s.plan(BootMs(self.now)), t, BootMs(self.now))
                })
            });
            text += &format!("  {} {local:?} wake {:?} plan {plan:?} {why:?}\n", host.name, host.wake);
        }
        text
    }
}
