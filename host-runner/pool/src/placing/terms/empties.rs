use super::{Slope, TermName, TermRule};
use crate::state::Marks;

pub(super) const RULE: TermRule = TermRule {
    name: TermName::Empties,
    applies: |_| true,
    value: |_, outlook| occupied(outlook.marks),
    most: |_, outlooks| occupied(outlooks.marks),
    slope: |_, _| Slope::None,
};

fn occupied(marks: Marks) -> f64 {
    if marks.has(Marks::OCCUPIED) { 1.0 } else { 0.0 }
}
