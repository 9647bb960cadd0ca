//! What goes wrong, and who asks for what, at random.

use crate::support::{cancel, cores, spec, task};
use crate::world::{Happening, World};
use crate::{CALM_FROM_MS, LEASE_MS};
use shoal_core::event::{Decision, Event};
use shoal_core::id::TaskId;
use shoal_core::resources::Resources;
use shoal_core::spec::{GangEnd, GangPart, Net, OnNodeLoss};
use shoal_core::task::Task;
use shoal_core::time::WallMs;
use shoal_core::transition::Transition;

pub fn submit(world: &mut World) {
    let largest = world.hosts.iter().map(|h| h.capacity).max().unwrap_or_default();
    let count = world.rng.within(1, 12).min(world.to_submit);
    let batch = (0..count).map(|n| any_task(world, n as u32, largest)).collect();
    world.store.submit(batch);
    world.wrote(None);
    if world.to_submit > 0 {
        let delay = world.rng.within(10, 1_500);
        world.after(delay, Happening::Submit);
    }
}

fn any_task(world: &mut World, seq: u32, largest: Resources) -> Task {
    world.to_submit -= 1;
    let mut spec = spec(cores(world.rng.within(1, 3) as u32));
    if !largest.fits(&spec.resources) {
        spec.resources = largest;
    }
    if world.rng.chance(20) {
        spec.on_node_loss = OnNodeLoss::Fail;
    }
    // Only what the hosts could run together once all are well.
    let smallest = world.hosts.iter().map(|h| h.capacity).min().unwrap_or_default();
    if world.rng.chance(25) && world.hosts.len() > 1 && smallest.fits(&spec.resources) {
        let nodes = world.rng.within(2, world.hosts.len() as u64) as u32;
        spec.parts = vec![GangPart { nodes, labels: Vec::new() }];
        spec.gang_end =
            *world.rng.pick(&[GangEnd::FirstFailure, GangEnd::All, GangEnd::Lead]).unwrap_or(&GangEnd::All);
        return Task::new(task(world.to_submit), spec, (seq, 1), WallMs(0));
    }
    // Only what the first host could run, which offers it: others would rightly wait for ever.
    if world.rng.chance(20) && world.hosts[0].capacity.fits(&spec.resources) {
        spec.net = Net::Host;
    }
    Task::new(task(world.to_submit), spec, (seq, 1), WallMs(0))
}

/// One fault or request, and the next one scheduled; at the end everything is healed.
pub fn next(world: &mut World) {
    if world.now >= CALM_FROM_MS {
        return heal(world);
    }
    let delay = world.rng.within(20, 900);
    world.after(delay, Happening::Fault);
    let host = world.rng.within(0, world.hosts.len() as u64 - 1) as usize;
    match world.rng.within(0, 99) {
        0..35 => ask_cancel(world),
        35..42 => crash(world, host),
        42..55 => restart(world, host),
        55..67 => freeze(world, host),
        67..79 => cut(world, host),
        79..93 => lose_watch(world, host),
        _ => drain(world, host),
    }
}

fn ask_cancel(world: &mut World) {
    let known: Vec<TaskId> = world.store.records.keys().copied().collect();
    let Some(task) = world.rng.pick(&known).copied() else { return };
    if let Decision::Committed { .. } = world.propose(task, &Transition::Cancel(cancel())) {
        world.witness.cancel_accepted(task, world.now);
    }
}

/// The machine is gone, with everything on it; it comes back under a new identity.
fn crash(world: &mut World, host: usize) {
    world.kill_all(host, false);
    world.hosts[host].lease = None;
    server_gone(world, host, 3 * LEASE_MS);
}

/// The server alone is gone, and comes back soon.
fn restart(world: &mut World, host: usize) {
    server_gone(world, host, LEASE_MS);
}

fn server_gone(world: &mut World, host: usize, longest: u64) {
    let h = &mut world.hosts[host];
    (h.server, h.wake, h.frozen_until) = (None, None, 0);
    h.backlog.clear();
    h.life += 1;
    h.watch += 1;
    let (life, delay) = (h.life, world.rng.within(1, longest));
    world.hosts[host].trouble = world.now + delay + LEASE_MS;
    world.after(delay, Happening::Boot { host, life });
}

fn freeze(world: &mut World, host: usize) {
    let lasts = world.rng.within(100, 2 * LEASE_MS);
    world.hosts[host].frozen_until = world.now + lasts;
    world.hosts[host].renews_while_frozen = world.rng.chance(50);
    world.hosts[host].trouble = world.now + lasts + LEASE_MS;
    world.after(lasts, Happening::Thaw { host });
}

fn cut(world: &mut World, host: usize) {
    let until = world.now + world.rng.within(50, 2 * LEASE_MS);
    world.hosts[host].cut_until = until;
    world.hosts[host].trouble = until + LEASE_MS;
}

fn lose_watch(world: &mut World, host: usize) {
    world.hosts[host].watch += 1;
    let (watch, delay) = (world.hosts[host].watch, world.rng.within(0, 1_000));
    world.hosts[host].trouble = world.now + delay + LEASE_MS;
    world.after(delay, Happening::List { host, watch });
}

fn drain(world: &mut World, host: usize) {
    let (life, lasts) = (world.hosts[host].life, world.rng.within(100, 3_000));
    world.tell(host, Event::Drain(true));
    world.after(lasts, Happening::Arrive { host, life, event: Event::Drain(false) });
}

fn heal(world: &mut World) {
    for host in 0..world.hosts.len() {
        let h = &mut world.hosts[host];
        (h.cut_until, h.frozen_until) = (0, 0);
        world.happen(Happening::Thaw { host });
    }
}
