//! Slots: what a container needs beside its own processes and can be had ahead of its start. A slot is a range of user and group ids of the host
//! with a user namespace that maps them, and perhaps a network namespace that has never carried a packet. It is lent to one attempt at a time.
//!
//! A user namespace holds no state that a task could leave behind: tasks have no capability in it, cannot nest another, and the key
//! management calls are not theirs. A network namespace does, so it is lent again only when it can be shown to be as new
//! (see [`network::Network::is_untouched`]).

pub mod network;
pub mod users;

use crate::cgroup::{Group, ReadyGroup};
use crate::policy::UserRange;
use crate::protocol::Limits;
use network::Network;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use users::{IdMap, IdMaps, Ids};

/// Ids of a container: all that a 16-bit id can name, as images expect.
pub const IDS_PER_SLOT: u32 = 65536;
/// The first range of the policy belongs to what is unpacked from images.
const SLOTS_FIRST: u32 = 1;
/// What the names of kept control groups begin with.
pub const KEPT_MARK: char = '~';
/// Slots kept ready for the next attempts; those of a burst beyond go when they come back.
const READY_MAX: usize = 64;
/// Maps that a slot keeps. Each is a descriptor of the runner's, and whoever may choose users and mounts can ask for any number of others.
const MAPS_MAX: usize = 8;

/// Why there is no slot.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// More containers than ranges.
    #[error("all {0} ranges of user ids are taken")]
    Exhausted(u32),
    /// The user namespace.
    #[error("make the user namespace: {0}")]
    Users(io::Error),
    /// The network namespace.
    #[error("make the network namespace: {0}")]
    Network(io::Error),
}

/// One slot.
#[derive(Debug)]
pub struct Slot {
    /// Its place in the policy's range.
    pub number: u32,
    /// Ids of the host, in the order of the ids inside.
    pub ids: Ids,
    /// Maps them; nothing can be nested in it.
    pub users: Rc<OwnedFd>,
    /// A network with a loopback interface, unless it was not asked for or is used up.
    pub network: Option<Network>,
    /// A control group that is kept for the next attempt.
    pub group: Option<ReadyGroup>,
    /// Namespaces that nobody enters: they only say how ids on a disk are to be shown.
    maps: BTreeMap<IdMaps, Rc<OwnedFd>>,
}

impl Slot {
    /// A user namespace for an id-mapped mount, made at its first use.
    pub fn map(&mut self, maps: IdMaps) -> Result<Rc<OwnedFd>, SlotError> {
        if let Some(fd) = self.maps.get(&maps) {
            return Ok(Rc::clone(fd));
        }
        let fd = Rc::new(users::namespace(maps, false).map_err(SlotError::Users)?);
        if self.maps.len() >= MAPS_MAX {
            // Those of a start under way are held by it.
            self.maps.clear();
        }
        self.maps.insert(maps, Rc::clone(&fd));
        Ok(fd)
    }

    /// The name of its control group while no attempt has it; no attempt is called so, and no group that an earlier runner has left.
    fn group_name(&self) -> String {
        format!("{KEPT_MARK}{}-{}", std::process::id(), self.number)
    }

    /// Keeps the control group of an attempt that has ended, if it is fit for the next.
    pub fn keep_group(&mut self, group: &Group, limits: &Limits) {
        let name = self.group_name();
        let before = self.group.take();
        let kept = group.keep(before, &name, limits);
        if kept.is_none() {
            // A part may have its name already.
            let _ = group.named(&name).remove();
        }
        self.group = kept;
    }

    /// The attempt's start may have failed before it took all of the kept group.
    pub fn drop_group(&mut self) {
        self.group.take().inspect(|group| drop(group.remove()));
    }

    /// Sees to it that a network namespace is there.
    pub fn connect(&mut self, host: &OwnedFd) -> Result<(), SlotError> {
        if self.network.is_none() {
            self.network = Some(Network::new(host.as_fd()).map_err(SlotError::Network)?);
        }
        Ok(())
    }
}

/// All slots of a runner.
#[derive(Debug)]
pub struct Slots {
    range: UserRange,
    ready: Vec<Slot>,
    /// Numbers that are lent, or used by an attempt of an earlier runner.
    taken: BTreeSet<u32>,
}

impl Slots {
    /// Slots of this range of ids.
    pub fn new(range: UserRange) -> Slots {
        Slots { range, ready: Vec::new(), taken: BTreeSet::new() }
    }

    /// Lends one, if there is a choice one whose group has these limits already.
    pub fn take(&mut self, limits: &Limits) -> Result<Slot, SlotError> {
        let fits = |slot: &Slot| slot.group.as_ref().is_some_and(|group| group.has(limits));
        let last = self.ready.len().checked_sub(1);
        if let Some(index) = self.ready.iter().rposition(fits).or(last) {
            let slot = self.ready.remove(index);
            self.taken.insert(slot.number);
            return Ok(slot);
        }
        let number = (SLOTS_FIRST..).find(|n| !self.taken.contains(n)).unwrap_or(u32::MAX);
        let ids = self.ids(number).ok_or(SlotError::Exhausted(self.range.count / IDS_PER_SLOT))?;
        let map = IdMap { inside: 0, outside: ids.first, count: ids.count };
        let users = Rc::new(users::namespace(IdMaps::both(map), true).map_err(SlotError::Users)?);
        self.taken.insert(number);
        Ok(Slot { number, ids, users, network: None, group: None, maps: BTreeMap::new() })
    }

    /// Takes one back. All processes of its attempt are gone; `reusable` says that nothing outside may still hold a socket of its network.
    pub fn give_back(&mut self, mut slot: Slot, reusable: bool) {
        self.taken.remove(&slot.number);
        if self.ready.len() >= READY_MAX {
            // An empty group can always be removed.
            slot.group.inspect(|group| drop(group.remove()));
            return;
        }
        slot.network = slot.network.take().filter(|network| reusable && network.is_untouched());
        self.ready.push(slot);
    }

    /// The control groups that are kept for the next attempts; for the end of the runner.
    pub fn kept_groups(&self) -> impl Iterator<Item = &ReadyGroup> {
        self.ready.iter().filter_map(|slot| slot.group.as_ref())
    }

    /// Keeps the number of an adopted attempt.
    pub fn reserve(&mut self, number: u32) {
        self.taken.insert(number);
    }

    /// An adopted attempt has ended.
    pub fn release(&mut self, number: u32) {
        self.taken.remove(&number);
    }

    /// The ids of a slot. Where there are not even two ranges (without root and /etc/subuid), all containers are the same few ids.
    fn ids(&self, number: u32) -> Option<Ids> {
        let UserRange { first, count } = self.range;
        if count < 2 * IDS_PER_SLOT {
            return Some(Ids { first, count });
        }
        let offset = number.checked_mul(IDS_PER_SLOT)?;
        (offset.checked_add(IDS_PER_SLOT)? <= count)
            .then(|| Ids { first: first + offset, count: IDS_PER_SLOT })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_do_not_meet_and_end_with_the_policys() {
        let slots = Slots::new(UserRange { first: 1 << 30, count: 3 * IDS_PER_SLOT });
        let first = |n| slots.ids(n).map(|ids| ids.first);
        assert_eq!((first(1), first(2)), (Some((1 << 30) + 65536), Some((1 << 30) + 131_072)));
        assert_eq!(first(3), None);
        assert_eq!(first(u32::MAX), None);
    }

    #[test]
    fn a_single_id_is_everybodys() {
        let slots = Slots::new(UserRange { first: 0, count: 1 });
        assert_eq!(slots.ids(7), Some(Ids { first: 0, count: 1 }));
    }
}
