//! What the time of the day and of the week explain of a series.

use augurs::Fit;
use augurs::mstl::{MSTLModel, NaiveTrend};

use super::history::Sampling;
use super::stats::{mean, median, real};

/// Seconds of a day.
const DAY_S: u32 = 86_400;
/// Profiles are smoothed over this time to both sides: of a few days, a single step's average is mostly chance.
const SMOOTHED_S: u32 = 1_800;
/// A day in fewer steps has no shape worth the name.
const DAY_STEPS_MIN: usize = 8;

/// The lengths of a day and of a week in steps of one series.
#[derive(Debug, Clone, Copy)]
pub(super) struct Calendar {
    pub(super) day: usize,
    pub(super) week: usize,
    smoothed: usize,
}

impl Calendar {
    /// `None` where a day is no whole number of steps, or of too few: such a series is foretold without seasons.
    pub(super) fn of(sampling: Sampling) -> Option<Self> {
        if !DAY_S.is_multiple_of(sampling.step_s) {
            return None;
        }
        let day = usize::try_from(DAY_S / sampling.step_s)
            .ok()
            .filter(|day| *day >= DAY_STEPS_MIN)?;
        let smoothed = usize::try_from(SMOOTHED_S / sampling.step_s).unwrap_or_default();
        Some(Self {
            day,
            week: day * 7,
            smoothed,
        })
    }
}

impl Calendar {
    /// The steps whose mean stands for all of them in a decomposition: half an hour where that divides a day.
    fn block(self) -> usize {
        let block = self.smoothed.max(1);
        if self.day.is_multiple_of(block) && self.day / block >= DAY_STEPS_MIN {
            block
        } else {
            1
        }
    }
}

/// How far a series is above or below its level at each time of the day or week.
#[derive(Debug, Clone)]
pub(super) struct Season {
    profiles: Vec<Vec<f64>>,
    pub(super) daily: bool,
    pub(super) weekly: bool,
}

impl Season {
    /// The daily shape: the medians of each time of the day, smoothed. `None` where less than a day is known.
    pub(super) fn daily_profile(values: &[f64], first_bin: i64, calendar: Calendar) -> Option<Self> {
        let profile = profile(values, first_bin, calendar.day, calendar.smoothed)?;
        Some(Self {
            profiles: vec![profile],
            daily: true,
            weekly: false,
        })
    }

    /// The daily shape, and what the day of the week adds to it; `None` where less than a week is known.
    pub(super) fn weekly_profile(values: &[f64], first_bin: i64, calendar: Calendar) -> Option<Self> {
        let mut season = Self::daily_profile(values, first_bin, calendar)?;
        let rest = season.removed_from(values, first_bin, 1.0);
        season
            .profiles
            .push(profile(&rest, first_bin, calendar.week, calendar.smoothed)?);
        season.weekly = true;
        Some(season)
    }

    /// The shapes by MSTL (seasonal-trend decomposition by Loess), which lets them change slowly.
    ///
    /// It is run on means of [`SMOOTHED_S`], as the shapes are smoothed over as much anyway: a tenth of the work.
    /// `None` where less than two periods of each are known, or where the decomposition fails or gives no numbers.
    pub(super) fn decomposed(
        values: &[f64],
        first_bin: i64,
        calendar: Calendar,
        weekly: bool,
    ) -> Option<Self> {
        let periods = if weekly {
            vec![calendar.day, calendar.week]
        } else {
            vec![calendar.day]
        };
        if values.len() < periods.iter().max()? * 2 {
            return None;
        }
        let block = calendar.block();
        let (first_block, means) = means_of_blocks(values, first_bin, block)?;
        let in_blocks: Vec<usize> = periods.iter().map(|period| period / block).collect();
        let fitted = MSTLModel::new(in_blocks.clone(), NaiveTrend::new())
            .fit(&means)
            .ok()?;
        let mut profiles = Vec::with_capacity(periods.len());
        for ((component, period), in_blocks) in fitted.fit().seasonal().iter().zip(periods).zip(in_blocks) {
            let last_from = component.len().checked_sub(in_blocks)?;
            let last: Vec<f64> = component
                .get(last_from..)?
                .iter()
                .flat_map(|value| std::iter::repeat_n(f64::from(*value), block))
                .collect();
            let from_block = first_block.saturating_add(i64::try_from(last_from).ok()?);
            let from_bin = from_block.saturating_mul(i64::try_from(block).ok()?);
            profiles.push(profile(&last, from_bin, period, calendar.smoothed)?);
        }
        Some(Self {
            profiles,
            daily: true,
            weekly,
        })
    }

    /// How far the series is usually above its level in the step `bin`.
    pub(super) fn at(&self, bin: i64) -> f64 {
        self.profiles
            .iter()
            .filter_map(|profile| profile.get(slot(bin, profile.len())?))
            .sum()
    }

    /// `values` without `strength` times the season, the first of them in the step `first_bin`.
    pub(super) fn removed_from(&self, values: &[f64], first_bin: i64, strength: f64) -> Vec<f64> {
        (first_bin..)
            .zip(values)
            .map(|(bin, value)| value - strength * self.at(bin))
            .collect()
    }
}

fn slot(bin: i64, period: usize) -> Option<usize> {
    usize::try_from(bin.checked_rem_euclid(i64::try_from(period).ok()?)?).ok()
}

/// The means of blocks of `block` steps, aligned to the epoch, and the number of the first.
fn means_of_blocks(values: &[f64], first_bin: i64, block: usize) -> Option<(i64, Vec<f64>)> {
    let into = slot(first_bin, block)?;
    let (head, rest) = values.split_at_checked(block - into)?;
    let means = std::iter::once(head)
        .chain(rest.chunks(block))
        .filter_map(mean)
        .collect();
    Some((first_bin.div_euclid(i64::try_from(block).ok()?), means))
}

/// The median of each slot of the period, around zero, smoothed over `smoothed` slots to both sides.
fn profile(values: &[f64], first_bin: i64, period: usize, smoothed: usize) -> Option<Vec<f64>> {
    if period == 0 || values.len() < period {
        return None;
    }
    let mut by_slot: Vec<Vec<f64>> = vec![Vec::new(); period];
    for (bin, value) in (first_bin..).zip(values) {
        by_slot.get_mut(slot(bin, period)?)?.push(*value);
    }
    let middles: Vec<f64> = by_slot.iter().filter_map(|slot| median(slot)).collect();
    let center = median(&middles)?;
    let width = (2 * smoothed + 1).min(period);
    // Round the clock: each sum is the one before, less what leaves the window, plus what enters it.
    let ring = |at: usize| middles.get(at % period).copied().unwrap_or(center);
    let mut sum: f64 = (0..width).map(ring).sum();
    let mut smooth = vec![0.0; period];
    for start in 0..period {
        *smooth.get_mut((start + width / 2) % period)? = sum / real(width) - center;
        sum += ring(start + width) - ring(start);
    }
    smooth.iter().all(|value| value.is_finite()).then_some(smooth)
}
