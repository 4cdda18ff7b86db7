//! How much more even the pool becomes, for each bit of load that the instance brings.
//!
//! An instance that adds `a` to a machine's load `x` changes the sum of squared distances from the mean `m` by `2a((x + a/2) - m)`: the
//! further the machine stays below the mean half-way through, the more even the pool becomes. Each of CPU, memory and disk counts as
//! much as the instance brings of it.

use super::{Slope, TermName, TermRule};
use crate::placing::scoring::{Outlook, Outlooks, Scoring};
use crate::state::Imbalance;

pub(super) const RULE: TermRule = TermRule {
    name: TermName::Evenness,
    applies: |scoring| scoring.needs.iter().any(|need| *need > 0.0),
    value,
    most,
    slope,
};

fn value(scoring: &Scoring<'_>, outlook: &Outlook) -> f64 {
    at_most(
        scoring,
        outlook.before,
        outlook.after,
        outlook.added,
        outlook.added,
    )
}

fn most(scoring: &Scoring<'_>, outlooks: &Outlooks) -> f64 {
    at_most(
        scoring,
        outlooks.before_least,
        outlooks.after_least,
        outlooks.added_least,
        outlooks.added_most,
    )
}

/// The least share of each dimension in what is added, halved. Where loads stay within 1, nothing is cut off at 0; where the pool's mean
/// does, too, what is cut off at 1 lies above every machine's value.
fn slope(scoring: &Scoring<'_>, outlooks: &Outlooks) -> Slope {
    let mut loads = outlooks.after_most.iter().chain(&scoring.mean);
    if loads.any(|load| *load > 1.0) {
        return Slope::None;
    }
    let (least, most) = (weigh(outlooks.added_least), weigh(outlooks.added_most));
    Slope::FromLeast([0, 1, 2].map(|at: usize| {
        let whole = least[at] + most[(at + 1) % 3] + most[(at + 2) % 3];
        if whole > 0.0 { least[at] / whole * 0.5 } else { 0.0 }
    }))
}

/// The value where all that is added is known; else the most that it can be.
fn at_most(
    scoring: &Scoring<'_>,
    before: [f64; 3],
    after: [f64; 3],
    added_least: [f64; 3],
    added_most: [f64; 3],
) -> f64 {
    let (least, most) = (weigh(added_least), weigh(added_most));
    let mut value = 0.5;
    for at in 0..3 {
        let below = scoring.mean[at] - (before[at] + after[at]) * 0.5;
        // The share of this dimension in what is added, as large as it can be where that is good, else as small.
        let (own, others) = if below > 0.0 { (most, least) } else { (least, most) };
        let whole = own[at] + others[(at + 1) % 3] + others[(at + 2) % 3];
        if whole > 0.0 {
            value += below * (own[at] / whole) * 0.5;
        }
    }
    if added_least
        .iter()
        .zip(added_most)
        .any(|(least, most)| *least < most)
    {
        // A quotient of rounded sums may be a rounding less than it should.
        value += 1e-12;
    }
    value.clamp(0.0, 1.0)
}

fn weigh(added: [f64; 3]) -> [f64; 3] {
    let [of_cpu, of_memory, of_disk] = Imbalance::WEIGHTS;
    [added[0] * of_cpu, added[1] * of_memory, added[2] * of_disk]
}
