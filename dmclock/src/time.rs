//! Time as an argument: nanoseconds of any monotonic clock, from any origin.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment of the caller's monotonic clock, in nanoseconds since an origin of the caller's choice.
///
/// Never feed it from a clock that people or NTP set: a step forwards would hand out credit to all, a step backwards would stop
/// everybody who has a limit. Moments beyond [`Time::MAX`] (292 years) count as that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The origin.
    pub const ZERO: Time = Time(0);
    /// The last moment that can be told from others: 2^63 - 1 nanoseconds.
    pub const MAX: Time = Time(i64::MAX as u64);

    /// So many nanoseconds after the origin.
    #[inline]
    pub const fn from_nanos(nanos: u64) -> Time {
        Time(if nanos > Time::MAX.0 { Time::MAX.0 } else { nanos })
    }

    /// So many milliseconds after the origin.
    pub const fn from_millis(millis: u64) -> Time {
        Time::from_nanos(millis.saturating_mul(1_000_000))
    }

    /// So many seconds after the origin.
    pub const fn from_secs(seconds: u64) -> Time {
        Time::from_nanos(seconds.saturating_mul(1_000_000_000))
    }

    /// So many seconds after the origin, rounded to the nanosecond. Not a number, and what lies before the origin, is the origin.
    pub fn from_secs_f64(seconds: f64) -> Time {
        // A cast from a float saturates and makes zero of what is not a number.
        Time::from_nanos((seconds * 1e9).round() as u64)
    }

    /// Nanoseconds since the origin.
    #[inline]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Seconds since the origin; precise to a nanosecond for the first hundred days.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// How long after `earlier` this is; zero where it is not.
    pub const fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// As a signed number, which tags are compared with.
    #[inline]
    pub(crate) const fn signed(self) -> i64 {
        // No `Time` is beyond `Time::MAX`.
        self.0 as i64
    }
}

/// Nanoseconds of a span, which is at most 292 years.
pub(crate) fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, span: Duration) -> Time {
        Time::from_nanos(self.0.saturating_add(nanos(span).unsigned_abs()))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;

    fn sub(self, span: Duration) -> Time {
        Time(self.0.saturating_sub(nanos(span).unsigned_abs()))
    }
}

/// Seconds with all nine digits.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09} s", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_arithmetic_overflows() {
        assert_eq!(Time::from_nanos(u64::MAX), Time::MAX);
        assert_eq!(Time::from_secs(u64::MAX) + Duration::MAX, Time::MAX);
        assert_eq!(Time::ZERO - Duration::MAX, Time::ZERO);
        assert_eq!(Time::ZERO.since(Time::MAX), Duration::ZERO);
        for odd in [f64::NAN, f64::NEG_INFINITY, -1.0] {
            assert_eq!(Time::from_secs_f64(odd), Time::ZERO);
        }
        assert_eq!(Time::from_secs_f64(f64::INFINITY), Time::MAX);
    }

    #[test]
    fn seconds_and_nanoseconds_agree() {
        assert_eq!(Time::from_secs_f64(1.25), Time::from_millis(1_250));
        assert_eq!(Time::from_millis(1_250).to_string(), "1.250000000 s");
    }
}
