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

    /// How many of the newest samples count.
    const WINDOW: usize = 12;

    /// The demand of an instance that nobody has measured.
    pub fn assumed(vcpus: u32) -> Self {
        Self {
            mean: f64::from(vcpus) * Self::ASSUMED_SHARE,
            variance: 0.0,
            measured: false,
        }
    }

    /// The demand that recent samples show, at most `most` threads; `None` where the series is stale or empty.
    pub fn of_usage(usage: &UsageSeries, now_s: i64, most: f64) -> Option<Self> {
        if usage.is_stale(now_s) {
            return None;
        }
        let recent: Vec<f64> = usage
            .measured()
            .rev()
            .take(Self::WINDOW)
            .map(|value| value.min(most))
            .collect();
        if recent.is_empty() {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "at most WINDOW samples")]
        let count = recent.len() as f64;
        let mean = recent.iter().sum::<f64>() / count;
        let variance = recent.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        Some(Self {
            mean,
            variance,
            measured: true,
        })
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
