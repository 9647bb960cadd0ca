//! The view as text: equal views, equal text, on every node. For tests, and for people who compare two nodes.

use super::View;
use std::fmt;

/// One fact a line, in order. What only this node knows (when it first saw what) is left out.
impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "revision {}, {:?}", self.revision, self.clock)?;
        for (what, lock) in &self.locks {
            writeln!(f, "lock {what:?} {lock:?}")?;
        }
        if let Some(reserve) = &self.reserve {
            writeln!(f, "reserve {reserve:?}")?;
        }
        for (node, peer) in &self.nodes {
            writeln!(f, "node {node} {} {:?}, free {}", peer.created, peer.entry, self.free_on(*node))?;
        }
        for (task, q) in &self.queue.tasks {
            let (order, created) = (q.order(*task), self.gangs.get(task));
            writeln!(f, "queued {order:?} {} {} {created:?} {:?}", q.attempt, q.held, self.shape(q))?;
        }
        for (node, tasks) in &self.usage.running {
            for (task, entry) in tasks {
                writeln!(f, "running {task} on {node} {entry:?}")?;
            }
        }
        for (task, offers) in &self.usage.offers {
            for (node, entry) in offers {
                writeln!(f, "offered {task} by {node} {entry:?}")?;
            }
        }
        Ok(())
    }
}
