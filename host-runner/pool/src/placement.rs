//! One request against every machine: a verdict each, a score for those that fit, and the choice.

use serde::{Deserialize, Serialize};
use ts_rs::TS;
use uuid::Uuid;

use crate::filters::FILTERS;
use crate::Refusal;
use crate::types::{Machine, Request};

/// One named part of a score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Term {
    /// What is judged: `memory_left` or `cpu_idle`.
    pub name: String,
    /// 0 (worst) ..= 1 (best).
    pub value: f64,
    /// The term's share in the score; all weights add up to 1.
    pub weight: f64,
}

/// What one machine answers to a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Verdict {
    /// The machine's identity in the pool.
    pub machine: Uuid,
    /// Why not, every reason; empty means that it fits.
    pub refusals: Vec<Refusal>,
    /// How good the machine would be, 0..=1; 0 where it does not fit.
    pub score: f64,
    /// What the score is made of; empty where it does not fit.
    pub terms: Vec<Term>,
}

impl Verdict {
    /// Whether the machine can take the instance.
    pub fn fits(&self) -> bool {
        self.refusals.is_empty()
    }
}

/// Every machine's verdict, in the machines' order, and the best of those that fit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Preview {
    /// One verdict for each machine.
    pub verdicts: Vec<Verdict>,
    /// The machine with the highest score; `null` where none fits.
    pub best: Option<Uuid>,
}

/// Everything that keeps `machine` from taking the instance, in the order of [`FILTERS`].
pub fn unmet(request: &Request, machine: &Machine) -> Vec<Refusal> {
    FILTERS
        .iter()
        .filter_map(|filter| filter(request, machine).err())
        .collect()
}

/// Asks every machine. Pure: the same request and machines give the same answer; ties go to the earlier machine.
pub fn preview(request: &Request, machines: &[Machine]) -> Preview {
    let verdicts: Vec<Verdict> = machines.iter().map(|machine| judge(request, machine)).collect();
    let best = best_first(&verdicts).first().map(|verdict| verdict.machine);
    Preview { verdicts, best }
}

/// The verdicts that fit, best score first; equal scores keep their order.
pub fn best_first(verdicts: &[Verdict]) -> Vec<&Verdict> {
    let mut fitting: Vec<&Verdict> = verdicts.iter().filter(|verdict| verdict.fits()).collect();
    fitting.sort_by(|a, b| b.score.total_cmp(&a.score));
    fitting
}

fn judge(request: &Request, machine: &Machine) -> Verdict {
    let refusals = unmet(request, machine);
    if !refusals.is_empty() {
        return Verdict {
            machine: machine.id,
            refusals,
            score: 0.0,
            terms: Vec::new(),
        };
    }
    let terms = terms(request, machine);
    let score = terms.iter().map(|term| term.value * term.weight).sum();
    Verdict {
        machine: machine.id,
        refusals,
        score,
        terms,
    }
}

/// Spread: prefer the machine that has most left afterwards, and is least busy now.
fn terms(request: &Request, machine: &Machine) -> Vec<Term> {
    let left = machine.memory_free.saturating_sub(request.memory);
    let memory_left = match machine.memory_offered.0 {
        0 => 0.0,
        offered => (f64::from(left.0) / f64::from(offered)).clamp(0.0, 1.0),
    };
    let cpu_idle = if machine.cpu_load.is_finite() {
        1.0 - machine.cpu_load.clamp(0.0, 1.0)
    } else {
        0.0
    };
    vec![
        Term {
            name: "memory_left".into(),
            value: memory_left,
            weight: 0.6,
        },
        Term {
            name: "cpu_idle".into(),
            value: cpu_idle,
            weight: 0.4,
        },
    ]
}
