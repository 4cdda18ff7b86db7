//! A plan for a terminal.

use std::collections::HashMap;
use std::fmt::Write as _;

use pool::inventory::Mobility;
use pool::plans::{LeftOut, Move, Plan, PlanKind, PlanReport, PoolState, PowerChange, Solver, SolverUsed};
use uuid::Uuid;

use super::super::table::{Align, Table};
use super::super::words::{counted, duration, listed, percent};
use super::reasons;
use super::source::Names;

/// How many of what is left out or stranded are told one by one.
const TOLD_MAX: usize = 20;
/// How many instances one line names.
pub(super) const NAMED_MAX: usize = 3;

/// The whole answer.
pub(super) fn plan(report: &PlanReport, names: &Names) -> String {
    let plan = &report.plan;
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}: {}", title(&plan.kind, names), outcome(plan));
    moves(&mut text, plan, names);
    section(
        &mut text,
        "Finds no place",
        plan.stranded
            .iter()
            .map(|stranded| reasons::of_stranded(stranded, names)),
    );
    section(
        &mut text,
        "Left as it is",
        left_out(&plan.left_out, names).into_iter(),
    );
    text.push('\n');
    text.push_str(&states(&plan.before, &plan.after, names));
    let _ = writeln!(text, "\n{}", found_by(plan.found_by, report.took_ms));
    text
}

fn title(kind: &PlanKind, names: &Names) -> String {
    match kind {
        PlanKind::Drain { machine } => format!("Drain {}", names.of_id(*machine)),
        PlanKind::Balance => "Balance".to_owned(),
        PlanKind::Consolidate => "Consolidate".to_owned(),
        PlanKind::Recover { machine } => format!("Recover {}", names.of_id(*machine)),
        PlanKind::WhatIf => "What if".to_owned(),
    }
}

fn outcome(plan: &Plan) -> String {
    let moves: usize = plan.steps.iter().map(|step| step.moves.len()).sum();
    let stranded = plan.stranded.len();
    let mut words = match (moves, stranded) {
        (0, 0) => "nothing moves".to_owned(),
        (0, _) => format!(
            "it cannot be done, {} would find no place",
            counted(stranded, "instance")
        ),
        _ => format!(
            "{} in {}, about {}",
            counted(moves, "move"),
            counted(plan.steps.len(), "step"),
            duration(length_s(plan))
        ),
    };
    if moves > 0 && stranded > 0 {
        let verb = if stranded == 1 { "finds" } else { "find" };
        let _ = write!(words, "; {} {verb} no place", counted(stranded, "instance"));
    }
    words
}

/// Those with the same reason on one line, in the order in which the reasons come.
fn left_out(left_out: &[LeftOut], names: &Names) -> Vec<String> {
    let mut reasons: Vec<(String, Vec<String>)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for left in left_out {
        let reason = reasons::of_left_out(&left.reason, names);
        let who = left.name.clone().unwrap_or_else(|| "the pool".to_owned());
        let place = *places.entry(reason.clone()).or_insert(reasons.len());
        match reasons.get_mut(place) {
            Some((_, all)) => all.push(who),
            None => reasons.push((reason, vec![who])),
        }
    }
    (reasons.into_iter())
        .map(|(reason, all)| format!("{}: {reason}", listed(&all, TOLD_MAX)))
        .collect()
}

/// Steps follow each other; the moves of one run together.
fn length_s(plan: &Plan) -> f64 {
    let longest = |moves: &[Move]| moves.iter().map(|made| made.duration_s).fold(0.0, f64::max);
    plan.steps.iter().map(|step| longest(&step.moves)).sum()
}

fn moves(text: &mut String, plan: &Plan, names: &Names) {
    let woken = plan.power.iter().filter_map(|change| match change {
        PowerChange::Wake { machine } => Some(wake(*machine, plan, names)),
        PowerChange::Sleep { .. } => None,
    });
    section(text, "Before", woken);
    let [left, right] = [Align::Left, Align::Right];
    for (number, step) in plan.steps.iter().enumerate() {
        let together = if step.moves.len() > 1 { ", together" } else { "" };
        let _ = writeln!(text, "\nStep {}{together}", number + 1);
        let mut table = Table::new(2, &[left, left, left, left, left, right, left]);
        for made in &step.moves {
            table.row([
                made.name.clone(),
                made.from
                    .map_or_else(|| "nowhere".to_owned(), |from| names.of_id(from)),
                "→".to_owned(),
                names.of_id(made.to),
                mobility(made.how).to_owned(),
                duration(made.duration_s),
                reasons::of_move(made, names),
            ]);
        }
        let _ = write!(text, "{table}");
    }
    let asleep = plan.power.iter().filter_map(|change| match change {
        PowerChange::Sleep { machine } => Some(format!("put {} to sleep", names.of_id(*machine))),
        PowerChange::Wake { .. } => None,
    });
    section(text, "After", asleep);
}

/// A machine is woken for what moves there.
fn wake(machine: Uuid, plan: &Plan, names: &Names) -> String {
    let coming: Vec<String> = (plan.steps.iter().flat_map(|step| &step.moves))
        .filter(|made| made.to == machine)
        .map(|made| made.name.clone())
        .collect();
    let name = names.of_id(machine);
    if coming.is_empty() {
        format!("wake {name}")
    } else {
        format!("wake {name}, for {}", listed(&coming, NAMED_MAX))
    }
}

fn mobility(how: Mobility) -> &'static str {
    match how {
        Mobility::Live => "live",
        Mobility::Cold => "cold",
        Mobility::Fixed => "fixed",
    }
}

/// A list under a heading; nothing for an empty one.
pub(super) fn section(text: &mut String, heading: &str, lines: impl Iterator<Item = String>) {
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{heading}");
    for line in lines.iter().take(TOLD_MAX) {
        let _ = writeln!(text, "  {line}");
    }
    if lines.len() > TOLD_MAX {
        let _ = writeln!(text, "  and {} more; --json lists all", lines.len() - TOLD_MAX);
    }
}

/// The pool before and after, side by side.
pub(super) fn states(before: &PoolState, after: &PoolState, names: &Names) -> String {
    let mut table = Table::new(0, &[Align::Left, Align::Right, Align::Right]);
    table.row(["", "before", "after"]);
    let mut row = |name: &str, value: &dyn Fn(&PoolState) -> String| {
        table.row([name.to_owned(), value(before), value(after)]);
    };
    row("Expected CPU load, mean", &|state| percent(state.mean_load.cpu));
    row("Expected CPU load, busiest machine", &|state| {
        percent(state.highest_cpu_load)
    });
    row("Promised memory, mean", &|state| percent(state.mean_load.memory));
    row("Promised disk, mean", &|state| percent(state.mean_load.disk));
    row("Imbalance", &|state| format!("{:.4}", state.imbalance));
    row("Power", &|state| format!("{:.0} W", state.power_w));
    row("Machines awake", &|state| state.machines_awake.to_string());
    row("Instances placed", &|state| state.instances_placed.to_string());
    let mut text = table.to_string();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\nIf a machine failed");
    let _ = writeln!(
        text,
        "  before: {}",
        reasons::of_recovery(&before.recovery, names)
    );
    let _ = writeln!(text, "  after:  {}", reasons::of_recovery(&after.recovery, names));
    text
}

/// How the plan was found, and in which time.
pub(super) fn found_by(used: SolverUsed, took_ms: f64) -> String {
    let way = match (used.solver, used.proven_optimal, used.stopped_by_limit) {
        (Solver::Heuristic, ..) => "Found by a local search",
        (Solver::Optimal, true, _) => "Found by the solver, and proven to be the best,",
        (Solver::Optimal, false, true) => "The best that the solver found within its time limit,",
        (Solver::Optimal, false, false) => "Found by the solver",
    };
    format!("{way} in {}", took(took_ms))
}

pub(super) fn took(took_ms: f64) -> String {
    if took_ms < 1_000.0 {
        format!("{took_ms:.1} ms")
    } else {
        format!("{:.2} s", took_ms / 1_000.0)
    }
}
