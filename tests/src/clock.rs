//! The boot-time clock, which the witness tasks read too (`/proc/uptime`): one clock for everything on this machine.

use rustix::time::{ClockId, clock_gettime};

/// Hundredths of a second since boot: the resolution of `/proc/uptime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Centis(pub u64);

impl Centis {
    /// Now.
    pub fn now() -> Centis {
        let now = clock_gettime(ClockId::Boottime);
        Centis(now.tv_sec as u64 * 100 + now.tv_nsec as u64 / 10_000_000)
    }

    /// Reads `/proc/uptime`'s form, `1902.52`.
    pub fn parse(text: &str) -> Option<Centis> {
        let (whole, part) = text.split_once('.')?;
        (part.len() == 2).then_some(())?;
        Some(Centis(whole.parse::<u64>().ok()? * 100 + part.parse::<u64>().ok()?))
    }

    /// Seconds from `earlier` to this; negative when that is later.
    pub fn seconds_since(self, earlier: Centis) -> f64 {
        (self.0 as f64 - earlier.0 as f64) / 100.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_is_read_in_hundredths() {
        assert_eq!(Centis::parse("1902.52"), Some(Centis(190_252)));
        assert_eq!(Centis::parse("0.07"), Some(Centis(7)));
        assert_eq!(Centis::parse("12"), None);
        assert_eq!(Centis::parse("12.5"), None);
    }

    #[test]
    fn the_clock_is_that_of_proc_uptime() {
        let text = std::fs::read_to_string("/proc/uptime").expect("there is /proc/uptime");
        let read = Centis::parse(text.split(' ').next().expect("a first field")).expect("two decimals");
        assert!(Centis::now().seconds_since(read).abs() < 1.0);
    }
}
