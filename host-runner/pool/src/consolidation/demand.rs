//! What an instance will ask for, from what it asked for.

use serde::{Deserialize, Serialize};

/// How a history becomes a forecast.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DemandParameters {
    /// After how many samples a sample counts half, in the part of the mean that follows quickly.
    pub fast_half_life: f64,
    /// The same in the part that remembers; the deviation uses it, too.
    pub slow_half_life: f64,
    /// The share of the quick part in the mean, 0..=1.
    pub fast_share: f64,
    /// The deviation that is assumed before anything was seen, as a fraction of the most that the instance can ask for.
    pub prior_deviation: f64,
    /// How many samples that assumption weighs.
    pub prior_samples: f64,
}

/// What an instance is expected to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Demand {
    /// On average, in CPU units.
    pub mean: f64,
    /// The standard deviation around it, in CPU units.
    pub deviation: f64,
}

/// The demand to expect of an instance that asked for `history` (oldest first, evenly spaced) and can ask for `size` at most.
///
/// Without history it is taken to ask for all it can.
pub fn expect(history: &[f64], size: f64, parameters: &DemandParameters) -> Demand {
    let fast = decay(parameters.fast_half_life);
    let slow = decay(parameters.slow_half_life);
    let mut quick = Weighted::default();
    let mut steady = Weighted::default();
    for &value in history {
        quick.add(value, fast);
        steady.add(value, slow);
    }
    let (Some(quick_mean), Some(steady_mean)) = (quick.mean(), steady.mean()) else {
        return Demand {
            mean: size,
            deviation: 0.0,
        };
    };
    let prior = parameters.prior_deviation * size;
    let spread = (steady.squares - steady.sum * steady_mean).max(0.0);
    let variance =
        (spread + parameters.prior_samples * prior * prior) / (steady.weight + parameters.prior_samples);
    Demand {
        mean: steady_mean + parameters.fast_share * (quick_mean - steady_mean),
        deviation: variance.sqrt(),
    }
}

/// Sums in which old samples fade.
#[derive(Default)]
struct Weighted {
    weight: f64,
    sum: f64,
    squares: f64,
}

impl Weighted {
    fn add(&mut self, value: f64, decay: f64) {
        self.weight = self.weight * decay + 1.0;
        self.sum = self.sum * decay + value;
        self.squares = self.squares * decay + value * value;
    }

    fn mean(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}

/// What one sample's age does to its weight.
fn decay(half_life: f64) -> f64 {
    0.5_f64.powf(1.0 / half_life.max(f64::MIN_POSITIVE))
}
