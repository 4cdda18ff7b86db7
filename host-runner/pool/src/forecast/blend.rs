//! Simple forecasters, weighted by how well each would have foretold this very series.
//!
//! Every forecaster draws a line from each point of the past. Once the outcome is known, its error counts against it, and
//! the forecast is the weighted median of the lines: of a median, the *absolute* error is least, and one forecaster that
//! is far off (the trend, after a burst) does not pull it along. Nothing looks ahead: the weights at a point of the past
//! know only outcomes that were known then, so the errors that are reported are those that the blend would have made.

use super::stats::{Sums, real, sorted};

/// The widths of the windows whose medians take part, in steps: an hour, three, eight and a day of 300 s.
const WINDOWS: [usize; 4] = [12, 36, 96, 288];
/// The widest of them, which is how much of the past is read before the first forecast that counts.
const WINDOW_MAX: usize = 288;
/// The narrowest of them, over which a drift is measured.
const WINDOW_MIN: usize = 12;
/// How fast the smoothed averages follow.
const SMOOTHING: [f64; 2] = [0.3, 0.1];
/// The last value, the smoothed averages, the medians, and the drift.
const FORECASTERS: usize = 1 + SMOOTHING.len() + WINDOWS.len() + 1;
/// What an error still counts after each further one: half after 70 steps.
const MEMORY: f64 = 0.99;
/// How sharply weights tell forecasters apart. On every fourth `PlanetLab` trace, 0.5 to 4 differ by less than 1 %.
const SHARPNESS: f64 = 1.0;
/// Errors below this share of the largest value are nothing.
const ERROR_FLOOR: f64 = 1e-9;

/// A forecaster's answer: `base` now, `slope` for each step ahead.
#[derive(Debug, Clone, Copy, Default)]
struct Line {
    base: f64,
    slope: f64,
}

impl Line {
    fn flat(base: f64) -> Self {
        Self { base, slope: 0.0 }
    }

    fn at(self, steps: usize) -> f64 {
        self.base + self.slope * real(steps)
    }
}

/// What a blend foretells, and how it did in the past.
#[derive(Debug, Clone)]
pub(super) struct Rolled {
    /// Outcome minus forecast, `lead` steps ahead, oldest first.
    pub(super) errors: Vec<f64>,
    /// Outcome minus the same forecast after one step already.
    pub(super) errors_next: Vec<f64>,
    /// The same for the mean over all steps up to the `lead`.
    pub(super) spans: Vec<SpanErrors>,
    /// The mean of the last `lead` values.
    pub(super) recent: f64,
    /// What each forecaster says at the end of the series, and what it is worth there.
    lines: [Line; FORECASTERS],
    weights: [f64; FORECASTERS],
    lead: usize,
}

/// How far the mean of `lead` values, and the last of them, lay from what was foretold.
#[derive(Debug, Clone, Copy)]
pub(super) struct SpanErrors {
    /// The mean from the blend's mean.
    pub(super) of_blend: f64,
    /// The mean from the mean of as many values before.
    pub(super) of_recent: f64,
    /// The last value from the mean of as many values before.
    pub(super) value_of_recent: f64,
}

impl Rolled {
    /// The forecast `steps` after the end of the series. A drift is followed for `lead` steps and no further.
    pub(super) fn at(&self, steps: usize) -> f64 {
        weighted_median(&self.lines, &self.weights, steps.min(self.lead))
    }
}

/// Rolls the forecasters over the last `origins` points of `values` whose outcome after `lead` steps is known.
///
/// `None` when no point is left after the `lead`.
pub(super) fn roll(values: &[f64], lead: usize, origins: usize) -> Option<Rolled> {
    let known = values.len().checked_sub(lead).filter(|known| *known > 0)?;
    let first_origin = known.saturating_sub(origins);
    let mut panel = Panel::default();
    let mut past: Vec<[Line; FORECASTERS]> = Vec::with_capacity(origins + lead);
    let mut scores = Scores::default();
    let mut rolled = Rolled {
        errors: Vec::with_capacity(origins),
        errors_next: Vec::with_capacity(origins),
        spans: Vec::with_capacity(origins),
        recent: 0.0,
        lines: [Line::default(); FORECASTERS],
        weights: [1.0; FORECASTERS],
        lead,
    };
    let sums = Sums::of(values);
    rolled.recent = sums.mean(values.len().saturating_sub(lead), values.len());
    let step_from = first_origin.saturating_sub(WINDOW_MIN);
    panel.start(
        values
            .get(step_from.saturating_sub(WINDOW_MAX)..step_from)
            .unwrap_or_default(),
    );
    for (at, &value) in values.iter().enumerate().skip(step_from) {
        panel.see(values, at, value);
        if at < first_origin {
            continue;
        }
        if let Some(lines) = (at - first_origin)
            .checked_sub(lead)
            .and_then(|due| past.get(due))
        {
            scores.count(lines, lead, value);
        }
        rolled.lines = panel.lines(value);
        rolled.weights = scores.weights();
        past.push(rolled.lines);
        if let Some(&outcome) = values.get(at + lead) {
            let foretold = weighted_median(&rolled.lines, &rolled.weights, lead);
            rolled.errors.push(outcome - foretold);
            let foretold_next = weighted_median(&rolled.lines, &rolled.weights, 1);
            if let Some(&next) = values.get(at + 1) {
                rolled.errors_next.push(next - foretold_next);
            }
            let recent = sums.mean((at + 1).saturating_sub(lead), at + 1);
            let mean = sums.mean(at + 1, at + 1 + lead);
            rolled.spans.push(SpanErrors {
                // All lines are straight.
                of_blend: mean - f64::midpoint(foretold, foretold_next),
                of_recent: mean - recent,
                value_of_recent: outcome - recent,
            });
        }
    }
    Some(rolled)
}

/// The state of all forecasters after some part of the series.
#[derive(Debug, Default)]
struct Panel {
    smoothed: Option<[f64; SMOOTHING.len()]>,
    windows: [Window; WINDOWS.len()],
    /// The medians of the shortest window in the past, for the drift.
    medians: Vec<f64>,
}

impl Panel {
    /// Reads what is before the part that is stepped through.
    fn start(&mut self, before: &[f64]) {
        for (window, width) in self.windows.iter_mut().zip(WINDOWS) {
            window.ascending = sorted(
                before
                    .get(before.len().saturating_sub(width)..)
                    .unwrap_or_default(),
            );
        }
        for &value in before {
            self.smooth(value);
        }
    }

    fn smooth(&mut self, value: f64) {
        let mut smoothed = self.smoothed.unwrap_or([value; SMOOTHING.len()]);
        for (level, follow) in smoothed.iter_mut().zip(SMOOTHING) {
            *level += follow * (value - *level);
        }
        self.smoothed = Some(smoothed);
    }

    fn see(&mut self, values: &[f64], at: usize, value: f64) {
        self.smooth(value);
        for (window, width) in self.windows.iter_mut().zip(WINDOWS) {
            let full = window.ascending.len() >= width;
            let gone = at
                .checked_sub(width)
                .filter(|_| full)
                .and_then(|gone| values.get(gone));
            window.replace(gone.copied(), value);
        }
        let [shortest, ..] = &self.windows;
        self.medians.push(shortest.median());
    }

    fn lines(&self, value: f64) -> [Line; FORECASTERS] {
        let [quick, slow] = self.smoothed.unwrap_or([value; SMOOTHING.len()]);
        let [hour, three_hours, eight_hours, day] = &self.windows;
        [
            Line::flat(value),
            Line::flat(quick),
            Line::flat(slow),
            Line::flat(hour.median()),
            Line::flat(three_hours.median()),
            Line::flat(eight_hours.median()),
            Line::flat(day.median()),
            self.drift(value),
        ]
    }

    /// From the middle of the last hour on, in the direction from the hour before: of a steady slope this is exact.
    fn drift(&self, value: f64) -> Line {
        let now = self.medians.last().copied().unwrap_or(value);
        let Some(&before) = self
            .medians
            .len()
            .checked_sub(1 + WINDOW_MIN)
            .and_then(|at| self.medians.get(at))
        else {
            return Line::flat(now);
        };
        let slope = (now - before) / real(WINDOW_MIN);
        // A window's median is the level at its middle, half a window ago.
        Line {
            base: now + slope * (real(WINDOW_MIN) - 1.0) / 2.0,
            slope,
        }
    }
}

/// The last values in ascending order.
#[derive(Debug, Default)]
struct Window {
    ascending: Vec<f64>,
}

impl Window {
    fn replace(&mut self, gone: Option<f64>, value: f64) {
        if let Some(gone) = gone {
            let at = self
                .ascending
                .partition_point(|held| held.total_cmp(&gone).is_lt());
            if at < self.ascending.len() {
                self.ascending.remove(at);
            }
        }
        let at = self
            .ascending
            .partition_point(|held| held.total_cmp(&value).is_lt());
        self.ascending.insert(at, value);
    }

    fn median(&self) -> f64 {
        let length = self.ascending.len();
        let high = self.ascending.get(length / 2).copied().unwrap_or(0.0);
        let low = self
            .ascending
            .get(length.saturating_sub(1) / 2)
            .copied()
            .unwrap_or(high);
        low + (high - low) / 2.0
    }
}

/// The errors so far, the recent ones counting more.
#[derive(Debug, Default)]
struct Scores {
    errors: [f64; FORECASTERS],
    outcomes: f64,
}

impl Scores {
    fn count(&mut self, lines: &[Line; FORECASTERS], lead: usize, outcome: f64) {
        self.outcomes = self.outcomes * MEMORY + 1.0;
        for (error, line) in self.errors.iter_mut().zip(lines) {
            *error = *error * MEMORY + (outcome - line.at(lead)).abs();
        }
    }

    /// The more outcomes are known, the surer are the differences: their chance part shrinks with the square root.
    fn weights(&self) -> [f64; FORECASTERS] {
        let best = self.errors.iter().copied().fold(f64::INFINITY, f64::min);
        let scale = best + ERROR_FLOOR * (1.0 + self.outcomes);
        self.errors
            .map(|error| (-SHARPNESS * self.outcomes.sqrt() * (error - best) / scale).exp())
    }
}

fn weighted_median(lines: &[Line; FORECASTERS], weights: &[f64; FORECASTERS], steps: usize) -> f64 {
    let mut answers = [(0.0, 0.0); FORECASTERS];
    for ((answer, line), weight) in answers.iter_mut().zip(lines).zip(weights) {
        *answer = (line.at(steps), *weight);
    }
    answers.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));
    let half = weights.iter().sum::<f64>() / 2.0;
    let mut passed = 0.0;
    for (value, weight) in answers {
        passed += weight;
        if passed >= half {
            return value;
        }
    }
    // Not reached: the weights add up to their sum. The newest value stands in.
    lines.first().map_or(0.0, |line| line.base)
}
