//! Tags: moments in fixed point, fine enough that rates of one a nanosecond add up without error, wide enough never to overflow.
//!
//! Floats would lose the increments of a heavy client as soon as a light one has driven the tags far enough.

use crate::time::Time;

/// A moment or a span in units of 2^-32 ns.
pub(crate) type Tag = i128;

const FRACTION_BITS: u32 = 32;

/// The tag of a parameter of zero that stands for "not in this way": reservation and proportion.
pub(crate) const NEVER: Tag = Tag::MAX;
/// The tag of a limit of zero: never in the way.
pub(crate) const ALWAYS: Tag = Tag::MIN;
/// The previous tag of a client that had none: whatever is added, the first request's tag is its arrival.
pub(crate) const LONG_AGO: Tag = Tag::MIN / 4;
/// Tags that move further stop here, far from the three above.
const LATEST: Tag = Tag::MAX / 4;
const EARLIEST: Tag = Tag::MIN / 4 + 1;

/// The three tags of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tags {
    pub(crate) reservation: Tag,
    pub(crate) limit: Tag,
    pub(crate) proportion: Tag,
}

impl Tags {
    pub(crate) const LONG_AGO: Tags = Tags { reservation: LONG_AGO, limit: LONG_AGO, proportion: LONG_AGO };

    /// These, but where one stands for a parameter of zero, what was before: it comes into force again with the parameter.
    #[inline]
    pub(crate) fn pinned_to(self, previous: Tags) -> Tags {
        let or = |tag, none, before| if tag == none { before } else { tag };
        Tags {
            reservation: or(self.reservation, NEVER, previous.reservation),
            limit: or(self.limit, ALWAYS, previous.limit),
            proportion: or(self.proportion, NEVER, previous.proportion),
        }
    }
}

/// How far one cost unit moves a tag at `rate` a second; 0 for a rate of 0.
pub(crate) fn spacing(rate: f64) -> Tag {
    if rate > 0.0 { ((1e9 / rate) * (1_u64 << FRACTION_BITS) as f64).round() as Tag } else { 0 }
}

#[inline]
pub(crate) const fn of_nanos(nanos: i64) -> Tag {
    (nanos as Tag) << FRACTION_BITS
}

/// Moved by a span, either way; the span may be a tag. What stands for a parameter of zero stays.
#[inline]
pub(crate) fn moved(tag: Tag, by: Tag) -> Tag {
    if tag == NEVER || tag == ALWAYS {
        return tag;
    }
    // Both are at most a quarter of what fits, the one by construction and the other as a span or as such a tag.
    (tag + by).clamp(EARLIEST, LATEST)
}

/// A tag of a client that has this parameter, moved on by a span: [`moved`] without what cannot be then.
#[inline]
pub(crate) fn after(tag: Tag, span: Tag) -> Tag {
    (tag + span).min(LATEST)
}

/// The span of `cost` units here and `elsewhere` ones at other servers.
#[inline]
pub(crate) fn span(spacing: Tag, elsewhere: u32, cost: u32) -> Tag {
    // At most 2^82 (of the lowest rate) times 2^33: no overflow.
    spacing * Tag::from(u64::from(elsewhere) + u64::from(cost))
}

/// The first nanosecond at which the tag is not in the future: comparing it with the time is as good as comparing the tag. `i64::MAX` is [`NEVER`] alone.
#[inline]
pub(crate) fn nanos_up(tag: Tag) -> i64 {
    // What stands for zero overflows here, and so do tags that are centuries away.
    match i64::try_from(tag.saturating_add((1 << FRACTION_BITS) - 1) >> FRACTION_BITS) {
        Ok(nanos) => nanos.min(i64::MAX - 1),
        Err(_) if tag == NEVER => i64::MAX,
        Err(_) if tag > 0 => i64::MAX - 1,
        Err(_) => i64::MIN,
    }
}

/// The first moment at which it is not in the future.
pub(crate) fn time(nanos: i64) -> Time {
    Time::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

/// In seconds, for people.
pub(crate) fn seconds(tag: Tag) -> f64 {
    tag as f64 / (1e9 * (1_u64 << FRACTION_BITS) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_due_at_the_nanosecond_at_which_its_key_is() {
        let third = spacing(3.0);
        assert_eq!(nanos_up(third), 333_333_334);
        assert_eq!(nanos_up(span(third, 1, 2)), 1_000_000_000);
        assert_eq!(nanos_up(-1), 0);
        assert_eq!(nanos_up(of_nanos(-7)), -7);
        assert_eq!((nanos_up(NEVER), nanos_up(ALWAYS)), (i64::MAX, i64::MIN));
    }

    #[test]
    fn no_span_reaches_what_stands_for_zero() {
        let longest = span(spacing(crate::params::RATE_MIN), u32::MAX, u32::MAX);
        assert!(longest < LATEST);
        let far = moved(LATEST, longest);
        assert_eq!((far, after(LATEST, longest)), (LATEST, LATEST));
        assert!(moved(EARLIEST, -LATEST) > ALWAYS && far < NEVER);
        assert_eq!((moved(NEVER, -LATEST), moved(ALWAYS, LATEST)), (NEVER, ALWAYS));
    }

    #[test]
    fn the_highest_rate_is_exact() {
        assert_eq!(
            nanos_up(span(spacing(crate::params::RATE_MAX), u32::MAX, u32::MAX)),
            2 * i64::from(u32::MAX)
        );
    }
}
