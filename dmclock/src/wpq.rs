//! The weighted priority queue: priorities as weights of a draw, without memory.
//!
//! Simple and stateless, and therefore without reservations and limits. Mind that shares follow costs as well as priorities: a priority's part of the *requests*
//! is its part of the weights only where all requests cost the same, and its part of the *cost* is larger the dearer its requests are.

use crate::request::Cost;
use std::collections::{BTreeMap, VecDeque};

/// Draws that find a request too dear before one is taken anyway. A tenth of the draws at least takes one, so that no good source of chance comes near.
const DRAWS_MAX: u32 = 1_000;

/// A weighted priority queue of requests `R` of clients `C`.
///
/// - At and above the cutoff, priorities are *strict*: the highest is served first.
/// - Below, a priority p is drawn with probability p/Σp over the priorities that have requests. Its next request is taken with probability
///   1 - 0.9 cost/cost_max, where cost_max is the highest cost that was added; else drawn again. No priority above 0 starves. One that stands alone is
///   taken at once.
/// - Within a priority, clients take turns; within a client, the oldest is first.
///
/// Chance is an argument: 64 random bits at a time.
#[derive(Clone, Debug)]
pub struct WeightedPriorityQueue<C, R> {
    cutoff: u32,
    classes: BTreeMap<u32, Class<C, R>>,
    waiting: usize,
    cost_max: Cost,
}

/// A priority.
#[derive(Clone, Debug)]
struct Class<C, R> {
    /// Those that have requests, whose turn it is first.
    clients: VecDeque<(C, VecDeque<(R, Cost)>)>,
}

impl<C: Eq + Clone, R> WeightedPriorityQueue<C, R> {
    /// An empty queue whose priorities are strict from `cutoff` on.
    pub fn new(cutoff: u32) -> WeightedPriorityQueue<C, R> {
        WeightedPriorityQueue { cutoff, classes: BTreeMap::new(), waiting: 0, cost_max: 0 }
    }

    /// Adds a request. One of priority 0 is served when nothing of a higher one waits.
    pub fn add(&mut self, client: &C, request: R, priority: u32, cost: Cost) {
        if priority < self.cutoff {
            self.cost_max = self.cost_max.max(cost);
        }
        let class = self.classes.entry(priority).or_insert_with(|| Class { clients: VecDeque::new() });
        class.add(client, request, cost);
        self.waiting += 1;
    }

    /// Takes the next request; `chance` gives 64 random bits at each call.
    pub fn pull(&mut self, chance: &mut impl FnMut() -> u64) -> Option<(C, R)> {
        let highest = *self.classes.last_key_value()?.0;
        let priority = if highest >= self.cutoff { highest } else { self.draw(chance)? };
        let class = self.classes.get_mut(&priority)?;
        let pulled = class.pull()?;
        if class.clients.is_empty() {
            self.classes.remove(&priority);
        }
        self.waiting -= 1;
        Some(pulled)
    }

    /// Requests that wait.
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Removes all requests of a client and returns them, priority by priority.
    pub fn remove_client(&mut self, client: &C) -> Vec<R> {
        let mut removed = Vec::new();
        for class in self.classes.values_mut() {
            let Some(at) = class.clients.iter().position(|(id, _)| id == client) else { continue };
            let queue = class.clients.remove(at).map(|(_, queue)| queue).unwrap_or_default();
            removed.extend(queue.into_iter().map(|(request, _)| request));
        }
        self.classes.retain(|_, class| !class.clients.is_empty());
        self.waiting -= removed.len();
        removed
    }

    fn draw(&self, chance: &mut impl FnMut() -> u64) -> Option<u32> {
        let mut drawn = *self.classes.last_key_value()?.0;
        let total: u64 = self.classes.keys().map(|priority| u64::from(*priority)).sum();
        if self.classes.len() < 2 || total == 0 {
            return Some(drawn);
        }
        for _ in 0..DRAWS_MAX {
            drawn = self.at(below(total, chance))?;
            let cost = self.classes.get(&drawn)?.next_cost();
            let kept = u64::from(self.cost_max) * 10 - u64::from(cost.min(self.cost_max)) * 9;
            if below(u64::from(self.cost_max).max(1) * 10, chance) < kept.max(1) {
                break;
            }
        }
        Some(drawn)
    }

    /// The priority at this point of all of them laid end to end.
    fn at(&self, mut point: u64) -> Option<u32> {
        for priority in self.classes.keys().rev() {
            let width = u64::from(*priority);
            if point < width {
                return Some(*priority);
            }
            point -= width;
        }
        None
    }
}

/// A number below `end`, each as likely as the others to within `end`/2^64.
fn below(end: u64, chance: &mut impl FnMut() -> u64) -> u64 {
    ((u128::from(chance()) * u128::from(end)) >> 64) as u64
}

impl<C: Eq + Clone, R> Class<C, R> {
    fn add(&mut self, client: &C, request: R, cost: Cost) {
        match self.clients.iter_mut().find(|(id, _)| id == client) {
            Some((_, queue)) => queue.push_back((request, cost)),
            None => self.clients.push_back((client.clone(), VecDeque::from([(request, cost)]))),
        }
    }

    fn next_cost(&self) -> Cost {
        self.clients.front().and_then(|(_, queue)| queue.front()).map_or(0, |(_, cost)| *cost)
    }

    fn pull(&mut self) -> Option<(C, R)> {
        let (client, mut queue) = self.clients.pop_front()?;
        let (request, _) = queue.pop_front()?;
        if !queue.is_empty() {
            self.clients.push_back((client.clone(), queue));
        }
        Some((client, request))
    }
}
