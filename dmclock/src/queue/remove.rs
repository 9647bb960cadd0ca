//! Requests that are taken back.

use super::Queue;
use crate::params::ParamsSource;
use crate::request::Visit;
use std::hash::{BuildHasher, Hash};

impl<C: Clone + Eq + Hash, R, P: ParamsSource<C>, S: BuildHasher> Queue<C, R, P, S> {
    /// Removes every request that `wanted` names, client by client, and returns them in the order in which they were looked at. Takes time in proportion to
    /// all requests that wait.
    ///
    /// With [`crate::Corrections::refund`] their clients are charged as if they had never come.
    pub fn remove_if(&mut self, visit: Visit, mut wanted: impl FnMut(&C, &R) -> bool) -> Vec<R> {
        let mut removed = Vec::new();
        for (slot, id) in self.ids.iter().enumerate() {
            self.sched.remove(slot as u32, visit, |request| wanted(id, request), &mut removed);
        }
        removed
    }

    /// Removes all requests of a client and returns them, in the order asked for. The client itself stays known, with its tags, until it is forgotten.
    pub fn remove_client(&mut self, client: &C, visit: Visit) -> Vec<R> {
        let mut removed = Vec::new();
        if let Some(slot) = self.index.get(client) {
            self.sched.remove(*slot, visit, |_| true, &mut removed);
        }
        removed
    }
}
