use super::{Slope, TermName, TermRule};
use crate::state::Imbalance;

pub(super) const RULE: TermRule = TermRule {
    name: TermName::Packed,
    applies: |_| true,
    value: |_, outlook| fullness(outlook.after),
    most: |_, outlooks| fullness(outlooks.after_most),
    slope: |_, outlooks| {
        // Beyond full, nothing is fuller.
        let within = outlooks.after_most.iter().all(|load| *load <= 1.0);
        if within {
            Slope::FromMost(Imbalance::WEIGHTS)
        } else {
            Slope::None
        }
    },
};

fn fullness(load: [f64; 3]) -> f64 {
    let parts = load.iter().zip(Imbalance::WEIGHTS);
    parts.fold(0.0, |sum, (load, weight)| sum + load.clamp(0.0, 1.0) * weight)
}
