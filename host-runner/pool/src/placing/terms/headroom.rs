use super::{Slope, TermName, TermRule};

pub(super) const RULE: TermRule = TermRule {
    name: TermName::Headroom,
    applies: |scoring| scoring.subject.is_running(),
    value: |_, outlook| calm(outlook.after[0]),
    most: |_, outlooks| calm(outlooks.after_least[0]),
    slope: |_, _| Slope::None,
};

/// Up to this share of the CPU in use, instances hardly wait for it: 80 %, as in an M/M/c queue with the threads of a small server.
const CALM_UP_TO: f64 = 0.8;

fn calm(cpu_load: f64) -> f64 {
    ((1.0 - cpu_load) / (1.0 - CALM_UP_TO)).clamp(0.0, 1.0)
}
