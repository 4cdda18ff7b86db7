//! A placement for a terminal.

use std::fmt::Write as _;

use pool::placing::{Explanation, TermName, TermResult};
use pool::plans::Solver;

use super::super::source::Names;
use super::super::{reasons, text};
use super::{PlaceFailure, PlaceReport};
use crate::commands::table::{Align, Table};
use crate::commands::words::{counted, percent};

/// The whole answer.
pub(super) fn told(report: &PlaceReport, names: &Names) -> String {
    let mut words = String::new();
    // Writing to a String cannot fail.
    match &report.failure {
        Some(failure) => {
            let _ = writeln!(words, "Place: it cannot be done\n  {}", failed(failure, names));
        }
        None => placed(&mut words, report, names),
    }
    for explanation in &report.explained {
        explained(&mut words, explanation);
    }
    words.push('\n');
    words.push_str(&text::states(&report.before, &report.after, names));
    let _ = writeln!(words, "\n{} in {}", found_by(report), text::took(report.took_ms));
    words
}

fn found_by(report: &PlaceReport) -> String {
    let used = report.found_by;
    match (used.solver, used.proven_optimal, used.stopped_by_limit) {
        (Solver::Heuristic, ..) => format!("Found under the policy {}", report.policy),
        (Solver::Optimal, true, _) => format!(
            "Found by the solver, which leaves out no way; the scores are those of the policy {},",
            report.policy
        ),
        (Solver::Optimal, false, true) => "As far as the solver came within its time limit,".to_owned(),
        (Solver::Optimal, false, false) => "Found by the solver".to_owned(),
    }
}

fn failed(failure: &PlaceFailure, names: &Names) -> String {
    match failure {
        PlaceFailure::Batch(failure) => failure.to_string(),
        PlaceFailure::Recovery(broken) => format!(
            "all find a place, and then a failure could no longer be recovered: {}",
            reasons::of_recovery(&broken.recovery, names)
        ),
    }
}

fn placed(words: &mut String, report: &PlaceReport, names: &Names) {
    let _ = writeln!(words, "Place: {}", counted(report.placed.len(), "instance"));
    let mut table = Table::new(
        2,
        &[Align::Left, Align::Left, Align::Left, Align::Right, Align::Left],
    );
    for placed in &report.placed {
        table.row([
            placed.name.clone(),
            "→".to_owned(),
            names.of_id(placed.machine),
            score(placed.explanation.score),
            preference(&placed.explanation),
        ]);
    }
    let _ = write!(words, "\n{table}");
    let passed_over = (report.passed_over.iter()).map(|better| format!("{} {}", better.name, better.refusal));
    text::section(words, "Passed over", passed_over);
    if let [only] = &report.placed[..] {
        terms(words, &only.explanation);
    }
}

/// What speaks for the machine, in a few words.
fn preference(explanation: &Explanation) -> String {
    let Some(other) = &explanation.compared_with else {
        return "the only machine that can take it".to_owned();
    };
    if explanation.score < other.score {
        return format!(
            "though {} ({}) would be better for it alone",
            other.name,
            score(other.score)
        );
    }
    let advantage = |term: &&TermResult| term.difference.unwrap_or(0.0);
    let most = (explanation.terms.iter()).max_by(|a, b| advantage(a).total_cmp(&advantage(b)));
    match most.filter(|term| advantage(term) > 0.0) {
        Some(term) => format!(
            "before {} ({}): {}",
            other.name,
            score(other.score),
            meaning(term.name)
        ),
        None => format!(
            "as good as {} ({}), and named first",
            other.name,
            score(other.score)
        ),
    }
}

fn explained(words: &mut String, explanation: &Explanation) {
    let refusals: Vec<String> = (explanation.refusals().iter()).map(ToString::to_string).collect();
    if refusals.is_empty() {
        let _ = writeln!(
            words,
            "\n{} can take it: score {}",
            explanation.name,
            score(explanation.score)
        );
    } else {
        let _ = writeln!(
            words,
            "\n{} cannot take it: {}",
            explanation.name,
            refusals.join("; ")
        );
    }
    terms(words, explanation);
}

/// What a score is made of, and where it differs from that of the machine that it is compared with.
fn terms(words: &mut String, explanation: &Explanation) {
    let mut table = Table::new(
        2,
        &[Align::Left, Align::Right, Align::Right, Align::Right, Align::Left],
    );
    let against = match &explanation.compared_with {
        Some(other) => format!("against {}", other.name),
        None => String::new(),
    };
    table.row(["term", "value", "weight", &against, ""]);
    for term in &explanation.terms {
        table.row([
            term.name.to_string(),
            score(term.value),
            percent(term.weight),
            term.difference.map(signed).unwrap_or_default(),
            meaning(term.name).to_owned(),
        ]);
    }
    let _ = write!(words, "\n{table}");
}

/// With its sign; what rounds to nothing has none.
fn signed(value: f64) -> String {
    if value.abs() < 0.000_5 {
        "0.000".to_owned()
    } else {
        format!("{value:+.3}")
    }
}

fn score(value: f64) -> String {
    format!("{value:.3}")
}

fn meaning(term: TermName) -> &'static str {
    match term {
        TermName::CpuLeft => "more of its CPU is expected to be idle",
        TermName::MemoryLeft => "more of its memory can still be promised",
        TermName::DiskLeft => "more of its disk can still be promised",
        TermName::Evenness => "it leaves the pool more even",
        TermName::Packed => "it is fuller, and leaves larger room elsewhere",
        TermName::Headroom => "its CPU stays calm",
        TermName::Awake => "it need not be woken",
        TermName::Empties => "an empty machine stays empty",
        TermName::Hint => "it is the machine that was hinted at",
        TermName::Affinity => "it meets more wishes about the neighbourhood",
        TermName::Stay => "the instance stays where it is",
    }
}
