use super::{Slope, TermName, TermRule};

pub(super) const RULE: TermRule = TermRule {
    name: TermName::Stay,
    applies: |scoring| scoring.current.is_some(),
    value: |scoring, outlook| {
        if scoring.current == Some(outlook.machine) {
            1.0
        } else {
            0.0
        }
    },
    most: |_, _| 0.0,
    slope: |_, _| Slope::None,
};
