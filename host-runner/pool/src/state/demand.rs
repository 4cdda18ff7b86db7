use super::{InstanceIndex, MachineIndex, Pool};
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

    /// So many times as much, up to what there is to use.
    fn scaled(self, factor: f64, most: f64) -> Self {
        let mean = (self.mean * factor).min(most.max(self.mean));
        // What lies between 0 and `most` varies no more about its mean than this (Bhatia and Davis).
        let variance_most = (mean * (most - mean)).max(self.variance);
        Self {
            mean,
            variance: (self.variance * factor * factor).min(variance_most),
            ..self
        }
        .sound()
    }

    /// What is enough with a margin of `z` standard deviations.
    pub fn with_margin(self, z: f64) -> f64 {
        self.mean + z * self.variance.sqrt()
    }
}

impl Pool {
    /// Everything is expected to use so many times the CPU: each instance up to its vCPUs, and what else is at work on a machine up to its
    /// threads.
    pub fn scale_demand(&mut self, factor: f64) {
        let rests: Vec<(MachineIndex, Demand, f64)> = self
            .machines()
            .map(|(index, seat)| (index, seat.rest.demand, f64::from(seat.threads)))
            .collect();
        let scaled: Vec<(InstanceIndex, Demand)> = self
            .instances()
            .map(|(index, seat)| (index, seat.demand.scaled(factor, f64::from(seat.asked.vcpus))))
            .collect();
        for (instance, demand) in scaled {
            self.set_demand(instance, demand);
        }
        for (machine, rest, threads) in rests {
            self.change_machine(machine, |seat| {
                let scaled = rest.scaled(factor, threads);
                seat.demand.remove(rest);
                seat.demand.add(scaled);
                seat.rest.demand = scaled;
            });
        }
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
