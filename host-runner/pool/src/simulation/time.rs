//! Virtual time.

use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// A moment, or a length, of virtual time in whole milliseconds; a moment counts from the start of the run.
///
/// Whole numbers, so that events have one order and no sum of lengths drifts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// The start of the run, or no time at all.
    pub const ZERO: Self = Self(0);

    /// Whole seconds, capped at what the type holds.
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// The same length in seconds.
    pub fn seconds(self) -> f64 {
        // Exact up to 2^53 ms: 285,000 years.
        #[expect(clippy::cast_precision_loss, reason = "no run is 285,000 years long")]
        let milliseconds = self.0 as f64;
        milliseconds / 1000.0
    }

    /// The length that `seconds` rounds to; zero for what is negative or no number, the largest where it does not fit.
    pub fn rounded_from_seconds(seconds: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a float casts to the nearest end of the range, and NaN to zero: what the docstring says"
        )]
        Self((seconds * 1000.0).round() as u64)
    }
}

/// Capped at the largest moment.
impl Add for Millis {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// Zero where `other` is larger.
impl Sub for Millis {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}
