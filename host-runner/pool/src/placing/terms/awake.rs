use super::{Slope, TermName, TermRule};
use crate::state::Marks;

pub(super) const RULE: TermRule = TermRule {
    name: TermName::Awake,
    applies: |scoring| scoring.subject.may_wake,
    value: |_, outlook| awake(outlook.marks),
    most: |_, outlooks| awake(outlooks.marks),
    slope: |_, _| Slope::None,
};

fn awake(marks: Marks) -> f64 {
    if marks.has(Marks::READY) { 1.0 } else { 0.0 }
}
