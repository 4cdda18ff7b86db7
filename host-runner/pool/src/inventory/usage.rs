use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A quantity over time, sampled at equal distances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UsageSeries {
    /// When the last sample was taken, in seconds since 1970-01-01 UTC.
    pub last_at_s: i64,
    /// Seconds between samples, 1..=86,400.
    pub step_s: u32,
    /// The samples, oldest first, at most [`UsageSeries::SAMPLES_MAX`]. What is not a number or negative was never measured, and is
    /// passed over.
    pub values: Vec<f64>,
}

impl UsageSeries {
    /// Five weeks of five-minute samples.
    pub const SAMPLES_MAX: usize = 10_080;

    /// How old a series may be before nothing is concluded from it: an hour.
    pub const STALE_AFTER_S: i64 = 3_600;

    /// How old the newest sample is at `now_s`; negative where it comes from a clock ahead of ours.
    pub fn age_s(&self, now_s: i64) -> i64 {
        now_s.saturating_sub(self.last_at_s)
    }

    /// Whether nothing should be concluded from it: it is too old, or from a future that lies further off than clocks differ.
    pub fn is_stale(&self, now_s: i64) -> bool {
        self.age_s(now_s).saturating_abs() > Self::STALE_AFTER_S
    }

    /// The samples that were measured.
    pub fn measured(&self) -> impl DoubleEndedIterator<Item = f64> {
        self.values
            .iter()
            .copied()
            .filter(|value| value.is_finite() && *value >= 0.0)
    }
}
