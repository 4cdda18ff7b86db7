//! Places for all that need one, at the least cost for others.

use std::collections::BTreeMap;

use good_lp::{Expression, Variable, constraint};

use super::program::{Field, Program};
use crate::Pool;
use crate::inventory::MachineState;
use crate::plans::error::PlanError;
use crate::plans::homes::{Found, Search, is_marked, marked};
use crate::plans::options::How;
use crate::plans::plan::SolverUsed;
use crate::plans::rules::mobility;
use crate::plans::travel;
use crate::state::{InstanceIndex, MachineIndex};

/// How many levels of priority are told apart; all below the last of them are one.
const LEVELS_MAX: usize = 4;

/// Finds places for what is `wanted`, as [`find_homes`](crate::plans::homes::find_homes) does, beginning with what that has found.
pub(in crate::plans) fn homes(
    start: &Pool,
    wanted: &[InstanceIndex],
    search: &Search,
    how: &How,
    known: &Found,
) -> Result<(Found, SolverUsed), PlanError> {
    let is_wanted = marked(start, wanted);
    let free: Vec<InstanceIndex> = start
        .instances()
        .filter(|(index, seat)| {
            is_marked(&is_wanted, *index)
                || (search.make_room
                    && mobility(seat).is_ok()
                    && seat.machine.is_some_and(|machine| is_ready(start, machine)))
        })
        .map(|(index, _)| index)
        .collect();
    let mut awake = start.clone();
    let mut asleep = Vec::new();
    for (machine, seat) in start.machines() {
        if search.wake && seat.state == MachineState::Asleep {
            awake.set_machine_state(machine, MachineState::Ready);
            asleep.push(machine);
        }
    }
    let field = Field {
        start: &awake,
        known: &known.pool,
        free,
        machines: awake
            .machines()
            .filter(|(_, seat)| seat.state == MachineState::Ready)
            .map(|(machine, _)| machine)
            .collect(),
        rules: search.rules,
    };
    let mut program = Program::new(field, &search.rules.cpu())?;
    let others = price_others(&mut program, &is_wanted, search);
    let woken = price_waking(&mut program, &asleep, others + 0.001);
    price_the_homeless(&mut program, &is_wanted, woken + 0.001);
    let free = program.free.clone();
    let solved = program.solve(how)?;
    Ok((found(start, &free, &solved.places), solved.used))
}

fn is_ready(pool: &Pool, machine: MachineIndex) -> bool {
    pool.machine(machine).state == MachineState::Ready
}

/// What moving others costs. Returns the most that it could.
fn price_others(program: &mut Program<'_>, is_wanted: &[bool], search: &Search) -> f64 {
    let mut most = 0.0;
    for (instance, choices) in program.free.iter().zip(&program.choices) {
        if is_marked(is_wanted, *instance) {
            continue;
        }
        let mut dearest: f64 = 0.0;
        for choice in choices {
            if program.start.instance(*instance).machine != Some(choice.machine) {
                let cost = search
                    .cost
                    .of_duration(travel::seconds(program.start, *instance, choice.machine));
                program.objective += cost * choice.chosen;
                dearest = dearest.max(cost);
            }
        }
        most += dearest;
    }
    most
}

/// One machine woken weighs as much as all others' moves. Returns the most that waking could cost, with the moves.
fn price_waking(program: &mut Program<'_>, asleep: &[MachineIndex], weight: f64) -> f64 {
    let mut most = weight;
    for machine in asleep {
        let is_known = program.known.machine(*machine).state == MachineState::Ready;
        let woken = program.binary(is_known);
        program.objective += weight * woken;
        most += weight;
        let there: Vec<Variable> = program
            .choices
            .iter()
            .flatten()
            .filter(|choice| choice.machine == *machine)
            .map(|choice| choice.chosen)
            .collect();
        for chosen in there {
            program.require(constraint!(chosen <= woken));
        }
    }
    most
}

/// One without a place weighs more than all others' moves, all machines woken, and all of lower priority together.
fn price_the_homeless(program: &mut Program<'_>, is_wanted: &[bool], weight: f64) {
    let priority =
        |program: &Program<'_>, instance: InstanceIndex| program.start.instance(instance).asked.priority;
    let mut counts: BTreeMap<i32, u32> = BTreeMap::new();
    for instance in program
        .free
        .iter()
        .filter(|instance| is_marked(is_wanted, **instance))
    {
        *counts.entry(priority(program, *instance)).or_default() += 1;
    }
    let mut weights: BTreeMap<i32, f64> = BTreeMap::new();
    let mut level_weight = weight;
    for (level, (priority, count)) in counts.iter().enumerate() {
        weights.insert(*priority, level_weight);
        if level + LEVELS_MAX >= counts.len() {
            level_weight *= f64::from(*count) + 1.0;
        }
    }
    for place in 0..program.free.len() {
        let (Some(instance), Some(choices)) = (program.free.get(place).copied(), program.choices.get(place))
        else {
            continue;
        };
        let mut somewhere = Expression::default();
        for choice in choices {
            somewhere += choice.chosen;
        }
        if is_marked(is_wanted, instance) {
            let has_place = program
                .known
                .instance(instance)
                .machine
                .is_some_and(|machine| is_ready(program.known, machine));
            let nowhere = program.binary(!has_place);
            let priority = priority(program, instance);
            program.objective += weights.get(&priority).copied().unwrap_or(weight) * nowhere;
            somewhere += nowhere;
        }
        program.require(constraint!(somewhere == 1.0));
    }
}

fn found(start: &Pool, free: &[InstanceIndex], places: &[Option<MachineIndex>]) -> Found {
    let mut pool = start.clone();
    let mut homeless = Vec::new();
    let mut woken = Vec::new();
    for (instance, place) in free.iter().zip(places) {
        let Some(machine) = place else {
            pool.unseat(*instance);
            homeless.push(*instance);
            continue;
        };
        if pool.machine(*machine).state == MachineState::Asleep {
            pool.set_machine_state(*machine, MachineState::Ready);
            woken.push(*machine);
        }
        pool.seat(*instance, *machine);
    }
    Found {
        pool,
        woken,
        homeless,
    }
}
