//! What is left of CPU, memory and disk.

use super::{Slope, TermName, TermRule};
use crate::placing::scoring::Scoring;

pub(super) const CPU: TermRule = TermRule {
    name: TermName::CpuLeft,
    applies: |scoring| scoring.subject.is_running(),
    value: |_, outlook| idle(outlook.after[0]),
    most: |_, outlooks| idle(outlooks.after_least[0]),
    slope: |_, outlooks| falling(outlooks.after_most[0], [1.0, 0.0, 0.0]),
};

pub(super) const MEMORY: TermRule = TermRule {
    name: TermName::MemoryLeft,
    applies: |scoring| scoring.subject.is_running(),
    value: |_, outlook| idle(outlook.after[1]),
    most: |_, outlooks| idle(outlooks.after_least[1]),
    slope: |_, outlooks| falling(outlooks.after_most[1], [0.0, 1.0, 0.0]),
};

pub(super) const DISK: TermRule = TermRule {
    name: TermName::DiskLeft,
    applies: brings_disks,
    value: |_, outlook| idle(outlook.after[2]),
    most: |_, outlooks| idle(outlooks.after_least[2]),
    slope: |_, outlooks| falling(outlooks.after_most[2], [0.0, 0.0, 1.0]),
};

fn brings_disks(scoring: &Scoring<'_>) -> bool {
    scoring.needs[2] > 0.0
}

/// Beyond full, nothing is less left.
fn falling(after_most: f64, slope: [f64; 3]) -> Slope {
    if after_most <= 1.0 {
        Slope::FromLeast(slope)
    } else {
        Slope::None
    }
}

fn idle(load: f64) -> f64 {
    (1.0 - load).clamp(0.0, 1.0)
}
