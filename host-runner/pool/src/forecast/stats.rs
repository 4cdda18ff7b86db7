//! The few statistics that forecasts are made of. All of them are total: an empty series gives `None`, never a panic.

/// A count as it is shown to people and sent to the window.
pub(super) fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// A count as a real number.
pub(super) fn real(length: usize) -> f64 {
    f64::from(count(length))
}

/// The arithmetic mean.
pub(super) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / real(values.len()))
}

/// The mean of the absolute values.
pub(super) fn mean_absolute(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().map(|value| value.abs()).sum::<f64>() / real(values.len()))
}

/// The standard deviation around `center`.
pub(super) fn deviation(values: &[f64], center: f64) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    (values.iter().map(|value| (value - center).powi(2)).sum::<f64>() / real(values.len())).sqrt()
}

/// The values in ascending order.
pub(super) fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// The value below which the share `share` (0..=1) of `sorted` lies, on a straight line between neighbours.
pub(super) fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let rank = real(last) * share.clamp(0.0, 1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the length: both the cut and the sign are as meant"
    )]
    let below = rank.floor() as usize;
    let low = *sorted.get(below)?;
    let high = *sorted.get((below + 1).min(last))?;
    Some(low + (high - low) * (rank - rank.floor()))
}

/// The middle value.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    quantile(&sorted(values), 0.5)
}

/// Sums from the first value on, so that the mean of any stretch is at hand.
pub(super) struct Sums(Vec<f64>);

impl Sums {
    pub(super) fn of(values: &[f64]) -> Self {
        let mut sum = 0.0;
        let first = std::iter::once(0.0);
        Self(
            first
                .chain(values.iter().map(|value| {
                    sum += value;
                    sum
                }))
                .collect(),
        )
    }

    /// The mean of the values from one place to before another; 0 where there are none.
    pub(super) fn mean(&self, from: usize, to: usize) -> f64 {
        match (self.0.get(from), self.0.get(to)) {
            (Some(before), Some(after)) if from < to => (after - before) / real(to - from),
            _ => 0.0,
        }
    }
}

/// The root of the mean of the squares.
pub(super) fn root_mean_square(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    deviation(&values, 0.0)
}
