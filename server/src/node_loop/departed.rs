//! Nodes that were there a while ago: what this node has seen since it started. A task that only they can run is not refused because they restart.

use shoal_core::entry::NodeEntry;
use shoal_core::time::BootMs;
use shoal_core::view::{Fact, View};
use std::collections::BTreeMap;

/// For so long a node that is gone counts as one that may come back.
const RETURNS_MS: u64 = 3_600_000;

/// By name: as each was registered when it was last seen, and when that was.
#[derive(Clone, Debug, Default)]
pub struct Departed(BTreeMap<String, (NodeEntry, BootMs)>);

impl Departed {
    /// To be told before the view hears of these facts: which nodes they take away.
    pub fn note(&mut self, view: &View, facts: &[Fact], now: BootMs) {
        for fact in facts {
            let Fact::NodeDown(node) = fact else { continue };
            self.0.extend(
                view.nodes().get(node).map(|peer| (peer.entry.name.clone(), (peer.entry.clone(), now))),
            );
        }
        self.forget(now);
    }

    /// To be told before the view is replaced: which of its nodes are gone by then is seen later.
    pub fn note_all(&mut self, view: &View, now: BootMs) {
        let peers = view.nodes().values();
        self.0.extend(peers.map(|peer| (peer.entry.name.clone(), (peer.entry.clone(), now))));
        self.forget(now);
    }

    /// Those that are not there now.
    pub fn absent(&self, view: &View, now: BootMs) -> Vec<NodeEntry> {
        let live: Vec<&str> = view.nodes().values().map(|peer| peer.entry.name.as_str()).collect();
        let absent = self
            .0
            .iter()
            .filter(|(name, (_, at))| !live.contains(&name.as_str()) && now.since(*at) <= RETURNS_MS);
        absent.map(|(_, (entry, _))| entry.clone()).collect()
    }

    fn forget(&mut self, now: BootMs) {
        self.0.retain(|_, (_, at)| now.since(*at) <= RETURNS_MS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_core::id::NodeId;
    use shoal_core::view::Snapshot;
    use uuid::Uuid;

    fn view(names: &[&str]) -> View {
        let fact = |(n, name): (u128, &&str)| {
            let entry = serde_json::json!({
                "name": name, "address": "a", "resources": {"cpu_milli": 1, "memory_bytes": 1},
                "roots": [], "version": "0",
            });
            let entry = serde_json::from_value(entry).unwrap();
            Fact::NodeUp { node: NodeId(Uuid::from_u128(n)), entry, created: 1 }
        };
        let mut view = View::default();
        view.reset(&Snapshot { revision: 1, facts: (1..).zip(names).map(fact).collect() }, BootMs(0));
        view
    }

    #[test]
    fn who_is_gone_is_remembered_for_an_hour() {
        let mut departed = Departed::default();
        departed.note(&view(&["a", "b"]), &[Fact::NodeDown(NodeId(Uuid::from_u128(2)))], BootMs(5));
        let names = |departed: &Departed, live: &[&str], now| {
            let absent = departed.absent(&view(live), BootMs(now));
            absent.into_iter().map(|entry| entry.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&departed, &["a"], 5), ["b"]);
        assert!(names(&departed, &["a", "b"], 5).is_empty(), "it is back");
        assert!(names(&departed, &["a"], 6 + RETURNS_MS).is_empty());
        departed.note_all(&view(&["c"]), BootMs(7));
        assert_eq!(names(&departed, &["a"], 7), ["b", "c"]);
    }
}
