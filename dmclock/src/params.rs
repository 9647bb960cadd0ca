//! What a client is promised: reservation, weight, limit.

use crate::tag::{self, Tag};

/// The lowest rate or weight that is not zero, a second: one in eleven and a half days.
pub const RATE_MIN: f64 = 1e-6;
/// The highest rate or weight, a second: one each nanosecond.
pub const RATE_MAX: f64 = 1e9;

/// Reservation, weight and limit of a client (r, w and l of the mClock paper, section 3.1). Checked, so that every tag can be computed.
///
/// All three count cost units: with a request's cost of 1 they are requests. Zero has a meaning of its own in each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    reservation: f64,
    weight: f64,
    limit: f64,
}

/// Parameters that no tags could be computed from.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ParamsError {
    /// A number outside of its range, or not a number.
    #[error("{field} must be 0, or from {RATE_MIN} to {RATE_MAX} a second, was {value}")]
    OutOfRange {
        /// `reservation`, `weight` or `limit`.
        field: &'static str,
        /// What was given.
        value: f64,
    },
    /// Neither phase would ever serve such a client.
    #[error("reservation or weight must be above 0, both were 0: such a client would never be served")]
    NothingPromised,
    /// The reservation could not be kept without breaking the limit, and mClock keeps the reservation.
    #[error("limit must be 0 (none) or at least the reservation of {reservation} a second, was {limit}")]
    LimitBelowReservation {
        /// The reservation given.
        reservation: f64,
        /// The limit given.
        limit: f64,
    },
}

impl Params {
    /// `reservation`: cost units a second that the client gets whenever it has work; 0 is none. `weight`: its part of what is left, against the
    /// weights of the others; 0 is none of it. `limit`: cost units a second that the weights never take it beyond; 0 is no limit.
    ///
    /// # Errors
    /// See [`ParamsError`]; nothing is rounded into range.
    pub fn new(reservation: f64, weight: f64, limit: f64) -> Result<Params, ParamsError> {
        check("reservation", reservation)?;
        check("weight", weight)?;
        check("limit", limit)?;
        if reservation == 0.0 && weight == 0.0 {
            return Err(ParamsError::NothingPromised);
        }
        if limit > 0.0 && limit < reservation {
            return Err(ParamsError::LimitBelowReservation { reservation, limit });
        }
        Ok(Params { reservation, weight, limit })
    }

    /// Cost units a second that it gets whenever it has work.
    pub fn reservation(&self) -> f64 {
        self.reservation
    }

    /// Its part of what is left.
    pub fn weight(&self) -> f64 {
        self.weight
    }

    /// Cost units a second at most; 0 is no limit.
    pub fn limit(&self) -> f64 {
        self.limit
    }

    pub(crate) fn spacings(&self) -> Spacings {
        Spacings {
            reservation: tag::spacing(self.reservation),
            weight: tag::spacing(self.weight),
            limit: tag::spacing(self.limit),
        }
    }
}

fn check(field: &'static str, value: f64) -> Result<(), ParamsError> {
    let fits = value == 0.0 || (RATE_MIN..=RATE_MAX).contains(&value);
    if fits { Ok(()) } else { Err(ParamsError::OutOfRange { field, value }) }
}

/// The inverses: how far one cost unit moves each tag. 0 stands for a parameter of 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spacings {
    pub(crate) reservation: Tag,
    pub(crate) weight: Tag,
    pub(crate) limit: Tag,
}

/// Where a queue looks up the parameters of a client: when the client is first seen, when told that they changed, and, if so configured, for every tag.
///
/// Every `Fn(&C) -> Option<Params>` is one.
pub trait ParamsSource<C> {
    /// `None`: no such client; its requests are refused.
    fn params(&self, client: &C) -> Option<Params>;
}

impl<C, F: Fn(&C) -> Option<Params>> ParamsSource<C> for F {
    fn params(&self, client: &C) -> Option<Params> {
        self(client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_field_limit_and_value() {
        let text = |r, w, l| Params::new(r, w, l).unwrap_err().to_string();
        assert_eq!(
            text(-1.0, 1.0, 0.0),
            "reservation must be 0, or from 0.000001 to 1000000000 a second, was -1"
        );
        assert_eq!(
            text(1.0, f64::NAN, 0.0),
            "weight must be 0, or from 0.000001 to 1000000000 a second, was NaN"
        );
        assert!(text(1.0, 1.0, f64::INFINITY).ends_with("was inf"));
        assert!(text(1.0, 1e-300, 0.0).starts_with("weight must be"));
        assert!(text(0.0, 0.0, 1.0).starts_with("reservation or weight must be above 0"));
        assert!(text(2.0, 1.0, 1.0).ends_with("at least the reservation of 2 a second, was 1"));
    }

    #[test]
    fn zero_is_a_value_of_its_own() {
        assert!(Params::new(1.0, 0.0, 0.0).is_ok() && Params::new(0.0, 1.0, 0.0).is_ok());
        assert_eq!(Params::new(0.0, 1.0, 0.0).unwrap().spacings().reservation, 0);
    }
}
