//! What was measured: one quantity of one instance or machine over time, on a fixed step.

use thiserror::Error;

/// The longest step between two values, in seconds: a day.
pub const STEP_S_MAX: u32 = 86_400;
/// The most values that a history may be asked to keep: eight weeks of 300 s.
pub const SAMPLES_MAX: usize = 16_128;
/// So many samples in a row from before the newest one mean that the clock was set back for good.
///
/// Without this, one sample from the far future would silence a series until that future has come.
pub const BACKWARD_RUN_MAX: u32 = 12;

/// How a series is sampled and how much of it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// Seconds from one value to the next, 1..=[`STEP_S_MAX`]. Samples within one step are averaged.
    pub step_s: u32,
    /// The longest time without a sample that is bridged by a straight line, in seconds.
    /// After a longer one the series starts anew.
    pub gap_max_s: u32,
    /// The most values that are kept, 2..=[`SAMPLES_MAX`]; the oldest go first.
    pub samples_max: usize,
}

impl Default for Sampling {
    /// Five minutes a step, gaps of up to half an hour bridged, four weeks kept (63 KiB when full).
    ///
    /// Four weeks are what a weekly season needs to be told from chance. A pool of many thousand instances keeps less.
    fn default() -> Self {
        Self {
            step_s: 300,
            gap_max_s: 1_800,
            samples_max: 8_064,
        }
    }
}

/// Why a history cannot be made.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum HistoryError {
    /// The step is not in its range.
    #[error("cannot make a history with a step of {step_s} s: it must be 1 to {STEP_S_MAX} s")]
    Step {
        /// What was asked for, in seconds.
        step_s: u32,
    },
    /// The number of values is not in its range.
    #[error("cannot make a history of {samples} values: it must be 2 to {SAMPLES_MAX}")]
    Length {
        /// What was asked for.
        samples: usize,
    },
    /// The capacity is no positive, finite number.
    #[error("cannot make a history with a capacity of {capacity}: it must be finite and above zero")]
    Capacity {
        /// What was asked for, in the unit of the values.
        capacity: f64,
    },
}

/// Why a sample was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum SampleRefused {
    /// It is no number, or infinite.
    #[error("sample at {time_s} s refused: {value} is not a number that can be measured")]
    NotFinite {
        /// When it was measured, in seconds since the epoch.
        time_s: i64,
        /// What was measured.
        value: f64,
    },
    /// It is below zero.
    #[error("sample at {time_s} s refused: {value} is below zero")]
    Negative {
        /// When it was measured, in seconds since the epoch.
        time_s: i64,
        /// What was measured.
        value: f64,
    },
    /// It is not later than the newest sample: the clock ran backwards, or the sample came twice.
    #[error("sample at {time_s} s refused: the newest one is from {newest_s} s")]
    NotLater {
        /// When it was measured, in seconds since the epoch.
        time_s: i64,
        /// When the newest sample was measured, in seconds since the epoch.
        newest_s: i64,
    },
}

/// How many samples were not taken as they were, since the history was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Irregularities {
    /// Refused: no numbers, or infinite.
    pub not_finite: u64,
    /// Refused: below zero.
    pub negative: u64,
    /// Refused: not later than the newest sample.
    pub not_later: u64,
    /// Taken, but cut to the capacity.
    pub above_capacity: u64,
    /// Values drawn as a straight line over a gap.
    pub interpolated: u64,
    /// How often the series started anew: after a long gap, or because the clock was set back.
    pub restarts: u64,
}

/// A time series of one quantity: values on a fixed step, without holes, the newest last.
///
/// Values are in any one unit, 0..=`capacity`. The steps are aligned to the epoch, so series of one step can be added up.
/// The last value may still change: it is the average of the samples so far in the step that is running.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    sampling: Sampling,
    capacity: f64,
    /// At most an eighth more than `samples_max`, so that the old ones go in one move now and then.
    kept: Vec<f64>,
    newest: Option<Newest>,
    backward_run: u32,
    irregular: Irregularities,
}

/// The newest sample, and the step that it fell into.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Newest {
    time_s: i64,
    bin: i64,
    samples_in_bin: f64,
}

impl History {
    /// An empty history of a quantity that can be 0..=`capacity`.
    pub fn new(sampling: Sampling, capacity: f64) -> Result<Self, HistoryError> {
        if !(1..=STEP_S_MAX).contains(&sampling.step_s) {
            return Err(HistoryError::Step {
                step_s: sampling.step_s,
            });
        }
        if !(2..=SAMPLES_MAX).contains(&sampling.samples_max) {
            return Err(HistoryError::Length {
                samples: sampling.samples_max,
            });
        }
        if !(capacity.is_finite() && capacity > 0.0) {
            return Err(HistoryError::Capacity { capacity });
        }
        Ok(Self {
            sampling,
            capacity,
            kept: Vec::new(),
            newest: None,
            backward_run: 0,
            irregular: Irregularities::default(),
        })
    }

    /// A history of all that can be taken of `samples` (seconds since the epoch, value), in their order.
    ///
    /// What is refused is counted: see [`History::irregularities`].
    pub fn from_samples(
        sampling: Sampling,
        capacity: f64,
        samples: impl IntoIterator<Item = (i64, f64)>,
    ) -> Result<Self, HistoryError> {
        let mut history = Self::new(sampling, capacity)?;
        for (time_s, value) in samples {
            // The refusal is in the counts; a caller that wants each one pushes the samples itself.
            let _refused = history.push(time_s, value);
        }
        Ok(history)
    }

    /// Takes the next sample.
    ///
    /// `time_s` is in seconds since the epoch. A value above the capacity is cut to it: a reading of 101 % is a full CPU.
    /// After [`BACKWARD_RUN_MAX`] samples in a row that are not later than the newest, the series starts anew with the next:
    /// the clock was set back and stays so.
    pub fn push(&mut self, time_s: i64, value: f64) -> Result<(), SampleRefused> {
        if !value.is_finite() {
            self.irregular.not_finite += 1;
            return Err(SampleRefused::NotFinite { time_s, value });
        }
        if value < 0.0 {
            self.irregular.negative += 1;
            return Err(SampleRefused::Negative { time_s, value });
        }
        if let Some(newest) = self.newest
            && time_s <= newest.time_s
        {
            if self.backward_run < BACKWARD_RUN_MAX {
                self.backward_run += 1;
                self.irregular.not_later += 1;
                return Err(SampleRefused::NotLater {
                    time_s,
                    newest_s: newest.time_s,
                });
            }
            self.restart();
        }
        self.backward_run = 0;
        if value > self.capacity {
            self.irregular.above_capacity += 1;
        }
        self.take(time_s, value.min(self.capacity));
        Ok(())
    }

    /// The values, oldest first: at most `samples_max`, one a step, all of them 0..=`capacity`.
    pub fn values(&self) -> &[f64] {
        let surplus = self.kept.len().saturating_sub(self.sampling.samples_max);
        self.kept.get(surplus..).unwrap_or_default()
    }

    /// How the series is sampled.
    pub fn sampling(&self) -> Sampling {
        self.sampling
    }

    /// The largest value that the quantity can have.
    pub fn capacity(&self) -> f64 {
        self.capacity
    }

    /// When the newest sample was measured, in seconds since the epoch; `None` before the first.
    pub fn newest_s(&self) -> Option<i64> {
        self.newest.map(|newest| newest.time_s)
    }

    /// How old the newest sample is at `now_s`, in seconds; negative when it is from after `now_s`.
    pub fn age_s(&self, now_s: i64) -> Option<i64> {
        self.newest_s().map(|newest| now_s.saturating_sub(newest))
    }

    /// What was refused, cut, bridged or begun anew.
    pub fn irregularities(&self) -> Irregularities {
        self.irregular
    }

    /// The number of the newest value's step since the epoch, which tells the time of the day and of the week.
    pub(super) fn newest_bin(&self) -> Option<i64> {
        self.newest.map(|newest| newest.bin)
    }

    fn restart(&mut self) {
        self.kept.clear();
        self.newest = None;
        self.irregular.restarts += 1;
    }

    fn take(&mut self, time_s: i64, value: f64) {
        let bin = time_s.div_euclid(i64::from(self.sampling.step_s));
        match self.newest {
            Some(Newest {
                bin: newest_bin,
                samples_in_bin,
                ..
            }) if newest_bin == bin => {
                let samples = samples_in_bin + 1.0;
                if let Some(mean) = self.kept.last_mut() {
                    *mean += (value - *mean) / samples;
                }
                self.newest = Some(Newest {
                    time_s,
                    bin,
                    samples_in_bin: samples,
                });
            }
            Some(newest) => {
                self.bridge(newest, bin, time_s, value);
                self.begin_bin(time_s, bin, value);
            }
            None => self.begin_bin(time_s, bin, value),
        }
    }

    fn begin_bin(&mut self, time_s: i64, bin: i64, value: f64) {
        self.kept.push(value);
        self.newest = Some(Newest {
            time_s,
            bin,
            samples_in_bin: 1.0,
        });
        let surplus = self.kept.len().saturating_sub(self.sampling.samples_max);
        if surplus > self.sampling.samples_max / 8 {
            self.kept.drain(..surplus);
        }
    }

    /// Fills the steps without a sample between `newest` and `bin`, or empties the series where they are too many.
    fn bridge(&mut self, newest: Newest, bin: i64, time_s: i64, value: f64) {
        let missing = bin.saturating_sub(newest.bin).saturating_sub(1);
        if missing <= 0 {
            return;
        }
        let silent_s = time_s.saturating_sub(newest.time_s);
        let bridged_max = i64::try_from(self.sampling.samples_max).unwrap_or(i64::MAX);
        if silent_s > i64::from(self.sampling.gap_max_s) || missing >= bridged_max {
            self.restart();
            return;
        }
        let before = self.kept.last().copied().unwrap_or(value);
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        for step in 1..=missing {
            let along = f64::from(step) / (f64::from(missing) + 1.0);
            self.kept.push(before + (value - before) * along);
        }
        self.irregular.interpolated += u64::from(missing);
    }
}
