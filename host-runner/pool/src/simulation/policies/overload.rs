//! When is a machine over-utilized? The answers of the reference policies.

use serde::{Deserialize, Serialize};

/// Samples of a machine's utilization that the adaptive answers look at.
pub(super) const WINDOW: usize = 30;
/// Samples that the interquartile range needs.
const IQR_SAMPLES_MIN: usize = 12;
/// Samples that the regression uses.
const LR_SAMPLES: usize = 10;
/// The fixed threshold where there are too few samples.
const FALLBACK_THRESHOLD: f64 = 0.7;

/// How a reference policy decides that a machine is over-utilized.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Overload {
    /// Above a fixed utilization (THR).
    Threshold(f64),
    /// Above 1 − this × the interquartile range of its utilization (IQR).
    Iqr(f64),
    /// When a line through its last utilizations, × this, reaches 1 in the time that a migration takes (LR).
    Regression(f64),
}

/// A machine, as these answers see it.
pub(super) struct Utilization<'a> {
    /// Asked ÷ offered CPU, now.
    pub(super) now: f64,
    /// The same at the last decisions, newest first, [`WINDOW`] of them; 0 where nothing is known.
    pub(super) history: &'a [f64; WINDOW],
    /// The longest migration away from it, in decisions, rounded up.
    pub(super) migration_intervals: f64,
}

impl Overload {
    pub(super) fn judges(self, machine: &Utilization<'_>) -> bool {
        match self {
            Self::Threshold(threshold) => machine.now > threshold,
            Self::Iqr(safety) => match known(machine.history) {
                known if known.len() >= IQR_SAMPLES_MIN => {
                    machine.now > 1.0 - safety * interquartile_range(known)
                }
                _ => machine.now > FALLBACK_THRESHOLD,
            },
            Self::Regression(safety) => match known(machine.history).get(..LR_SAMPLES) {
                Some(recent) => safety * extrapolated(recent, machine.migration_intervals) >= 1.0,
                None => machine.now > FALLBACK_THRESHOLD,
            },
        }
    }
}

/// The history without the zeros before its first sample.
fn known(history: &[f64; WINDOW]) -> &[f64] {
    let count = history
        .iter()
        .rposition(|value| *value != 0.0)
        .map_or(0, |last| last + 1);
    history.get(..count).unwrap_or_default()
}

/// The quartiles are the samples at rank ¼ and ¾ of n + 1, rounded half up.
fn interquartile_range(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let at_quarter = |quarters: usize| {
        let rank = (quarters * (sorted.len() + 1) + 2) / 4;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    };
    at_quarter(3) - at_quarter(1)
}

/// The least-squares line through `newest_first`, at `ahead` steps after the newest.
fn extrapolated(newest_first: &[f64], ahead: f64) -> f64 {
    let mut count = 0.0;
    let (mut sum_x, mut sum_y, mut sum_xx, mut sum_xy) = (0.0, 0.0, 0.0, 0.0);
    for &y in newest_first {
        // The newest is at 0, those before it at −1, −2 …
        let x = -count;
        count += 1.0;
        sum_x += x;
        sum_y += y;
        sum_xx += x * x;
        sum_xy += x * y;
    }
    let spread = count * sum_xx - sum_x * sum_x;
    let slope = if spread > 0.0 {
        (count * sum_xy - sum_x * sum_y) / spread
    } else {
        0.0
    };
    let level = if count > 0.0 {
        (sum_y - slope * sum_x) / count
    } else {
        0.0
    };
    level + slope * ahead
}
