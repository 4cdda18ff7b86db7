//! How good forecasts are on traces, against the two baselines that cost nothing.
//!
//! Rolling origin: at one point after the other of a trace, the forecast sees what was measured up to there and nothing
//! later, and its error is taken `lead` steps ahead. Nothing is fitted to the traces beforehand.

use std::collections::BTreeMap;

use super::choose::forecast;
use super::history::{History, HistoryError, Sampling};
use super::stats::{mean, real};
use super::types::{Effort, LEVEL_DEFAULT};

/// How traces are judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// How the traces are sampled. What does not fit into the history is forgotten, as it would be in a pool.
    pub sampling: Sampling,
    /// The largest value that a trace can have.
    pub capacity: f64,
    /// How far ahead the error is taken, in steps.
    pub lead: usize,
    /// The length of the seasonal baseline's season, in steps: it foretells what was one season before the outcome.
    pub season: usize,
    /// The first point that a forecast is made at: so many values are known there.
    pub warm_up: usize,
    /// A forecast is made at every so many points.
    pub stride: usize,
    /// The effort of each forecast.
    pub effort: Effort,
}

impl Evaluation {
    /// One hour ahead on percentages every 300 s, with a season of one day; the first forecast after two hours.
    pub fn hour_ahead_of_percent(effort: Effort) -> Self {
        Self {
            sampling: Sampling::default(),
            capacity: 100.0,
            lead: 12,
            season: 288,
            warm_up: 24,
            stride: 1,
            effort,
        }
    }
}

/// How good forecasts were.
///
/// Errors are absolute, and scaled by the baseline's mean absolute error on the same trace at the same points, then
/// averaged over traces, so that no trace counts for more because it is busier. Traces on which a baseline never erred are
/// left out of the average of that baseline: there is nothing to compare with.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Accuracy {
    /// Traces with at least one forecast.
    pub traces: usize,
    /// Forecasts that were compared with their outcome.
    pub forecasts: usize,
    /// The mean absolute error over all forecasts, in the unit of the traces.
    pub error: f64,
    /// The mean absolute scaled error against the last value. Below 1 is better than it. `None` without a comparison.
    pub error_vs_last: Option<f64>,
    /// The mean absolute scaled error against the value one season before, over the points where there is one.
    pub error_vs_seasonal: Option<f64>,
    /// The sum of errors over that of the last value: busy traces count for more.
    pub total_error_vs_last: Option<f64>,
    /// The same against the value one season before.
    pub total_error_vs_seasonal: Option<f64>,
    /// The share of outcomes within the bounds, which are meant to hold [`LEVEL_DEFAULT`] of them.
    pub within_bounds: f64,
}

/// Traces of the same name in a row, in the order in which they come; names that come once only are left out.
///
/// Of an archive of single days this makes series over several days, for which there is a day before. Where days of the
/// archive are missing in between, the day before is the one before in the archive.
pub fn days_in_a_row<'a>(days: impl IntoIterator<Item = (&'a str, &'a [f64])>) -> Vec<Vec<f64>> {
    let mut by_name: BTreeMap<&str, Vec<&[f64]>> = BTreeMap::new();
    for (name, day) in days {
        by_name.entry(name).or_default().push(day);
    }
    by_name
        .into_values()
        .filter(|days| days.len() > 1)
        .map(|days| days.concat())
        .collect()
}

/// Judges forecasts of `traces` (values on the step of the sampling, oldest first).
///
/// Values that cannot be measured (negative, no numbers) are as missing in the history, and no outcomes.
pub fn evaluate_traces<T: AsRef<[f64]>>(
    traces: &[T],
    evaluation: &Evaluation,
) -> Result<Accuracy, HistoryError> {
    let mut sum = Totals::default();
    for trace in traces {
        sum.add(&evaluate_trace(trace.as_ref(), evaluation)?);
    }
    Ok(sum.accuracy())
}

/// Sums over the points of one trace at which a baseline had an answer.
#[derive(Debug, Clone, Copy, Default)]
struct Compared {
    points: usize,
    ours: f64,
    baseline: f64,
}

impl Compared {
    fn count(&mut self, ours: f64, baseline: f64) {
        self.points += 1;
        self.ours += ours;
        self.baseline += baseline;
    }

    fn ratio(&self) -> Option<f64> {
        (self.points > 0 && self.baseline > 0.0).then(|| self.ours / self.baseline)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct OfTrace {
    last: Compared,
    seasonal: Compared,
    within: usize,
}

fn evaluate_trace(trace: &[f64], evaluation: &Evaluation) -> Result<OfTrace, HistoryError> {
    let mut history = History::new(evaluation.sampling, evaluation.capacity)?;
    let mut of_trace = OfTrace::default();
    let step_s = i64::from(evaluation.sampling.step_s);
    let measurable = |at: usize| {
        trace
            .get(at)
            .copied()
            .filter(|value| value.is_finite() && *value >= 0.0)
    };
    let warm_up = evaluation.warm_up.max(1);
    for (at, (time_s, value)) in (0..)
        .map(|step: i64| step.saturating_mul(step_s))
        .zip(trace)
        .enumerate()
    {
        // What cannot be measured is missing from the history, as it would be in a pool.
        let _refused = history.push(time_s, *value);
        let known = at + 1;
        if known < warm_up || !(known - warm_up).is_multiple_of(evaluation.stride.max(1)) {
            continue;
        }
        let (Some(last), Some(outcome)) = (measurable(at), measurable(at + evaluation.lead)) else {
            continue;
        };
        let made = forecast(&history, evaluation.lead, LEVEL_DEFAULT, evaluation.effort);
        let (Some(point), Some(lower), Some(upper)) =
            (made.point.last(), made.lower.last(), made.upper.last())
        else {
            continue;
        };
        let ours = (outcome - point).abs();
        of_trace.last.count(ours, (outcome - last).abs());
        of_trace.within += usize::from((*lower..=*upper).contains(&outcome));
        let season_before = (at + evaluation.lead)
            .checked_sub(evaluation.season)
            .filter(|before| *before <= at);
        if let Some(before) = season_before.and_then(measurable) {
            of_trace.seasonal.count(ours, (outcome - before).abs());
        }
    }
    Ok(of_trace)
}

#[derive(Debug, Default)]
struct Totals {
    traces: usize,
    last: Compared,
    seasonal: Compared,
    within: usize,
    ratios_last: Vec<f64>,
    ratios_seasonal: Vec<f64>,
}

impl Totals {
    fn add(&mut self, trace: &OfTrace) {
        self.traces += usize::from(trace.last.points > 0);
        self.within += trace.within;
        for (sum, ratios, compared) in [
            (&mut self.last, &mut self.ratios_last, trace.last),
            (&mut self.seasonal, &mut self.ratios_seasonal, trace.seasonal),
        ] {
            sum.points += compared.points;
            sum.ours += compared.ours;
            sum.baseline += compared.baseline;
            ratios.extend(compared.ratio());
        }
    }

    fn accuracy(&self) -> Accuracy {
        let points = real(self.last.points.max(1));
        Accuracy {
            traces: self.traces,
            forecasts: self.last.points,
            error: self.last.ours / points,
            error_vs_last: mean(&self.ratios_last),
            error_vs_seasonal: mean(&self.ratios_seasonal),
            total_error_vs_last: self.last.ratio(),
            total_error_vs_seasonal: self.seasonal.ratio(),
            within_bounds: real(self.within) / points,
        }
    }
}
