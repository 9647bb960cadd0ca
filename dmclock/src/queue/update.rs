//! Parameters that change, and costs that turn out to be others.

use super::Queue;
use crate::params::ParamsSource;
use crate::request::{Cost, Phase};
use std::hash::{BuildHasher, Hash};

impl<C: Clone + Eq + Hash, R, P: ParamsSource<C>, S: BuildHasher> Queue<C, R, P, S> {
    /// Where it looks up parameters, to change them. What changed is seen after [`Queue::update_client`] or [`Queue::update_clients`].
    pub fn source_mut(&mut self) -> &mut P {
        &mut self.source
    }

    /// Reads the parameters of a client again. Tags given out so far stay in the faithful mode; in the corrected one the first request gets new ones, so that
    /// the change is felt at once. A client that has no parameters any more keeps those it had for what is still waiting.
    pub fn update_client(&mut self, client: &C) {
        if let Some(slot) = self.index.get(client) {
            self.reread(*slot);
        }
    }

    /// Reads the parameters of all clients again, as [`Queue::update_client`] does.
    pub fn update_clients(&mut self) {
        for slot in 0..self.sched.client_count() as u32 {
            self.reread(slot);
        }
    }

    /// Corrects the charge for a request that was served at an estimated cost: `charged` is what it was pulled with, `actual` what it took. May be 0 for one
    /// that did nothing.
    pub fn settle(&mut self, client: &C, phase: Phase, charged: Cost, actual: Cost) {
        if let Some(slot) = self.index.get(client) {
            self.sched.settle(*slot, phase, charged, actual);
        }
    }

    pub(super) fn reread(&mut self, slot: u32) {
        if let Some(params) = self.source.params(&self.ids[slot as usize]) {
            self.sched.set_spacings(slot, params.spacings());
        }
    }
}
