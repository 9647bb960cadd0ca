//! What a task costs, in seconds of waiting: cheap ones go before dear ones (Smith's rule: what takes least goes first), within bounds that keep it fair.
//!
//! A node-hour costs [`HOURS_PER_NODE_HOUR`] hours of waiting, and each node above two three times its time more, since several are harder to find at once. All of it in
//! proportion to how long the task takes: among tasks of seconds nobody falls behind by more than minutes. Nobody at all does by more than
//! [`CHARGE_MAX_S`], and wide tasks by less, since they would else always be last; the longest pay nothing, since what is started last decides
//! when all is done. The urgent pay for their nodes alone, and little: the wide ones of a run let the narrow ones pass that would else stand behind their
//! reservation. These numbers were found by simulation; docs/scheduling.md says what each was tried against and who pays for it.
//!
//! What is not known is not charged: a task without a name, or the first of its name, stands where it was submitted. So where nothing is known, the order is priority,
//! waiting and submission. The cost is known at submit and never changes: so the order of two waiting tasks never does either, and every node sorts alike.

const HOUR_S: u64 = 3_600;
/// Hours of waiting that an hour of one node costs.
pub const HOURS_PER_NODE_HOUR: u64 = 3;
/// How many nodes' time every node above two costs beside its own.
const EXTRA: u64 = 3;
/// No charge is higher.
pub const CHARGE_MAX_S: u64 = 15 * HOUR_S;
/// From so many nodes on a task is wide, and pays no more than [`WIDE_CHARGE_MAX_S`].
const WIDE_NODES: u32 = 9;
/// What a wide task pays at most.
const WIDE_CHARGE_MAX_S: u64 = 5 * HOUR_S;
/// What is believed to take so long pays nothing.
const LONG_S: u64 = 5 * HOUR_S;
/// What an urgent task pays for each of its nodes, and nothing else.
const URGENT_S_PER_NODE: u64 = 60;

/// What decides a task's charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    nodes: u32,
    expected_s: u64,
}

impl Cost {
    /// No cost at all.
    pub const NONE: Cost = Cost { nodes: 0, expected_s: 0 };

    /// Of a task of so many nodes. Seconds that it probably takes, and that it can take at most; 0 where that is not known.
    pub fn new(nodes: u32, expected_s: u32, limit_s: u32) -> Cost {
        let expected_s = if limit_s > 0 { expected_s.min(limit_s) } else { expected_s };
        Cost { nodes, expected_s: expected_s.into() }
    }

    /// How far behind its submission a task is put that is not urgent.
    pub fn charge_s(self) -> u64 {
        if self.expected_s >= LONG_S {
            return 0;
        }
        let used = self.expected_s.saturating_mul(self.nodes.into());
        let harder = self.expected_s.saturating_mul(self.nodes.saturating_sub(2).into());
        let charge = used.saturating_add(harder.saturating_mul(EXTRA)).saturating_mul(HOURS_PER_NODE_HOUR);
        charge.min(if self.nodes >= WIDE_NODES { WIDE_CHARGE_MAX_S } else { CHARGE_MAX_S })
    }

    /// How far behind its submission an urgent one is put, among those of its priority.
    pub fn urgent_s(self) -> u64 {
        URGENT_S_PER_NODE.saturating_mul(self.nodes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dear_wait_for_the_cheap_but_never_longer_than_the_cap() {
        let charge = |nodes, expected_s| Cost::new(nodes, expected_s, 0).charge_s();
        assert!(charge(1, 60) < charge(1, 600) && charge(1, 600) < charge(2, 600));
        assert!(charge(2, 600) < charge(3, 400), "a third node costs more than its time");
        assert_eq!(charge(8, 4 * 3_600), CHARGE_MAX_S);
    }

    #[test]
    fn what_is_over_soon_is_charged_little_however_many_nodes_it_takes() {
        let charge = |nodes| Cost::new(nodes, 10, 0).charge_s();
        assert!(charge(3) < 200 && charge(64) < 10_000, "{} {}", charge(3), charge(64));
    }

    #[test]
    fn the_wide_pay_less_and_the_longest_nothing() {
        let charge = |nodes, expected_s| Cost::new(nodes, expected_s, 0).charge_s();
        assert_eq!(charge(9, 2 * 3_600), charge(51, 4 * 3_600));
        assert_eq!(charge(9, 2 * 3_600), WIDE_CHARGE_MAX_S);
        assert_eq!(charge(2, 5 * 3_600), 0);
    }

    #[test]
    fn what_is_not_known_is_not_charged() {
        assert_eq!(Cost::new(51, 0, 3_600).charge_s(), 0);
        assert_eq!(Cost::new(1, 900, 30), Cost::new(1, 30, 0), "its limit is known, and lower");
    }
}
