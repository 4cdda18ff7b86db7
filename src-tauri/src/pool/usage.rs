//! How busy machines and instances were: means over five minutes, kept in memory, for decisions that look further back than a moment.

use std::collections::{HashMap, VecDeque};

use api::Timestamp;
use pool::inventory::UsageSeries;
use uuid::Uuid;

/// The time over which one value is the mean, in seconds.
pub const STEP_S: u32 = 300;

/// How many means are kept of each machine and instance: two days, so that one day can be compared with the one before.
pub const MEANS_MAX: usize = 576;

/// More than any machine has threads: a measurement beyond that is held to it.
const LOAD_MAX: f64 = 1e6;

/// What stands where nothing was measured; an inventory passes over it, and JSON has no NaN.
const NEVER_MEASURED: f32 = -1.0;

/// The recent past of one machine or instance.
///
/// Times are the desktop's: a machine whose clock is wrong is still busy now. Samples may come in any order and hold anything: what
/// is no finite share is not counted, and a clock that was set back starts the past anew.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// Means of whole steps, oldest first; the last is that of the step before [`step`](Self::step).
    means: VecDeque<f32>,
    /// The step that is being gathered, in steps since 1970; meaningless while `count` is 0 and `means` is empty.
    step: i64,
    sum: f64,
    count: u32,
    last_at_s: i64,
}

impl Past {
    /// Counts a sample. `value` is in whatever unit the series has.
    pub fn take(&mut self, at: Timestamp, value: f64) {
        if !value.is_finite() || value < 0.0 {
            return;
        }
        let at_s = at.unix_ms().div_euclid(1000);
        let step = at_s.div_euclid(i64::from(STEP_S));
        if self.is_empty() || step < self.step - 1 {
            *self = Self {
                step,
                ..Self::default()
            };
        } else if step > self.step {
            self.close_steps_until(step);
        }
        self.sum += value.min(LOAD_MAX);
        self.count = self.count.saturating_add(1);
        self.last_at_s = self.last_at_s.max(at_s);
    }

    fn is_empty(&self) -> bool {
        self.count == 0 && self.means.is_empty()
    }

    fn close_steps_until(&mut self, step: i64) {
        let gap = usize::try_from(step - self.step).unwrap_or(usize::MAX);
        if gap > MEANS_MAX {
            self.means.clear();
        } else {
            self.means.push_back(self.mean().unwrap_or(NEVER_MEASURED));
            self.means.extend(std::iter::repeat_n(NEVER_MEASURED, gap - 1));
            let surplus = self.means.len().saturating_sub(MEANS_MAX);
            self.means.drain(..surplus);
        }
        self.step = step;
        self.sum = 0.0;
        self.count = 0;
    }

    /// The mean of the step that is being gathered, so far.
    fn mean(&self) -> Option<f32> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a load needs no more than seven digits"
        )]
        (self.count > 0).then(|| (self.sum / f64::from(self.count)) as f32)
    }

    /// The newest `most` means times `scale`; the step under way comes last, with what was sampled of it so far. `None` where nothing
    /// was measured.
    pub fn series(&self, scale: f64, most: usize) -> Option<UsageSeries> {
        if self.is_empty() {
            return None;
        }
        let now = self.mean();
        let before = most.saturating_sub(usize::from(now.is_some()));
        let skipped = self.means.len().saturating_sub(before);
        let values = self.means.iter().skip(skipped).copied().chain(now);
        Some(UsageSeries {
            last_at_s: self.last_at_s,
            step_s: STEP_S,
            values: values
                .map(|mean| {
                    if mean < 0.0 {
                        f64::from(NEVER_MEASURED)
                    } else {
                        f64::from(mean) * scale
                    }
                })
                .collect(),
        })
    }
}

/// The recent past of many, by identity.
#[derive(Debug, Default)]
pub struct Pasts {
    held: HashMap<Uuid, Past>,
}

impl Pasts {
    /// Counts a sample.
    pub fn take(&mut self, id: Uuid, at: Timestamp, value: f64) {
        self.held.entry(id).or_default().take(at, value);
    }

    /// What is gone has no past.
    pub fn forget(&mut self, id: Uuid) {
        self.held.remove(&id);
    }

    /// See [`Past::series`].
    pub fn series(&self, id: Uuid, scale: f64, most: usize) -> Option<UsageSeries> {
        self.held.get(&id)?.series(scale, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_ms(seconds * 1000).unwrap()
    }

    fn past(samples: &[(i64, f64)]) -> Past {
        let mut past = Past::default();
        for (seconds, value) in samples {
            past.take(at(*seconds), *value);
        }
        past
    }

    fn values(past: &Past) -> Vec<f64> {
        past.series(1.0, MEANS_MAX)
            .map(|series| series.values)
            .unwrap_or_default()
    }

    #[test]
    fn a_step_is_the_mean_of_its_samples_and_the_one_under_way_counts_so_far() {
        let past = past(&[(0, 0.25), (299, 0.75), (300, 1.0)]);
        assert_eq!(values(&past), [0.5, 1.0]);
        assert_eq!(past.series(8.0, 1).unwrap().values, [8.0]);
        assert_eq!(past.series(1.0, 1).unwrap().last_at_s, 300);
    }

    #[test]
    fn nothing_measured_is_no_series() {
        assert!(past(&[]).series(1.0, 12).is_none());
        assert!(
            past(&[(0, f64::NAN), (1, -0.5), (2, f64::INFINITY)])
                .series(1.0, 12)
                .is_none()
        );
    }

    #[test]
    fn a_gap_is_marked_as_never_measured() {
        let gap = past(&[(0, 0.5), (900, 0.25)]);
        assert_eq!(values(&gap), [0.5, -1.0, -1.0, 0.25]);
        assert_eq!(gap.series(4.0, MEANS_MAX).unwrap().values, [2.0, -1.0, -1.0, 1.0]);
    }

    #[test]
    fn a_gap_longer_than_all_that_is_kept_starts_anew() {
        let step = i64::from(STEP_S);
        assert_eq!(values(&past(&[(0, 0.5), (step * 1000, 0.25)])), [0.25]);
    }

    #[test]
    fn no_more_than_two_days_are_kept() {
        let mut past = Past::default();
        for step in 0..2000 {
            past.take(at(step * i64::from(STEP_S)), 0.5);
        }
        assert_eq!(values(&past).len(), MEANS_MAX);
        assert!(past.means.len() <= MEANS_MAX);
    }

    #[test]
    fn a_clock_that_was_set_back_starts_anew_but_a_sample_that_was_overtaken_counts() {
        assert_eq!(values(&past(&[(900, 0.5), (0, 0.25)])), [0.25]);
        assert_eq!(values(&past(&[(0, 0.5), (301, 0.5), (299, 1.0)])), [0.5, 0.75]);
    }
}
