//! Whether a node had room while tasks waited, from the records of the tasks.

use super::work::Span;
use shoal_core::id::NodeId;
use shoal_core::time::WallMs;
use std::collections::BTreeMap;

/// How long nodes had room while a task was queued. All tasks are queued when the measurement begins.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Room {
    /// The longest time in which one node had room without a break.
    pub longest_ms: i64,
    /// The same, of all times in which some node had room, below which 99 of 100 lie.
    pub p99_ms: i64,
    /// Share of all nodes' capacity that lay idle while tasks were queued.
    pub idle_percent: f64,
}

impl Room {
    /// Of nodes that have so many slots each and began at `begin`. From the last start on nothing is queued.
    pub fn of(spans: &[Span], nodes: usize, slots: usize, begin: WallMs) -> Room {
        let end = spans.iter().map(|span| span.started.0).max().unwrap_or(begin.0).max(begin.0);
        let mut events: BTreeMap<NodeId, Vec<(i64, i64)>> = BTreeMap::new();
        for span in spans {
            let of_node = events.entry(span.node).or_default();
            of_node.push((span.started.0, 1));
            of_node.push((span.ended.0, -1));
        }
        let (mut times, mut idle) = (Vec::new(), 0);
        // A node that took nothing had room all the time.
        let unused = nodes.saturating_sub(events.len());
        for of_node in events.into_values().chain((0..unused).map(|_| Vec::new())) {
            idle += fold(of_node, slots as i64, (begin.0, end), &mut times);
        }
        times.sort_unstable();
        let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied();
        let capacity = ((end - begin.0) * (nodes * slots) as i64).max(1);
        Room {
            longest_ms: times.last().copied().unwrap_or(0),
            p99_ms: at(0.99).unwrap_or(0),
            idle_percent: 100.0 * idle as f64 / capacity as f64,
        }
    }
}

/// Adds the times in which this node had room; returns its idle slots, each times its milliseconds.
fn fold(mut events: Vec<(i64, i64)>, slots: i64, (begin, end): (i64, i64), times: &mut Vec<i64>) -> i64 {
    // Of one millisecond the starts first: what ended made room for them.
    events.sort_unstable_by_key(|(at, change)| (*at, -change));
    events.push((end, slots));
    let (mut used, mut last, mut since, mut idle) = (0, begin, Some(begin), 0);
    for (at, change) in events {
        let at = at.clamp(begin, end);
        idle += (slots - used).max(0) * (at - last);
        last = at;
        used += change;
        match since {
            Some(from) if used >= slots => {
                times.push(at - from);
                since = None;
            }
            None if used < slots && at < end => since = Some(at),
            Some(_) | None => {}
        }
    }
    idle
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn span(node: u128, started: i64, ended: i64) -> Span {
        Span { node: NodeId(Uuid::from_u128(node)), started: WallMs(started), ended: WallMs(ended) }
    }

    #[test]
    fn room_is_counted_while_something_is_queued_and_not_after() {
        let spans = [span(1, 100, 150), span(1, 157, 300), span(2, 101, 159), span(2, 160, 161)];
        let room = Room::of(&spans, 2, 1, WallMs(100));
        assert_eq!(room.longest_ms, 7);
        assert_eq!(room.idle_percent, 100.0 * (7 + 1 + 1) as f64 / 120.0);
    }

    #[test]
    fn a_node_that_takes_nothing_has_room_all_the_time() {
        let spans = [span(1, 100, 150), span(1, 150, 200)];
        assert_eq!(Room::of(&spans, 2, 1, WallMs(100)).longest_ms, 50);
    }

    #[test]
    fn an_end_and_a_start_in_one_millisecond_leave_no_room() {
        let spans = [span(1, 100, 110), span(1, 110, 120), span(1, 120, 130)];
        assert_eq!(Room::of(&spans, 1, 1, WallMs(100)), Room::default());
    }
}
