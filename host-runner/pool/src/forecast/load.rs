//! Forecasts in the form that plans need: one load for a span of time, with its spread and its peak.

use super::choose::{forecast, unknown};
use super::history::History;
use super::stats::mean;
use super::types::{Effort, Forecast, HORIZON_STEPS_MAX, LEVEL_DEFAULT, Method, Note, PredictedLoad};

/// Older measurements than this say nothing about the present, in seconds: an hour.
pub const AGE_S_MAX: i64 = 3_600;
/// So many series get a full forecast each (0.1 ms for a day of history, 13 ms for four weeks, 50 ms more to try a trend).
const FULL_SERIES_MAX: usize = 64;
/// So many get a blend each (0.08 ms for a day of history, 0.4 to 1.2 ms for more); the rest a quick look (1.2 µs).
const BLENDED_SERIES_MAX: usize = 1_000;

/// The effort that each of `series` forecasts is worth, so that a whole pool is foretold within about a second of one core,
/// or a few at the worst: when every series is weeks long and seems to have a trend.
pub fn effort_for(series: usize) -> Effort {
    if series <= FULL_SERIES_MAX {
        Effort::Full
    } else if series <= BLENDED_SERIES_MAX {
        Effort::Blended
    } else {
        Effort::Quick
    }
}

/// The load over the `horizon_s` seconds from `now_s` on (seconds since the epoch), with all effort.
pub fn predict_load(history: &History, now_s: i64, horizon_s: u32) -> PredictedLoad {
    predict_load_with(history, now_s, horizon_s, Effort::Full)
}

/// The loads of a whole pool, in the order of `histories`, with the effort that [`effort_for`] their number gives.
pub fn predict_loads<'a>(
    histories: impl ExactSizeIterator<Item = &'a History>,
    now_s: i64,
    horizon_s: u32,
) -> Vec<PredictedLoad> {
    let effort = effort_for(histories.len());
    histories
        .map(|history| predict_load_with(history, now_s, horizon_s, effort))
        .collect()
}

/// The load over the `horizon_s` seconds from `now_s` on (seconds since the epoch), with the given effort.
///
/// A history whose newest sample is older than [`AGE_S_MAX`], or as far in the future, still gives its last value as the
/// mean, but promises nothing: the peak is the capacity. At most [`HORIZON_STEPS_MAX`] steps are looked ahead.
pub fn predict_load_with(history: &History, now_s: i64, horizon_s: u32, effort: Effort) -> PredictedLoad {
    let Some(age_s) = history.age_s(now_s) else {
        return over(
            &unknown(history.capacity(), 1, LEVEL_DEFAULT),
            0,
            history.capacity(),
        );
    };
    if age_s > AGE_S_MAX {
        return outdated(
            history,
            Note::Stale {
                age_s: seconds(age_s),
            },
        );
    }
    let ahead_s = age_s.saturating_neg();
    if ahead_s > AGE_S_MAX {
        return outdated(
            history,
            Note::ClockBehind {
                ahead_s: seconds(ahead_s),
            },
        );
    }
    let step_s = history.sampling().step_s;
    let passed = usize::try_from(age_s.max(0) / i64::from(step_s)).unwrap_or_default();
    let asked = usize::try_from(horizon_s.div_ceil(step_s))
        .unwrap_or(usize::MAX)
        .max(1);
    let steps = passed.saturating_add(asked).min(HORIZON_STEPS_MAX);
    let made = forecast(history, steps, LEVEL_DEFAULT, effort);
    let mut load = over(&made, passed.min(steps - 1), history.capacity());
    if ahead_s > i64::from(step_s) {
        load.note = Note::ClockBehind {
            ahead_s: seconds(ahead_s),
        };
    }
    load
}

/// A time that is shown to people: no more than a `u32` holds, which is 136 years.
fn seconds(time_s: i64) -> u32 {
    u32::try_from(time_s.max(0)).unwrap_or(u32::MAX)
}

fn over(made: &Forecast, passed: usize, capacity: f64) -> PredictedLoad {
    let span = |series: &[f64]| series.get(passed..).unwrap_or_default().to_vec();
    let point = span(&made.point);
    let typical = point.last().copied().unwrap_or_default();
    PredictedLoad {
        mean: (mean(&point).unwrap_or_default() + made.mean_above_point).clamp(0.0, capacity),
        typical,
        deviation: made.deviation,
        peak: span(&made.upper).into_iter().fold(typical, f64::max),
        method: made.method,
        note: made.note,
    }
}

fn outdated(history: &History, note: Note) -> PredictedLoad {
    let capacity = history.capacity();
    let last = history.values().last().copied().unwrap_or(capacity / 2.0);
    PredictedLoad {
        mean: last,
        typical: last,
        deviation: capacity / 12.0_f64.sqrt(),
        peak: capacity,
        method: Method::LastValue,
        note,
    }
}
