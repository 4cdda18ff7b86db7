//! The forecast of one series: which method its own past speaks for, and how sure it is.

use std::rc::Rc;

use super::blend::{Rolled, SpanErrors, roll};
use super::history::History;
use super::season::{Calendar, Season};
use super::stats::{count, deviation, mean, mean_absolute, median, quantile, real, root_mean_square, sorted};
use super::trend;
use super::types::{Effort, Forecast, HORIZON_STEPS_MAX, LEVEL_DEFAULT, Method, Note};

/// The fewest values to learn from: two hours of 300 s.
const SAMPLES_MIN: usize = 24;
/// The range of levels; bounds further out than the errors that were seen would be made up.
const LEVELS: (f64, f64) = (0.5, 0.99);
/// Over so many points of the past the forecasters earn their weights.
const LEARNING: usize = 288;
/// The part of it that comes before the points which tell candidates apart.
const WARM_UP: usize = 144;
/// Fewer points than these cannot tell candidates apart.
const HELD_OUT_MIN: usize = 48;
/// Knowing the time must take away this share of the error: less is chance.
const SEASON_GAIN_MIN: f64 = 0.03;
/// The trend must beat the blend by this share, as it is tried at few points of the past only.
const TREND_GAIN_MIN: f64 = 0.15;
/// The trend is tried where a straight line explains this share of the variance: the search for its parameters is slow.
const TREND_STRAIGHT_MIN: f64 = 0.3;
/// At so many points of the past the trend is tried.
const TREND_TRIALS: usize = 8;
/// A season is taken as it is, or half of it: of few days, a part of every shape is chance.
const STRENGTHS: [f64; 2] = [1.0, 0.5];
/// A quick look takes in so many values for the middle, and so many for the spread (two hours and eight, of 300 s).
const QUICK_MIDDLE: usize = 24;
const QUICK_SPREAD: usize = 96;
/// Where the mean of the values before erred so much less than the blend's, the series swings too fast for the blend.
const SWING_ERROR_MAX: f64 = 0.75;
/// How far a quick look is drawn from the recent middle to the last value.
const QUICK_PULL: f64 = 0.05;

/// Foretells the next `horizon_steps` values (1..=[`HORIZON_STEPS_MAX`]) with bounds that hold `level` (0.5..=0.99) of them.
///
/// What lies outside these ranges is cut to them. All values are 0..=capacity of the history. The method is the one that
/// would have made the smallest absolute errors on this series' own past, as far as `effort` lets it try.
pub fn forecast(history: &History, horizon_steps: usize, level: f64, effort: Effort) -> Forecast {
    let horizon = horizon_steps.clamp(1, HORIZON_STEPS_MAX);
    let level = if level.is_finite() {
        level.clamp(LEVELS.0, LEVELS.1)
    } else {
        LEVEL_DEFAULT
    };
    let values = history.values();
    let (Some(&last), Some(newest_bin)) = (values.last(), history.newest_bin()) else {
        return unknown(history.capacity(), horizon, level);
    };
    if values.len() < SAMPLES_MIN {
        return too_short(values, last, history.capacity(), horizon, level);
    }
    let values = match effort {
        Effort::Quick => last_of(values, QUICK_SPREAD),
        Effort::Blended | Effort::Full => values,
    };
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    if most - least <= most * f64::EPSILON {
        return constant(last, horizon, level);
    }
    // Everything below works on 0..=1: no capacity is too large for sums and squares.
    let series: Vec<f64> = values.iter().map(|value| value / most).collect();
    let age = i64::try_from(series.len().saturating_sub(1)).unwrap_or(i64::MAX);
    let case = Case {
        first_bin: newest_bin.saturating_sub(age),
        calendar: Calendar::of(history.sampling()),
        lead: horizon.min(series.len() / 2),
        series,
        horizon,
        level,
    };
    let made = match effort {
        Effort::Quick => case.quick(last / most),
        Effort::Blended => case.blended(false),
        Effort::Full => case.blended(true),
    };
    let made = made.unwrap_or_else(|| too_short(&case.series, last / most, 1.0, horizon, level));
    on_scale(made, most, history.capacity())
}

/// Nothing was measured: anything can be.
pub(super) fn unknown(capacity: f64, horizon: usize, level: f64) -> Forecast {
    Forecast {
        point: vec![capacity / 2.0; horizon],
        lower: vec![0.0; horizon],
        upper: vec![capacity; horizon],
        mean_above_point: 0.0,
        // Of a value that may be anywhere in the range.
        deviation: capacity / 12.0_f64.sqrt(),
        level,
        method: Method::None,
        note: Note::NoSamples,
    }
}

/// The last value; the bounds close in from the whole range to what was seen, as values come in.
fn too_short(values: &[f64], last: f64, capacity: f64, horizon: usize, level: f64) -> Forecast {
    let known = (real(values.len()) / real(SAMPLES_MIN)).min(1.0);
    let least = values.iter().copied().fold(last, f64::min);
    let most = values.iter().copied().fold(last, f64::max);
    let lower = least * known;
    let upper = most + (capacity - most) * (1.0 - known);
    Forecast {
        point: vec![last; horizon],
        lower: vec![lower; horizon],
        upper: vec![upper; horizon],
        mean_above_point: values
            .iter()
            .map(|value| (value - last) / real(values.len()))
            .sum(),
        deviation: upper / 4.0 - lower / 4.0,
        level,
        method: Method::LastValue,
        note: Note::TooShort {
            samples: count(values.len()),
            needed: count(SAMPLES_MIN),
        },
    }
}

fn constant(value: f64, horizon: usize, level: f64) -> Forecast {
    Forecast {
        point: vec![value; horizon],
        lower: vec![value; horizon],
        upper: vec![value; horizon],
        mean_above_point: 0.0,
        deviation: 0.0,
        level,
        method: Method::LastValue,
        note: Note::Constant,
    }
}

/// From 0..=1 back to the unit of the values, within what the quantity can be.
fn on_scale(mut made: Forecast, scale: f64, capacity: f64) -> Forecast {
    for series in [&mut made.point, &mut made.lower, &mut made.upper] {
        for value in series.iter_mut() {
            *value = if value.is_finite() {
                (*value * scale).clamp(0.0, capacity)
            } else {
                capacity
            };
        }
    }
    for ((lower, upper), point) in made.lower.iter_mut().zip(&mut made.upper).zip(&made.point) {
        *lower = lower.min(*point);
        *upper = upper.max(*point);
    }
    made.mean_above_point = (made.mean_above_point * scale).clamp(-capacity, capacity);
    made.deviation = (made.deviation * scale).clamp(0.0, capacity);
    made
}

/// One series on 0..=1, and what is asked of it.
struct Case {
    series: Vec<f64>,
    first_bin: i64,
    calendar: Option<Calendar>,
    /// How far ahead the methods are tried on the past: the horizon, or half of a series that is too short for it.
    lead: usize,
    horizon: usize,
    level: f64,
}

/// How a season is learned.
#[derive(Debug, Clone, Copy)]
enum Learner {
    DailyProfile,
    WeeklyProfile,
    DailyDecomposed,
    WeeklyDecomposed,
}

/// A season as it was known before the points at which it is tried.
struct Tried {
    learner: Learner,
    learned: Rc<Season>,
    strength: f64,
}

impl Tried {
    fn removed_from(&self, case: &Case) -> Vec<f64> {
        self.learned
            .removed_from(&case.series, case.first_bin, self.strength)
    }
}

/// A way to foretell the series, with the errors that it would have made.
struct Candidate {
    season: Option<Tried>,
    rolled: Rolled,
    error: f64,
}

impl Case {
    fn quick(&self, last: f64) -> Option<Forecast> {
        let middle = median(last_of(&self.series, QUICK_MIDDLE))?;
        let point = middle + QUICK_PULL * (last - middle);
        let mean = mean(&self.series)?;
        let ascending = sorted(&self.series);
        let outside = (1.0 - self.level) / 2.0;
        Some(Forecast {
            point: vec![point; self.horizon],
            lower: vec![quantile(&ascending, outside)?; self.horizon],
            upper: vec![quantile(&ascending, 1.0 - outside)?; self.horizon],
            mean_above_point: mean - point,
            deviation: deviation(&self.series, mean),
            level: self.level,
            method: Method::RecentMiddle,
            note: Note::QuickLook,
        })
    }

    fn blended(&self, full: bool) -> Option<Forecast> {
        let (held_out, note) = self.held_out(full);
        let plain = self.candidate(None, held_out)?;
        let plain_error = plain.error;
        let mut best = plain;
        for learner in self.learners(full, note) {
            let before = self.series.len().saturating_sub(held_out + self.lead);
            let learned = self
                .series
                .get(..before)
                .and_then(|values| self.learn(learner, values));
            let Some(learned) = learned.map(Rc::new) else {
                continue;
            };
            for strength in STRENGTHS {
                let season = Tried {
                    learner,
                    learned: Rc::clone(&learned),
                    strength,
                };
                let Some(tried) = self.candidate(Some(season), held_out) else {
                    continue;
                };
                let gain_min = if best.season.is_some() {
                    0.0
                } else {
                    SEASON_GAIN_MIN
                };
                if tried.error < best.error * (1.0 - gain_min) {
                    best = tried;
                }
            }
        }
        let note = if best.season.is_some() {
            Note::SeasonFound {
                error_cut: (1.0 - best.error / plain_error).clamp(0.0, 1.0),
            }
        } else {
            note
        };
        if full && let Some(made) = self.by_trend(&best, held_out, note) {
            return Some(made);
        }
        self.by_blend(&best, held_out, note)
    }

    /// How many of the last points tell the candidates apart, and what to say when no season is found.
    ///
    /// A whole period is held out where the rest is as long: five working days would never show what a weekend is like.
    fn held_out(&self, full: bool) -> (usize, Note) {
        let samples = self.series.len();
        let Some(calendar) = self.calendar else {
            return (LEARNING, Note::NoSeasonFound);
        };
        let needed = (calendar.day * 2).max(calendar.day + self.lead + HELD_OUT_MIN);
        if samples < needed {
            return (
                LEARNING,
                Note::NoSeasonYet {
                    samples: count(samples),
                    needed: count(needed),
                },
            );
        }
        let longest = if full && self.shows_weeks(calendar) {
            calendar.week
        } else {
            calendar.day
        };
        (
            longest.min(samples.saturating_sub(longest + self.lead)),
            Note::NoSeasonFound,
        )
    }

    fn shows_weeks(&self, calendar: Calendar) -> bool {
        self.series.len() >= (calendar.week * 2).max(calendar.week + self.lead + HELD_OUT_MIN)
    }

    /// The ways to learn a season for which the series is long enough: two full periods.
    fn learners(&self, full: bool, note: Note) -> Vec<Learner> {
        let (Some(calendar), Note::NoSeasonFound) = (self.calendar, note) else {
            return Vec::new();
        };
        let mut learners = vec![Learner::DailyProfile];
        if full {
            learners.push(Learner::DailyDecomposed);
            if self.shows_weeks(calendar) {
                learners.extend([Learner::WeeklyProfile, Learner::WeeklyDecomposed]);
            }
        }
        learners
    }

    fn learn(&self, learner: Learner, values: &[f64]) -> Option<Season> {
        let calendar = self.calendar?;
        match learner {
            Learner::DailyProfile => Season::daily_profile(values, self.first_bin, calendar),
            Learner::WeeklyProfile => Season::weekly_profile(values, self.first_bin, calendar),
            Learner::DailyDecomposed => Season::decomposed(values, self.first_bin, calendar, false),
            Learner::WeeklyDecomposed => Season::decomposed(values, self.first_bin, calendar, true),
        }
    }

    /// The errors over the last `held_out` points, with a season that was learned from what was before them only.
    fn candidate(&self, season: Option<Tried>, held_out: usize) -> Option<Candidate> {
        let rolled = match &season {
            None => roll(&self.series, self.lead, held_out + WARM_UP)?,
            Some(tried) => roll(&tried.removed_from(self), self.lead, held_out + WARM_UP)?,
        };
        let error = mean_absolute(last_of(&rolled.errors, held_out))?;
        Some(Candidate {
            season,
            rolled,
            error,
        })
    }

    /// The series without its season, learned from all of it; what the season adds at each step to come.
    fn parted(&self, best: &Candidate) -> Option<Parted> {
        let Some(tried) = &best.season else {
            return Some(Parted {
                rest: self.series.clone(),
                to_come: vec![0.0; self.horizon],
                seasons: None,
            });
        };
        let season = self.learn(tried.learner, &self.series)?;
        let next_bin = self
            .first_bin
            .saturating_add(i64::try_from(self.series.len()).ok()?);
        Some(Parted {
            rest: season.removed_from(&self.series, self.first_bin, tried.strength),
            to_come: (next_bin..)
                .take(self.horizon)
                .map(|bin| tried.strength * season.at(bin))
                .collect(),
            seasons: Some((season.daily, season.weekly)),
        })
    }

    fn by_blend(&self, best: &Candidate, held_out: usize, note: Note) -> Option<Forecast> {
        // The errors that give the bounds are those at points where the season was not yet known.
        let errors = last_of(&best.rolled.errors, held_out);
        let spread = Spread::of(errors, last_of(&best.rolled.errors_next, held_out), self.level)?;
        let parted = self.parted(best)?;
        // Without a season nothing was learned anew: the blend of the trial is the blend of now.
        let level = if best.season.is_some() {
            roll(&parted.rest, self.lead, LEARNING)?
        } else {
            best.rolled.clone()
        };
        let mut made = Forecast {
            point: Vec::with_capacity(self.horizon),
            lower: Vec::with_capacity(self.horizon),
            upper: Vec::with_capacity(self.horizon),
            mean_above_point: spread.mean,
            deviation: spread.deviation,
            level: self.level,
            method: match parted.seasons {
                Some((daily, weekly)) => Method::SeasonalBlend { daily, weekly },
                None => Method::Blend,
            },
            note,
        };
        for (steps, more) in (1..).zip(&parted.to_come) {
            let point = level.at(steps) + more;
            let (below, above) = spread.at(steps, self.lead);
            made.point.push(point);
            made.lower.push(point + below);
            made.upper.push(point + above);
        }
        if let Some(swing) = self.swings(last_of(&best.rolled.spans, held_out), spread.mean) {
            let straight: f64 = (1..=self.horizon).map(|steps| level.at(steps)).sum();
            made.mean_above_point = level.recent - straight / real(self.horizon);
            made.deviation = swing.deviation;
            made.note = Note::Swings;
            for ((lower, upper), more) in made.lower.iter_mut().zip(&mut made.upper).zip(&parted.to_come) {
                *lower = lower.min(level.recent + swing.lowest + more);
                *upper = upper.max(level.recent + swing.highest + more);
            }
        }
        Some(made)
    }

    /// Whether a series goes up and down faster than a forecast of single values can follow: what comes out at the `lead` may be foretold
    /// well, and the mean on the way there is still nothing like it. Then the mean of the values before stands in.
    ///
    /// `correction` is what is added to the blend.
    fn swings(&self, spans: &[SpanErrors], correction: f64) -> Option<Swing> {
        let of_blend = root_mean_square(spans.iter().map(|span| span.of_blend - correction));
        let of_recent = root_mean_square(spans.iter().map(|span| span.of_recent));
        if of_recent >= of_blend * SWING_ERROR_MAX {
            return None;
        }
        let values: Vec<f64> = spans.iter().map(|span| span.value_of_recent).collect();
        let ascending = sorted(&values);
        let outside = (1.0 - self.level) / 2.0;
        Some(Swing {
            deviation: deviation(&values, 0.0),
            lowest: quantile(&ascending, outside)?,
            highest: quantile(&ascending, 1.0 - outside)?,
        })
    }

    /// The trend, where it would have beaten the blend clearly.
    fn by_trend(&self, best: &Candidate, held_out: usize, note: Note) -> Option<Forecast> {
        let known = best
            .season
            .as_ref()
            .map_or_else(|| self.series.clone(), |tried| tried.removed_from(self));
        let errors = last_of(&best.rolled.errors, held_out);
        if trend::straightness(&known)? < TREND_STRAIGHT_MIN {
            return None;
        }
        let stride = (errors.len() / TREND_TRIALS).max(1);
        let (mut by_trend, mut by_blend) = (Vec::new(), Vec::new());
        for (back, error) in errors.iter().rev().enumerate().step_by(stride).take(TREND_TRIALS) {
            let outcome_at = known.len().checked_sub(back + 1)?;
            let seen = known.get(..=outcome_at.checked_sub(self.lead)?)?;
            // Further back there is even less to fit a trend to.
            let Some(tried) = trend::continued(seen, self.lead, self.level) else {
                break;
            };
            by_trend.push(known.get(outcome_at)? - tried.point.last()?);
            by_blend.push(*error);
        }
        if by_trend.len() < TREND_TRIALS / 2 {
            return None;
        }
        if mean_absolute(&by_trend)? >= mean_absolute(&by_blend)? * (1.0 - TREND_GAIN_MIN) {
            return None;
        }
        let parted = self.parted(best)?;
        let trend = trend::continued(&parted.rest, self.horizon, self.level)?;
        let with_season = |series: &[f64]| {
            series
                .iter()
                .zip(&parted.to_come)
                .map(|(value, more)| value + more)
                .collect()
        };
        let mean = mean(&by_trend)?;
        Some(Forecast {
            point: with_season(&trend.point),
            lower: with_season(&trend.lower),
            upper: with_season(&trend.upper),
            mean_above_point: mean,
            deviation: deviation(&by_trend, mean),
            level: self.level,
            method: match parted.seasons {
                Some((daily, weekly)) => Method::SeasonalTrend { daily, weekly },
                None => Method::Trend,
            },
            note,
        })
    }
}

/// A series without its season.
struct Parted {
    rest: Vec<f64>,
    /// What the season adds, for each step after the end.
    to_come: Vec<f64>,
    /// Whether it is of the day, and of the week.
    seasons: Option<(bool, bool)>,
}

/// How far the values of a series that swings lie from their mean before.
struct Swing {
    deviation: f64,
    lowest: f64,
    highest: f64,
}

fn last_of<T>(values: &[T], count: usize) -> &[T] {
    values
        .get(values.len().saturating_sub(count)..)
        .unwrap_or_default()
}

/// How far outcomes lay from what was foretold.
struct Spread {
    next: (f64, f64),
    lead: (f64, f64),
    mean: f64,
    deviation: f64,
}

impl Spread {
    fn of(errors: &[f64], errors_next: &[f64], level: f64) -> Option<Self> {
        let outside = (1.0 - level) / 2.0;
        let bounds = |errors: &[f64]| {
            let ascending = sorted(errors);
            Some((
                quantile(&ascending, outside)?,
                quantile(&ascending, 1.0 - outside)?,
            ))
        };
        let mean = mean(errors)?;
        Some(Self {
            next: bounds(errors_next)?,
            lead: bounds(errors)?,
            mean,
            deviation: deviation(errors, mean),
        })
    }

    /// Errors grow with the square root of time, as those of a random walk: between one step and the `lead` by what was
    /// seen at both, and beyond by the rule alone.
    fn at(&self, steps: usize, lead: usize) -> (f64, f64) {
        let (root, end) = (real(steps).sqrt(), real(lead).sqrt());
        if steps >= lead {
            let wider = root / end.max(1.0);
            return (self.lead.0 * wider, self.lead.1 * wider);
        }
        let along = ((root - 1.0) / (end - 1.0)).clamp(0.0, 1.0);
        let between = |from: f64, to: f64| from + (to - from) * along;
        (
            between(self.next.0, self.lead.0),
            between(self.next.1, self.lead.1),
        )
    }
}
