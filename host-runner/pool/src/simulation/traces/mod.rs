//! Loads over time: read from files that others measured, or generated from a seed.

mod csv;
mod generators;
mod planetlab;

use std::sync::Arc;

use super::time::Millis;

pub use csv::read_csv;
pub use generators::Generator;
pub use planetlab::{PLANETLAB_STEP, read_planetlab};

/// Samples that one trace may have: a year of minutes, and some.
pub const SAMPLES_MAX: usize = 1 << 20;

/// Why a trace cannot be used; each names the file and, where there is one, the line (from 1).
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TraceError {
    /// There is no sample in it.
    #[error("{file}: no samples")]
    Empty {
        /// The file's name.
        file: String,
    },
    /// More samples than are kept.
    #[error("{file}:{line}: more than {SAMPLES_MAX} samples of one instance")]
    TooLong {
        /// The file's name.
        file: String,
        /// Where it became too much.
        line: usize,
    },
    /// The first line is not the header that the format needs.
    #[error("{file}:1: the header must be \"{wanted}\", not \"{found}\"")]
    Header {
        /// The file's name.
        file: String,
        /// What must stand there.
        wanted: &'static str,
        /// What does, shortened.
        found: String,
    },
    /// A line has too few or too many fields.
    #[error("{file}:{line}: {found} fields where {wanted} are needed")]
    Fields {
        /// The file's name.
        file: String,
        /// The line.
        line: usize,
        /// What it has.
        found: usize,
        /// What the format needs.
        wanted: usize,
    },
    /// A value is not one that its field can have.
    #[error("{file}:{line}: {field} must be {wanted}, not \"{found}\"")]
    Value {
        /// The file's name.
        file: String,
        /// The line.
        line: usize,
        /// The field.
        field: &'static str,
        /// What it can be.
        wanted: &'static str,
        /// What stands there, shortened.
        found: String,
    },
    /// Time does not go forward.
    #[error("{file}:{line}: the time of \"{instance}\" is not later than in the line before")]
    Backwards {
        /// The file's name.
        file: String,
        /// The line.
        line: usize,
        /// Whose time.
        instance: String,
    },
}

/// One instance's CPU use over time, as a fraction (0..=1) of what it may use at most.
///
/// Linear between two samples; before the first sample the first, after the last the last. A clone shares the samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    samples: Samples,
}

#[derive(Debug, Clone, PartialEq)]
enum Samples {
    /// One every `step`, from the start of the run.
    Even { step: Millis, values: Arc<[f64]> },
    /// At their own times, which ascend.
    Timed(Arc<[(Millis, f64)]>),
}

impl Trace {
    /// Samples at `0, step, 2 step …`; each is held to 0..=1 (NaN counts as 0).
    pub(crate) fn even(step: Millis, mut values: Vec<f64>) -> Self {
        for value in &mut values {
            *value = fraction(*value);
        }
        Self {
            samples: Samples::Even {
                step,
                values: values.into(),
            },
        }
    }

    /// Samples at their own times, which must ascend.
    pub(crate) fn timed(points: Vec<(Millis, f64)>) -> Self {
        Self {
            samples: Samples::Timed(points.into()),
        }
    }

    /// The load at `time`, 0..=1.
    pub fn at(&self, time: Millis) -> f64 {
        match &self.samples {
            Samples::Even { step, values } => even_at(*step, values, time),
            Samples::Timed(points) => timed_at(points, time),
        }
    }
}

/// `value` held to 0..=1; what is no number is no load.
fn fraction(value: f64) -> f64 {
    if value.is_nan() {
        0.0
    } else {
        value.clamp(0.0, 1.0)
    }
}

fn even_at(step: Millis, values: &[f64], time: Millis) -> f64 {
    let last = values.last().copied().unwrap_or_default();
    let Some(index) = time.0.checked_div(step.0) else {
        return last;
    };
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    let Some(&from) = values.get(index) else {
        return last;
    };
    let to = values.get(index + 1).copied().unwrap_or(last);
    let into = Millis(time.0 % step.0);
    from + (to - from) * (into.seconds() / step.seconds())
}

fn timed_at(points: &[(Millis, f64)], time: Millis) -> f64 {
    let after = points.partition_point(|(at, _)| *at <= time);
    let before = after.checked_sub(1).and_then(|index| points.get(index));
    match (before, points.get(after)) {
        (Some(&(from_at, from)), Some(&(to_at, to))) => {
            let share = (time - from_at).seconds() / (to_at - from_at).seconds();
            from + (to - from) * share
        }
        (Some(&(_, value)), None) | (None, Some(&(_, value))) => value,
        (None, None) => 0.0,
    }
}

/// What a message quotes of a broken field: enough to find it, never a whole hostile file.
fn quoted(text: &str) -> String {
    const QUOTED_MAX: usize = 40;
    let mut short: String = text
        .chars()
        .take(QUOTED_MAX)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(QUOTED_MAX).is_some() {
        short.push('…');
    }
    short
}
