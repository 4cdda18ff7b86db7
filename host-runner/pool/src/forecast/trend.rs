//! The trend of a series, by exponential smoothing (`augurs`, `AutoETS`).

use augurs::ets::AutoETS;
use augurs::{Fit, Predict};

use super::stats::{mean, real};

/// The fewest values that are given to the fit: with fewer than parameters, it would subtract below zero.
const SAMPLES_MIN: usize = 48;
/// The fit sees the last values only: an older level says nothing about the trend, and each one costs time.
const SAMPLES_MAX: usize = 288;

/// A trend with its bounds, one value a step.
#[derive(Debug, Clone)]
pub(super) struct Trend {
    pub(super) point: Vec<f64>,
    pub(super) lower: Vec<f64>,
    pub(super) upper: Vec<f64>,
}

/// Continues `values` (about 0..=1) by `horizon` steps, with bounds at `level`.
///
/// Errors are taken as additive only: multiplicative ones need values above zero, and augurs draws the bounds of some of
/// those models with unseeded randomness. `None` where there are too few values, where they do not vary, or where the fit
/// fails or gives anything but numbers.
pub(super) fn continued(values: &[f64], horizon: usize, level: f64) -> Option<Trend> {
    let recent = values.get(values.len().saturating_sub(SAMPLES_MAX)..)?;
    if recent.len() < SAMPLES_MIN || horizon == 0 || !recent.iter().all(|value| value.is_finite()) {
        return None;
    }
    let least = recent.iter().copied().fold(f64::INFINITY, f64::min);
    let most = recent.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most - least <= f64::EPSILON {
        return None;
    }
    let model = AutoETS::new(1, "AZN").ok()?;
    let forecast = model.fit(recent).ok()?.predict(horizon, level).ok()?;
    let intervals = forecast.intervals?;
    let trend = Trend {
        point: forecast.point,
        lower: intervals.lower,
        upper: intervals.upper,
    };
    let whole = [&trend.point, &trend.lower, &trend.upper]
        .iter()
        .all(|series| series.len() == horizon && series.iter().all(|value| value.is_finite()));
    whole.then_some(trend)
}

/// The share of the variance of the last values that a straight line explains, 0..=1; `None` where they do not vary.
pub(super) fn straightness(values: &[f64]) -> Option<f64> {
    let recent = values.get(values.len().saturating_sub(SAMPLES_MAX)..)?;
    let (middle, level) = (real(recent.len().checked_sub(1)?) / 2.0, mean(recent)?);
    let (mut along, mut of_time, mut of_values) = (0.0, 0.0, 0.0);
    for (step, value) in recent.iter().enumerate() {
        let (time, above) = (real(step) - middle, value - level);
        along += time * above;
        of_time += time * time;
        of_values += above * above;
    }
    let explained = along * along / (of_time * of_values);
    explained.is_finite().then_some(explained)
}
