use crate::forecast::{Effort, History, Method, Sampling, predict_load_with};
use crate::inventory::UsageSeries;

/// The CPU that something is expected to use in the coming hour, in threads.
///
/// Demands add up: means to means, variances to variances, as if instances were busy independently of each other.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Demand {
    /// The expected use, threads.
    pub mean: f64,
    /// The variance about it, threads².
    pub variance: f64,
    /// False where there is no history and the mean is an assumption.
    pub measured: bool,
}

impl Demand {
    /// What an instance without history is taken to use of each vCPU.
    pub const ASSUMED_SHARE: f64 = 0.5;

    /// How far ahead it is foretold, in seconds.
    const HORIZON_S: u32 = 3_600;

    /// Up to how many series get more than a quick look.
    const BLENDED_MAX: usize = 64;

    /// The demand of an instance that nobody has measured.
    pub fn assumed(vcpus: u32) -> Self {
        Self {
            mean: f64::from(vcpus) * Self::ASSUMED_SHARE,
            variance: 0.0,
            measured: false,
        }
    }

    /// The demand that is foretold from what was measured, at most `most` threads; `None` where the series is stale or empty.
    ///
    /// An inventory is looked at while someone waits, so only the newest samples count, as many as `effort` can make something of.
    pub fn of_usage(usage: &UsageSeries, now_s: i64, most: f64, effort: Effort) -> Option<Self> {
        if usage.is_stale(now_s) {
            return None;
        }
        let history = history(usage, most, Self::samples_for(effort))?;
        let foretold = predict_load_with(&history, now_s, Self::HORIZON_S, effort);
        if foretold.method == Method::None {
            return None;
        }
        let demand = Self {
            mean: foretold.mean,
            variance: foretold.deviation * foretold.deviation,
            measured: true,
        };
        Some(demand.sound())
    }

    /// What effort so many series are worth where someone waits: a few milliseconds in all.
    pub(super) fn effort_for(series: usize) -> Effort {
        if series <= Self::BLENDED_MAX {
            Effort::Blended
        } else {
            Effort::Quick
        }
    }

    fn samples_for(effort: Effort) -> usize {
        match effort {
            Effort::Quick => 48,
            // Two days of five minutes and a little, so that a daily shape can be seen.
            Effort::Blended | Effort::Full => 600,
        }
    }

    /// The same with what is no number, infinite or negative taken for nothing: one bad measurement may not spoil a machine's sums.
    #[must_use]
    pub fn sound(self) -> Self {
        let sound = |value: f64| if value.is_finite() { value.max(0.0) } else { 0.0 };
        Self {
            mean: sound(self.mean),
            variance: sound(self.variance),
            ..self
        }
    }

    /// Adds another's demand.
    pub fn add(&mut self, other: Self) {
        self.mean += other.mean;
        self.variance += other.variance;
    }

    /// Takes another's demand away again.
    pub fn remove(&mut self, other: Self) {
        // Rounding may leave a little less than nothing.
        self.mean = (self.mean - other.mean).max(0.0);
        self.variance = (self.variance - other.variance).max(0.0);
    }

    /// What is enough with a margin of `z` standard deviations.
    pub fn with_margin(self, z: f64) -> f64 {
        self.mean + z * self.variance.sqrt()
    }
}

/// The newest samples of a series as a history; `None` where nothing was measured.
fn history(usage: &UsageSeries, most: f64, samples_max: usize) -> Option<History> {
    /// What was not measured for as long is bridged.
    const GAP_MAX_S: u32 = 1_800;
    let sampling = Sampling {
        step_s: usage.step_s,
        gap_max_s: GAP_MAX_S.max(usage.step_s.saturating_mul(2)),
        samples_max,
    };
    let step_s = i64::from(usage.step_s);
    let newest = usage.values.len().saturating_sub(samples_max);
    let recent = usage.values.get(newest..).unwrap_or_default();
    let first_at_s = usage.last_at_s.saturating_sub(
        step_s.saturating_mul(i64::try_from(recent.len().saturating_sub(1)).unwrap_or(i64::MAX)),
    );
    let times = (0..).map(|number: i64| first_at_s.saturating_add(step_s.saturating_mul(number)));
    // What is no number or negative is refused sample by sample, which is what should become of it.
    let history = History::from_samples(sampling, most, times.zip(recent.iter().copied())).ok()?;
    history.newest_s().map(|_| history)
}
