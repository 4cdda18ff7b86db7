//! The most even pool for what its moves cost.

use good_lp::{Expression, constraint};

use super::program::{Program, to_f64};
use crate::Pool;
use crate::plans::error::PlanError;
use crate::plans::options::BalanceOptions;
use crate::plans::plan::SolverUsed;
use crate::plans::travel;
use crate::state::{Imbalance, MachineIndex};

/// What a load beyond the overload threshold weighs: more than any evenness.
const OVERLOAD_WEIGHT: f64 = 10.0;

/// Evens the load out, beginning with what the local search has found.
pub(in crate::plans) fn balance(
    pool: &Pool,
    options: &BalanceOptions,
    known: &Pool,
) -> Result<(Pool, SolverUsed), PlanError> {
    let mut program = Program::between_ready(pool, known, &options.cpu, options.cooldown_s)?;
    weigh_unevenness(&mut program);
    weigh_overload(&mut program, options);
    weigh_moves(&mut program, options);
    program.goal(&options.how)
}

/// How far each machine's load lies from the mean in each dimension.
fn weigh_unevenness(program: &mut Program<'_>) {
    let count = machines(program);
    for (dimension, weight) in Imbalance::WEIGHTS.into_iter().enumerate() {
        let loads: Vec<Expression> = (0..program.machines.len())
            .map(|place| load(program, place, dimension))
            .collect();
        let mean: Expression = loads.iter().cloned().sum::<Expression>() * (1.0 / count);
        let known_loads: Vec<f64> = program
            .machines
            .iter()
            .map(|machine| known_load(program, *machine, dimension))
            .collect();
        let known_mean = known_loads.iter().sum::<f64>() / count;
        for (load, known) in loads.into_iter().zip(known_loads) {
            let off = program.amount((known - known_mean).abs());
            let above = load - mean.clone();
            program.require(constraint!(above.clone() <= off));
            program.require(constraint!(-above <= off));
            program.objective += (weight / count) * off;
        }
    }
}

fn known_load(program: &Program<'_>, machine: MachineIndex, dimension: usize) -> f64 {
    let load = program.known.machine(machine).load().dimensions();
    load.get(dimension).copied().unwrap_or(0.0)
}

fn load(program: &Program<'_>, place: usize, dimension: usize) -> Expression {
    let Some(machine) = program.machines.get(place) else {
        return Expression::default();
    };
    let seat = program.base.machine(*machine);
    let base = seat.load().dimensions().get(dimension).copied().unwrap_or(0.0);
    let disk: u64 = seat.storages.iter().map(|storage| storage.capacity_mib).sum();
    let whole = match dimension {
        0 => seat.offered_threads,
        1 => to_f64(seat.memory_offered_mib),
        _ => to_f64(disk),
    };
    if whole <= 0.0 {
        return Expression::from(base);
    }
    let sum = program.sum(place, |instance| match dimension {
        0 => program.threads(instance) / whole,
        1 => program.memory_mib(place, instance) / whole,
        _ => program.disk_mib(instance) / whole,
    });
    sum + base
}

fn weigh_overload(program: &mut Program<'_>, options: &BalanceOptions) {
    for (place, machine) in program.machines.clone().into_iter().enumerate() {
        let offered = program
            .base
            .machine(machine)
            .offered_threads
            .max(f64::MIN_POSITIVE);
        let most = options.overload * offered;
        let used = program.use_with_margin(place, options.cpu.deviations);
        let known = program
            .known
            .machine(machine)
            .demand
            .with_margin(options.cpu.deviations);
        let over = program.amount((known - most) / offered);
        program.require(constraint!((used - most) * (1.0 / offered) <= over));
        program.objective += OVERLOAD_WEIGHT * over;
    }
}

fn weigh_moves(program: &mut Program<'_>, options: &BalanceOptions) {
    let count = machines(program);
    let mut moves = Expression::default();
    for (instance, choices) in program.free.iter().zip(&program.choices) {
        for choice in choices {
            if program.start.instance(*instance).machine != Some(choice.machine) {
                let seconds = travel::seconds(program.start, *instance, choice.machine);
                program.objective += (options.cost.of_duration(seconds) / count) * choice.chosen;
                moves += choice.chosen;
            }
        }
    }
    program.require(constraint!(moves <= f64::from(options.moves_max)));
}

fn machines(program: &Program<'_>) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "at most CHOICES_MAX")]
    let count = program.machines.len().max(1) as f64;
    count
}
