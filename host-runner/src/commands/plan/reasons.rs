//! A plan's reasons as sentences.

use pool::Refusal;
use pool::plans::{LeftOutReason, Move, MoveReason, Recovery, StaysAwake, Stranded};
use uuid::Uuid;

use super::super::words::{counted, duration, listed, percent};
use super::source::Names;
use super::text::NAMED_MAX;

/// Why an instance moves.
pub(super) fn of_move(made: &Move, names: &Names) -> String {
    match &made.reason {
        MoveReason::Drain => "its machine is being emptied".to_owned(),
        MoveReason::Recover => "its machine is gone".to_owned(),
        MoveReason::Exchange { with, gain } => {
            let with: Vec<String> = with.iter().map(|other| names.of_id(*other)).collect();
            format!(
                "with {}, lowers the imbalance by {gain:.4}",
                listed(&with, NAMED_MAX)
            )
        }
        MoveReason::Balance { gain } => format!("lowers the imbalance by {gain:.4}"),
        MoveReason::Overload { load } => format!("its machine would be at {} CPU", percent(*load)),
        MoveReason::EmptyForSleep => "its machine can sleep without it".to_owned(),
        MoveReason::MakesRoom { instance } => format!("makes room for {}", names.of_id(*instance)),
        MoveReason::Placed if made.from.is_some() => "it cannot stay where it was".to_owned(),
        MoveReason::Placed => "it had no place".to_owned(),
        MoveReason::BreaksRule { rule } => format!("breaks a rule where it is: the machine {rule}"),
    }
}

/// Why something stays as it is; stands after whom it is about and a colon.
pub(super) fn of_left_out(reason: &LeftOutReason, names: &Names) -> String {
    match reason {
        LeftOutReason::Fixed => "fixed to where it is".to_owned(),
        LeftOutReason::Pinned => "pinned to its machine".to_owned(),
        LeftOutReason::Stopped => "does not run, and cannot be had from a machine that is gone".to_owned(),
        LeftOutReason::Cooldown { remaining_s } => format!(
            "moved a short while ago, and stays for another {}",
            duration(f64::from(*remaining_s))
        ),
        LeftOutReason::GainTooSmall { gain, .. } if *gain <= 0.0 => {
            "no better place; wherever it went, the pool would be less even".to_owned()
        }
        LeftOutReason::GainTooSmall { gain, needed } => {
            format!("moving it would gain {gain:.4}, less than the {needed:.4} that a move must gain")
        }
        LeftOutReason::MovesSpent { moves_max } => format!(
            "the plan has {} and may have no more",
            counted(*moves_max as usize, "move")
        ),
        LeftOutReason::NoPlace { nearest, refusals } => {
            format!("no other place{}", of_nearest(*nearest, refusals, names))
        }
        LeftOutReason::StaysAwake {
            machine_name, why, ..
        } => {
            format!("{machine_name} stays awake, {}", of_waking(why))
        }
        LeftOutReason::TooBusy { machine_name, .. } => format!(
            "{machine_name} stays too busy, nothing that is there may leave it and finds room elsewhere"
        ),
        LeftOutReason::BalancedEnough { imbalance, threshold } => {
            format!("even enough; its imbalance is {imbalance:.4}, and {threshold:.4} would be too much")
        }
    }
}

fn of_waking(why: &StaysAwake) -> String {
    match why {
        StaysAwake::Recovery => "as without it another machine's failure could not be recovered".to_owned(),
        StaysAwake::AwakeMin { machines } => {
            format!("as {} must be awake", counted(*machines as usize, "machine"))
        }
        StaysAwake::SavesTooLittle { saved_w, needed_w } => format!(
            "as its sleep would save {saved_w:.0} W, less than the {needed_w:.0} W that the moves for it are worth"
        ),
    }
}

/// An instance that finds no place, with the machine that comes nearest.
pub(super) fn of_stranded(stranded: &Stranded, names: &Names) -> String {
    format!(
        "{} finds no place{}",
        stranded.name,
        of_nearest(stranded.nearest, &stranded.refusals, names)
    )
}

fn of_nearest(nearest: Option<Uuid>, refusals: &[Refusal], names: &Names) -> String {
    match nearest {
        // What may not move at all asks no machine.
        None => match refusals {
            [Refusal::PinnedElsewhere { machine }, ..] => format!("; it is tied to {machine}"),
            _ => "; there is no other machine".to_owned(),
        },
        // It would pass every rule by itself, and has not the room once others of its machine have gone there.
        Some(machine) if refusals.is_empty() => format!(
            "; the nearest, {}, has room for it alone, and not for all that would have to go there",
            names.of_id(machine)
        ),
        Some(machine) => format!("; the nearest, {}: {}", names.of_id(machine), refused(refusals)),
    }
}

/// Refusals in a row.
pub(super) fn refused(refusals: &[Refusal]) -> String {
    let words: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    words.join("; ")
}

/// Whether any one machine's failure could be recovered, and if not, the witness.
pub(super) fn of_recovery(recovery: &Recovery, names: &Names) -> String {
    match recovery {
        Recovery::Recoverable => "whichever it was, the others would take over all that ran on it".to_owned(),
        Recovery::NotJudged => "not judged: the pool is too large to try every failure".to_owned(),
        Recovery::Stranding {
            name,
            stranded,
            failures,
            ..
        } => {
            let lost: Vec<String> = stranded.iter().map(|instance| instance.name.clone()).collect();
            let witness = stranded
                .first()
                .map(|first| format!(": {}", of_stranded(first, names)));
            let others = match failures.saturating_sub(1) {
                0 => String::new(),
                others => format!(
                    "; {} could not be recovered either",
                    counted(others as usize, "other failure")
                ),
            };
            format!(
                "without {name}, {} would find no place ({}){}{others}",
                counted(stranded.len(), "instance"),
                listed(&lost, NAMED_MAX),
                witness.unwrap_or_default()
            )
        }
    }
}
