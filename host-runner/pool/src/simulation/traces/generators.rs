//! Loads that nobody measured: for lessons, tests and what-if questions.

use std::f64::consts::TAU;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{SAMPLES_MAX, Trace};
use crate::simulation::time::Millis;

const DAY_S: f64 = 86_400.0;

/// A load by a rule; all percentages are of the instance's own CPU, and what leaves 0..=100 is held there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Generator {
    /// Always the same.
    Constant {
        /// The load.
        percent: f64,
    },
    /// A day that is quiet at night: a sine of 24 hours, with noise.
    Day {
        /// The load in the middle between day and night.
        mean_percent: f64,
        /// How far the busiest moment lies above the mean.
        swing_percent: f64,
        /// When the day is busiest, in hours from the start of the run.
        peak_hour: f64,
        /// The largest random step away from the sine, up or down.
        noise_percent: f64,
    },
    /// Long quiet, then a burst: each sample outside a burst may start one.
    Bursts {
        /// The load between bursts.
        quiet_percent: f64,
        /// The load during one.
        burst_percent: f64,
        /// The chance that a quiet sample starts a burst, 0..=1.
        chance: f64,
        /// How many samples a burst lasts.
        samples: u32,
    },
}

impl Generator {
    /// The load from the start to `duration`, a sample every `step`.
    ///
    /// The same seed and stream give the same load; each instance has a stream of its own.
    ///
    /// At most [`SAMPLES_MAX`] samples; afterwards the last one stays.
    pub fn trace(&self, duration: Millis, step: Millis, seed: u64, stream: u64) -> Trace {
        let steps = duration.0.checked_div(step.0).unwrap_or(0).saturating_add(1);
        let count = usize::try_from(steps).unwrap_or(SAMPLES_MAX).min(SAMPLES_MAX);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(stream);
        let mut burst_left = 0;
        let mut values = Vec::with_capacity(count);
        let mut at = Millis::ZERO;
        for _ in 0..count {
            values.push(self.sample(at, &mut random, &mut burst_left) / 100.0);
            at = at + step;
        }
        Trace::even(step, values)
    }

    fn sample(&self, at: Millis, random: &mut ChaCha8Rng, burst_left: &mut u32) -> f64 {
        match *self {
            Self::Constant { percent } => percent,
            Self::Day {
                mean_percent,
                swing_percent,
                peak_hour,
                noise_percent,
            } => {
                let phase = (at.seconds() - peak_hour * 3600.0) / DAY_S;
                let noise = random.random_range(-1.0..=1.0) * noise_percent;
                mean_percent + swing_percent * (TAU * phase).cos() + noise
            }
            Self::Bursts {
                quiet_percent,
                burst_percent,
                chance,
                samples,
            } => {
                if *burst_left == 0 && random.random::<f64>() < chance {
                    *burst_left = samples;
                }
                if *burst_left == 0 {
                    return quiet_percent;
                }
                *burst_left -= 1;
                burst_percent
            }
        }
    }
}
