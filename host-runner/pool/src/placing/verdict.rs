use serde::{Deserialize, Serialize};
use ts_rs::TS;
use uuid::Uuid;

use super::filters::{FILTERS, FilterName, passes, unmet};
use super::policy::Policy;
use super::question::{Question, Subject};
use super::scoring::Scoring;
use super::search::{Candidate, shortlist};
use super::terms::{Term, TermName};
use crate::Refusal;
use crate::state::MachineIndex;

/// What one machine answers.
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
    /// The machine with the highest score, the first of equals; `null` where none fits.
    pub best: Option<Uuid>,
}

/// The verdicts that fit, best score first; equal scores keep their order.
pub fn best_first(verdicts: &[Verdict]) -> Vec<&Verdict> {
    let mut fitting: Vec<&Verdict> = verdicts.iter().filter(|verdict| verdict.fits()).collect();
    fitting.sort_by(|a, b| b.score.total_cmp(&a.score));
    fitting
}

/// Asks every machine: the start of a drag.
pub fn verdicts(subject: &Subject<'_>, policy: &Policy) -> Preview {
    let subject = subject.waking(policy.may_wake);
    let scoring = Scoring::new(&subject, policy);
    let mut best: Option<(f64, Uuid)> = None;
    let machines = subject.pool.machines();
    let verdicts = machines
        .map(|(machine, seat)| {
            let question = subject.on(machine);
            let refusals = unmet(&question);
            let (mut score, mut terms) = (0.0, Vec::new());
            if refusals.is_empty() {
                let outlook = scoring.outlook(&question);
                score = scoring.score(&outlook);
                terms = scoring.terms(&outlook);
                if best.is_none_or(|(most, _)| score > most) {
                    best = Some((score, seat.id));
                }
            }
            Verdict {
                machine: seat.id,
                refusals,
                score,
                terms,
            }
        })
        .collect();
    Preview {
        verdicts,
        best: best.map(|(_, machine)| machine),
    }
}

/// What one filter says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct FilterResult {
    /// The filter.
    pub name: FilterName,
    /// Why it refuses; `null` where it passes.
    pub refusal: Option<Refusal>,
}

/// What one term says.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, TS)]
pub struct TermResult {
    /// The term.
    pub name: TermName,
    /// 0 (worst) ..= 1 (best).
    pub value: f64,
    /// The term's share in the score; all weights add up to 1.
    pub weight: f64,
    /// By how much this term lifts the machine's score above that of the one it is compared with; `null` where there is none.
    pub difference: Option<f64>,
}

/// The machine that another one is compared with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Compared {
    /// The machine.
    pub machine: Uuid,
    /// Its name.
    pub name: String,
    /// Its score.
    pub score: f64,
}

/// Why a machine, or why not: each filter's and each term's word.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Explanation {
    /// The machine.
    pub machine: Uuid,
    /// Its name.
    pub name: String,
    /// Whether it can take the instance.
    pub fits: bool,
    /// Every filter, in their order.
    pub filters: Vec<FilterResult>,
    /// Every term that counts, as if it fitted.
    pub terms: Vec<TermResult>,
    /// How good the machine would be, 0..=1, as if it fitted.
    pub score: f64,
    /// With whom it is compared: the chosen machine, or for that one the runner-up.
    pub compared_with: Option<Compared>,
}

impl Explanation {
    /// Why it refuses, each reason once.
    pub fn refusals(&self) -> Vec<&Refusal> {
        let mut refusals: Vec<&Refusal> = Vec::new();
        for refusal in self.filters.iter().filter_map(|filter| filter.refusal.as_ref()) {
            if !refusals.contains(&refusal) {
                refusals.push(refusal);
            }
        }
        refusals
    }
}

/// Explains one machine, and how it compares with another: the chosen one.
///
/// # Panics
/// On an index of another pool.
pub fn explain(
    subject: &Subject<'_>,
    policy: &Policy,
    machine: MachineIndex,
    compared_with: Option<MachineIndex>,
) -> Explanation {
    let subject = subject.waking(policy.may_wake);
    explain_scored(&Scoring::new(&subject, policy), machine, compared_with)
}

fn explain_scored(
    scoring: &Scoring<'_>,
    machine: MachineIndex,
    compared_with: Option<MachineIndex>,
) -> Explanation {
    let question = scoring.subject.on(machine);
    let outlook = scoring.outlook(&question);
    let filters: Vec<FilterResult> = FILTERS
        .iter()
        .map(|filter| FilterResult {
            name: filter.name,
            refusal: (filter.ask)(&question).err(),
        })
        .collect();
    let other = compared_with
        .filter(|other| *other != machine)
        .map(|other| (other, scoring.outlook(&scoring.subject.on(other))));
    let other_terms = other.as_ref().map(|(_, outlook)| scoring.terms(outlook));
    let terms = scoring
        .terms(&outlook)
        .into_iter()
        .enumerate()
        .map(|(place, term)| {
            // The same terms in the same order: which ones count does not depend on the machine.
            let other = other_terms.as_ref().and_then(|terms| terms.get(place));
            TermResult {
                name: term.name,
                value: term.value,
                weight: term.weight,
                difference: other.map(|other| term.weight * (term.value - other.value)),
            }
        });
    Explanation {
        machine: question.seat.id,
        name: (*question.seat.name).to_owned(),
        fits: filters.iter().all(|filter| filter.refusal.is_none()),
        filters,
        terms: terms.collect(),
        score: scoring.score(&outlook),
        compared_with: other.map(|(other, outlook)| {
            let seat = scoring.subject.pool.machine(other);
            Compared {
                machine: seat.id,
                name: (*seat.name).to_owned(),
                score: scoring.score(&outlook),
            }
        }),
    }
}

/// The chosen machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The machine.
    pub machine: MachineIndex,
    /// Why this one, compared with the runner-up.
    pub explanation: Explanation,
}

/// How many machines one filter keeps out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct RefusedBy {
    /// The filter.
    pub filter: FilterName,
    /// Machines that it is the first to refuse.
    pub machines: u32,
}

/// No machine can take the instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS, thiserror::Error)]
#[error("none of {} can take it{}", self.asked(), told(nearest_name.as_deref(), refusals))]
pub struct NoPlace {
    /// How many machines there are.
    pub machines: u32,
    /// Which filters keep how many out: each machine counts where it is first refused.
    pub refused_by: Vec<RefusedBy>,
    /// The machine that lacks least; `null` in a pool without machines.
    pub nearest: Option<Uuid>,
    /// Its name.
    pub nearest_name: Option<String>,
    /// Why that one refuses.
    pub refusals: Vec<Refusal>,
}

impl NoPlace {
    /// Whether every machine has refused it; false where a search ended at its bound.
    pub fn has_asked_all(&self) -> bool {
        self.refused() >= self.machines
    }

    fn refused(&self) -> u32 {
        self.refused_by.iter().map(|by| by.machines).sum()
    }

    fn asked(&self) -> String {
        if self.has_asked_all() {
            let plural = if self.machines == 1 { "" } else { "s" };
            format!("{} machine{plural}", self.machines)
        } else {
            format!(
                "{} machines that were asked, of {},",
                self.refused(),
                self.machines
            )
        }
    }
}

fn told(name: Option<&str>, refusals: &[Refusal]) -> String {
    let Some(name) = name else { return String::new() };
    let told: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    format!("; the nearest, {name}: {}", told.join(", "))
}

/// Chooses a machine. Call [`Pool::refresh_index`](crate::Pool::refresh_index) before, or every machine is looked at.
///
/// # Errors
/// No machine can take it: which filters keep how many out, and which machine lacks least.
pub fn choose(subject: &Subject<'_>, policy: &Policy) -> Result<Choice, Box<NoPlace>> {
    let subject = subject.waking(policy.may_wake);
    let scoring = Scoring::new(&subject, policy);
    let list = shortlist(&scoring, policy, 2);
    let Some(Candidate { machine, .. }) = list.first().copied() else {
        return Err(Box::new(no_place(&subject)));
    };
    let runner_up = list.get(1).map(|candidate| candidate.machine);
    Ok(Choice {
        machine,
        explanation: explain_scored(&scoring, machine, runner_up),
    })
}

/// Chooses a machine without saying why: the same one.
pub fn choose_machine(subject: &Subject<'_>, policy: &Policy) -> Option<MachineIndex> {
    let subject = subject.waking(policy.may_wake);
    let scoring = Scoring::new(&subject, policy);
    shortlist(&scoring, policy, 1)
        .first()
        .map(|candidate| candidate.machine)
}

/// The machines that can take it, best first, at most `most` of them.
pub fn best_machines(subject: &Subject<'_>, policy: &Policy, most: usize) -> Vec<MachineIndex> {
    let subject = subject.waking(policy.may_wake);
    let scoring = Scoring::new(&subject, policy);
    let list = shortlist(&scoring, policy, most);
    list.into_iter().map(|candidate| candidate.machine).collect()
}

/// Who keeps an instance out, for one that has no place. Looks at every machine.
pub fn no_place(subject: &Subject<'_>) -> NoPlace {
    let mut counts = vec![0_u32; FILTERS.len()];
    let mut nearest: Option<(f64, MachineIndex)> = None;
    for (machine, _) in subject.pool.machines() {
        let question = subject.on(machine);
        if passes(&question) {
            continue;
        }
        let lack = lack(&question.without_words(), &mut counts);
        if nearest.is_none_or(|(least, _)| lack < least) {
            nearest = Some((lack, machine));
        }
    }
    let refused_by = FILTERS.iter().zip(counts).filter(|(_, machines)| *machines > 0);
    let nearest = nearest.map(|(_, machine)| subject.on(machine));
    NoPlace {
        machines: u32::try_from(subject.pool.machines().len()).unwrap_or(u32::MAX),
        refused_by: refused_by
            .map(|(filter, machines)| RefusedBy {
                filter: filter.name,
                machines,
            })
            .collect(),
        nearest: nearest.map(|question| question.seat.id),
        nearest_name: nearest.map(|question| (*question.seat.name).to_owned()),
        refusals: nearest.map(|question| unmet(&question)).unwrap_or_default(),
    }
}

/// How much a machine lacks: the share of what is needed that is not there, and 1 for each rule that is broken. Counts the machine where
/// it is first refused.
fn lack(question: &Question<'_>, counts: &mut [u32]) -> f64 {
    let mut lack = 0.0;
    for (filter, count) in FILTERS.iter().zip(counts) {
        if let Err(refusal) = (filter.ask)(question) {
            if lack <= 0.0 {
                *count += 1;
            }
            lack += lacking(&refusal);
        }
    }
    lack
}

/// How much a refusal lacks: the share of what is needed that is not there, 1 for a rule that is broken, more for what cannot be had.
pub(crate) fn lacking(refusal: &Refusal) -> f64 {
    let share = |needed: u32, has: u32| 1.0 - f64::from(has) / f64::from(needed.max(1));
    match refusal {
        Refusal::InsufficientMemory { needed_mib, free_mib }
        | Refusal::InsufficientDisk { needed_mib, free_mib }
        | Refusal::StorageFull {
            needed_mib, free_mib, ..
        } => share(needed_mib.0, free_mib.0),
        Refusal::TooManyVcpus { needed, threads } => share(*needed, *threads),
        Refusal::TooManyVcpusPromised { needed, left, .. } => share(*needed, *left),
        Refusal::TooBusy {
            expected_percent,
            limit_percent,
        } => share(*expected_percent, *limit_percent),
        // What is gone or going is nearest only where there is nothing else.
        Refusal::Unreachable => 8.0,
        Refusal::Draining => 4.0,
        Refusal::Asleep
        | Refusal::PinnedElsewhere { .. }
        | Refusal::WrongHardware { .. }
        | Refusal::StorageMissing { .. }
        | Refusal::ImageMissing { .. }
        | Refusal::ImageCorrupt { .. }
        | Refusal::NoEngine { .. }
        | Refusal::TagMissing { .. }
        | Refusal::TagForbidden { .. }
        | Refusal::SiteWrong { .. }
        | Refusal::SiteForbidden { .. }
        | Refusal::NotTogether { .. }
        | Refusal::NotApart { .. }
        | Refusal::BreaksRecovery { .. } => 1.0,
    }
}
