//! Runs that wait to be written: many of one name become one write, and a name is written seldom.

use super::Lesson;
use shoal_core::duration::Runs;
use shoal_core::time::BootMs;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Names that wait at once; what finds it full is lost.
const NAMES_WAITING_MAX: usize = 1024;

/// How often is written, in milliseconds of the boot-time clock.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From a name's first run until it is written, for those that end together with it.
    pub gather_ms: u64,
    /// Between two writes of one name.
    pub name_ms: u64,
    /// Between two writes of any names.
    pub write_ms: u64,
    /// Names of one write. Every node of the cluster reads each: a hundred nodes that write as fast as they may cost what the lives of a hundred tasks a
    /// second do.
    pub names_max: usize,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { gather_ms: 1_000, name_ms: 60_000, write_ms: 1_000, names_max: 4 }
    }
}

/// What waits.
#[derive(Debug)]
pub(super) struct Gather {
    pace: Pace,
    waiting: HashMap<String, (BootMs, Runs)>,
    /// When names were written, as long as that matters.
    written: HashMap<String, BootMs>,
    /// When the next write may be.
    next: BootMs,
}

impl Gather {
    pub(super) fn new(pace: Pace) -> Gather {
        Gather { pace, waiting: HashMap::new(), written: HashMap::new(), next: BootMs(0) }
    }

    pub(super) fn add(&mut self, lesson: Lesson, now: BootMs) {
        let full = self.waiting.len() >= NAMES_WAITING_MAX;
        let written = self.written.get(&lesson.name).map(|at| at.plus(self.pace.name_ms));
        let (_, runs) = match self.waiting.entry(lesson.name) {
            Entry::Occupied(waiting) => waiting.into_mut(),
            Entry::Vacant(_) if full => return,
            Entry::Vacant(free) => {
                let due = now.plus(self.pace.gather_ms).max(written.unwrap_or_default());
                free.insert((due, Runs::default()))
            }
        };
        runs.add(lesson.seconds, lesson.tick);
    }

    /// When [`Gather::due`] has something.
    pub(super) fn due_at(&self) -> Option<BootMs> {
        self.waiting.values().map(|(due, _)| (*due).max(self.next)).min()
    }

    /// What is to be written now, those that have waited longest first; the caller writes it, or it is lost.
    pub(super) fn due(&mut self, now: BootMs) -> Vec<(String, Runs)> {
        if now < self.next {
            return Vec::new();
        }
        let due = self.waiting.iter().filter(|(_, (due, _))| *due <= now);
        let mut due: Vec<(BootMs, String)> = due.map(|(name, (due, _))| (*due, name.clone())).collect();
        due.sort_unstable();
        due.truncate(self.pace.names_max);
        if !due.is_empty() {
            self.next = now.plus(self.pace.write_ms);
        }
        self.written.retain(|_, at| now.since(*at) < self.pace.name_ms);
        self.written.extend(due.iter().map(|(_, name)| (name.clone(), now)));
        due.into_iter()
            .filter_map(|(_, name)| self.waiting.remove_entry(&name))
            .map(|(n, (_, r))| (n, r))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_core::clock::Tick;

    fn lesson(name: &str) -> Lesson {
        Lesson { name: name.to_owned(), seconds: 5, tick: Tick(1) }
    }

    /// Lets the time pass until nothing waits; what was written when.
    fn drain(gather: &mut Gather) -> Vec<(u64, Vec<String>)> {
        let mut writes = Vec::new();
        while let Some(at) = gather.due_at() {
            let due = gather.due(at);
            assert!(!due.is_empty(), "woken at {at:?} for nothing");
            writes.push((at.0, due.into_iter().map(|(name, _)| name).collect()));
        }
        writes
    }

    #[test]
    fn a_burst_of_one_name_is_one_write() {
        let mut gather = Gather::new(Pace::default());
        (0..1000).for_each(|ms| gather.add(lesson("a"), BootMs(ms)));
        assert!(gather.due(BootMs(999)).is_empty());
        let due = gather.due(BootMs(1_000));
        assert_eq!((due.len(), due[0].1.count, due[0].1.last_s.len()), (1, 1000, 9));
        assert_eq!(gather.due_at(), None);
    }

    #[test]
    fn a_name_is_written_once_a_minute_however_often_it_runs() {
        let mut gather = Gather::new(Pace::default());
        let mut writes = Vec::new();
        for ms in (0..600_000).step_by(100) {
            gather.add(lesson("a"), BootMs(ms));
            writes.extend(gather.due(BootMs(ms)).into_iter().map(|(_, runs)| (ms, runs.count)));
        }
        assert_eq!(writes.len(), 10);
        assert!(writes.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 60_000), "{writes:?}");
        assert!(gather.written.len() <= 1);
    }

    #[test]
    fn many_names_are_written_a_few_a_second_and_what_is_too_much_is_lost() {
        let mut gather = Gather::new(Pace::default());
        (0..5_000).for_each(|n| gather.add(lesson(&format!("t{n}")), BootMs(n / 1000)));
        let writes = drain(&mut gather);
        let names = writes.iter().map(|(_, names)| names.len());
        assert_eq!((names.clone().sum::<usize>(), names.max()), (NAMES_WAITING_MAX, Some(4)));
        assert!(writes.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 1_000));
        assert!(gather.written.len() <= 4 * 61, "{}", gather.written.len());
    }
}
