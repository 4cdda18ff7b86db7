//! The plain values that a forecast is made of: what others ask for and show.

use std::fmt;

use serde::{Deserialize, Serialize};
use ts_rs::TS;
use utoipa::ToSchema;

/// The share of outcomes that is meant to lie within a predicted load's bounds.
pub const LEVEL_DEFAULT: f64 = 0.9;
/// The furthest that a forecast looks, in steps: a week of 300 s.
pub const HORIZON_STEPS_MAX: usize = 2_016;

/// How much work a forecast is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, TS)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    /// The recent middle, drawn towards the last value; a microsecond. For tens of thousands of series.
    Quick,
    /// A blend of simple forecasters, weighted by their errors on the series' own past, over a daily profile where that
    /// helps; up to a millisecond.
    Blended,
    /// In addition daily and weekly seasons by MSTL and a trend by exponential smoothing, where they would have made smaller
    /// errors; some hundredths of a second for four weeks of history.
    Full,
}

/// How a forecast was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Method {
    /// Nothing is known: anything from zero to the capacity is possible.
    None,
    /// The last value, because the history is too short for more.
    LastValue,
    /// The recent middle, drawn towards the last value.
    RecentMiddle,
    /// Simple forecasters, weighted by their errors on this series' own past.
    Blend,
    /// As `Blend`, on top of what the time of the day or of the week explains.
    SeasonalBlend {
        /// The day has a shape.
        daily: bool,
        /// The week has a shape.
        weekly: bool,
    },
    /// A trend by exponential smoothing.
    Trend,
    /// A trend by exponential smoothing, on top of what the time of the day or of the week explains.
    SeasonalTrend {
        /// The day has a shape.
        daily: bool,
        /// The week has a shape.
        weekly: bool,
    },
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let season = |daily: bool, weekly: bool| match (daily, weekly) {
            (true, true) => "the time of the day and of the week",
            (false, true) => "the time of the week",
            _ => "the time of the day",
        };
        match *self {
            Self::None => f.write_str("nothing is known"),
            Self::LastValue => f.write_str("the last value"),
            Self::RecentMiddle => f.write_str("what was usual lately"),
            Self::Blend => f.write_str("what has foretold this series best"),
            Self::SeasonalBlend { daily, weekly } => {
                write!(
                    f,
                    "{}, and what has foretold the rest best",
                    season(daily, weekly)
                )
            }
            Self::Trend => f.write_str("the trend"),
            Self::SeasonalTrend { daily, weekly } => write!(f, "{}, and the trend", season(daily, weekly)),
        }
    }
}

/// Why this method and no other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema, TS)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Note {
    /// Nothing was measured yet.
    NoSamples,
    /// The newest sample is too old to say anything.
    Stale {
        /// How old it is, in seconds (capped at what a `u32` holds).
        age_s: u32,
    },
    /// The newest sample is from after the present: one of the clocks is wrong.
    ClockBehind {
        /// How far after, in seconds.
        ahead_s: u32,
    },
    /// There are too few values to learn from.
    TooShort {
        /// Values that there are.
        samples: u32,
        /// Values that it takes.
        needed: u32,
    },
    /// The value never changed.
    Constant,
    /// There are too many series for more than a quick look at each.
    QuickLook,
    /// Less than two days are known, so a daily shape cannot be seen yet.
    NoSeasonYet {
        /// Values that there are.
        samples: u32,
        /// Values that it takes.
        needed: u32,
    },
    /// It goes up and down faster than can be followed: the mean is that of as long before, not that of the single values.
    Swings,
    /// The time of the day and of the week were tried and explain too little of this series.
    NoSeasonFound,
    /// The time of the day or of the week makes the forecast better.
    SeasonFound {
        /// The share of the past error that it takes away, 0..=1.
        error_cut: f64,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoSamples => f.write_str("nothing was measured yet"),
            Self::Stale { age_s } => write!(f, "the newest measurement is {age_s} s old"),
            Self::ClockBehind { ahead_s } => {
                write!(
                    f,
                    "the newest measurement is from {ahead_s} s after the present: a clock is wrong"
                )
            }
            Self::TooShort { samples, needed } => {
                write!(
                    f,
                    "{samples} measurements so far, {needed} are needed to learn from them"
                )
            }
            Self::Constant => f.write_str("it never changed"),
            Self::QuickLook => f.write_str("a quick look, as the pool is large"),
            Self::NoSeasonYet { samples, needed } => {
                write!(
                    f,
                    "{samples} measurements so far, {needed} are needed to see a daily shape"
                )
            }
            Self::Swings => {
                f.write_str("it swings too fast to follow, and is taken to stay as it was on average")
            }
            Self::NoSeasonFound => f.write_str("neither the day nor the week has a shape that helps"),
            Self::SeasonFound { error_cut } => {
                write!(f, "knowing the time cuts the error by {:.0} %", error_cut * 100.0)
            }
        }
    }
}

/// What a series will do over the next steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// For each step after the newest value: the value with the least expected absolute error (a median).
    pub point: Vec<f64>,
    /// For each step: below this with a chance of (1 − `level`) / 2.
    pub lower: Vec<f64>,
    /// For each step: above this with a chance of (1 − `level`) / 2.
    pub upper: Vec<f64>,
    /// What to add to `point` for the mean: bursty series are on average above their median.
    pub mean_above_point: f64,
    /// The standard deviation of past errors around the mean, in the unit of the values.
    pub deviation: f64,
    /// The share of outcomes that is meant to lie between `lower` and `upper`.
    pub level: f64,
    /// How it was made.
    pub method: Method,
    /// Why in this way.
    pub note: Note,
}

/// The load to plan with, over a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema, TS)]
pub struct PredictedLoad {
    /// The expected value, averaged over the span, 0..=capacity. Means of instances add up to the mean of their machine.
    pub mean: f64,
    /// The value with the least expected absolute error at the end of the span, 0..=capacity: what people would call usual.
    pub typical: f64,
    /// How far single values lie from the mean (standard deviation). Of independent instances, the squares add up.
    pub deviation: f64,
    /// The highest upper bound within the span, 0..=capacity: at [`LEVEL_DEFAULT`] passed with a chance of 5 % in any one step.
    pub peak: f64,
    /// How it was made.
    pub method: Method,
    /// Why in this way.
    pub note: Note,
}
