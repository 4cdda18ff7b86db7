//! The least power for what its moves cost.

use good_lp::{Expression, constraint};

use super::program::Program;
use crate::Pool;
use crate::plans::error::PlanError;
use crate::plans::options::ConsolidateOptions;
use crate::plans::plan::SolverUsed;
use crate::plans::travel;

/// Empties the machines whose sleep saves most, beginning with what the local search has found. None is woken.
pub(in crate::plans) fn consolidate(
    pool: &Pool,
    options: &ConsolidateOptions,
    known: &Pool,
) -> Result<(Pool, SolverUsed), PlanError> {
    let mut program = Program::between_ready(pool, known, &options.cpu, options.cooldown_s)?;
    weigh_power(&mut program, options);
    weigh_moves(&mut program, options);
    program.goal(&options.how)
}

fn weigh_power(program: &mut Program<'_>, options: &ConsolidateOptions) {
    let mut awake = Expression::default();
    for (place, machine) in program.machines.clone().into_iter().enumerate() {
        let seat = program.base.machine(machine).clone();
        let (idle, busy) = (seat.power.at(0.0), seat.power.at(1.0));
        let per_thread = (busy - idle) / seat.offered_threads.max(f64::MIN_POSITIVE);
        let used = program.sum(place, |instance| program.threads(instance) * per_thread);
        program.objective += used;
        if !seat.instances.is_empty() {
            awake += 1.0;
            continue;
        }
        let is_awake = program.binary(!program.known.machine(machine).instances.is_empty());
        program.objective += idle * is_awake;
        awake += is_awake;
        let there: Vec<_> = program
            .choices
            .iter()
            .flatten()
            .filter(|choice| choice.machine == machine)
            .map(|choice| choice.chosen)
            .collect();
        for chosen in there {
            program.require(constraint!(chosen <= is_awake));
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "at most CHOICES_MAX")]
    let machines = program.machines.len() as f64;
    program.require(constraint!(awake >= f64::from(options.awake_min).min(machines)));
}

fn weigh_moves(program: &mut Program<'_>, options: &ConsolidateOptions) {
    for (instance, choices) in program.free.iter().zip(&program.choices) {
        for choice in choices {
            if program.start.instance(*instance).machine != Some(choice.machine) {
                let minutes = travel::seconds(program.start, *instance, choice.machine) / 60.0;
                program.objective += options.watts_per_minute * minutes * choice.chosen;
            }
        }
    }
}
