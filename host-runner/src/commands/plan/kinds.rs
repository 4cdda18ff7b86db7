//! Each kind of plan with its options. Where the command line is silent, the pool's own defaults hold; what a policy changes is here.

use pool::Pool;
use pool::inventory::{Inventory, MachineState};
use pool::plans::{
    self, BalanceOptions, ConsolidateOptions, CpuLimit, DrainOptions, How, RecoverOptions, Solver,
    WhatIfOptions,
};

use super::{Answer, PlanCommandError, answer, edits, inventory, source};
use crate::cli::{
    Asking, BalancePlan, ConsolidatePlan, DrainPlan, PolicyChoice, RecoverPlan, SolverChoice, WhatIfPlan,
};

/// Under these policies a machine is not relieved for evenness' sake: no imbalance is as high.
const NEVER_EVEN: f64 = 10.0;

/// All questions are answered for the moment at which the inventory was taken: the same file gives the same plan on any day.
pub(super) fn pool_of(inventory: &Inventory) -> Result<Pool, PlanCommandError> {
    Ok(Pool::new(inventory, inventory.taken_at_s)?)
}

pub(super) fn how(asking: &Asking) -> How {
    How {
        solver: match asking.solver {
            SolverChoice::Heuristic => Solver::Heuristic,
            SolverChoice::Optimal => Solver::Optimal,
        },
        solver_seconds_max: asking.solver_seconds,
        seed: u64::from(asking.seed),
    }
}

/// Under `pack` sleeping machines stay asleep; under `save-power` the emptied machine goes to sleep.
pub(super) fn drain(asked: &DrainPlan) -> Result<Answer, PlanCommandError> {
    let inventory = inventory(&asked.asking)?;
    let machine = source::machine(&inventory, &asked.machine)?.id;
    let policy = asked.asking.policy.unwrap_or(PolicyChoice::Spread);
    let options = DrainOptions {
        how: how(&asked.asking),
        wake: policy != PolicyChoice::Pack,
        sleep: policy == PolicyChoice::SavePower,
        ..DrainOptions::default()
    };
    let pool = pool_of(&inventory)?;
    answer(&inventory, || plans::drain(&pool, machine, &options))
}

/// Under `pack` and `save-power` only machines that are expected to run out of CPU are relieved: unevenness is what they want.
pub(super) fn balance(asked: &BalancePlan) -> Result<Answer, PlanCommandError> {
    let inventory = inventory(&asked.asking)?;
    let defaults = balance_options(&asked.asking);
    let begin = asked.begin.unwrap_or(defaults.begin);
    let options = BalanceOptions {
        begin,
        // Whoever gives one of the two is content with the other at its default, as far as that goes.
        end: asked.end.unwrap_or(defaults.end.min(begin)),
        cooldown_s: asked.cooldown.unwrap_or(defaults.cooldown_s),
        moves_max: asked.moves_max.unwrap_or(defaults.moves_max),
        keep_recovery: !asked.give_up_recovery,
        ..defaults
    };
    let pool = pool_of(&inventory)?;
    answer(&inventory, || plans::balance(&pool, &options))
}

fn balance_options(asking: &Asking) -> BalanceOptions {
    let defaults = BalanceOptions {
        how: how(asking),
        ..BalanceOptions::default()
    };
    match asking.policy.unwrap_or(PolicyChoice::Spread) {
        PolicyChoice::Spread => defaults,
        PolicyChoice::Pack | PolicyChoice::SavePower => BalanceOptions {
            begin: NEVER_EVEN,
            ..defaults
        },
    }
}

/// `save-power` is the default. `spread` keeps the machines that stay awake calmer, `pack` fills them further.
pub(super) fn consolidate(asked: &ConsolidatePlan) -> Result<Answer, PlanCommandError> {
    let inventory = inventory(&asked.asking)?;
    let defaults = ConsolidateOptions::default();
    let options = ConsolidateOptions {
        how: how(&asked.asking),
        cpu: match asked.asking.policy.unwrap_or(PolicyChoice::SavePower) {
            PolicyChoice::SavePower => defaults.cpu,
            PolicyChoice::Spread => CpuLimit {
                load_max: Some(0.6),
                ..defaults.cpu
            },
            PolicyChoice::Pack => CpuLimit {
                load_max: Some(0.9),
                deviations: 1.0,
            },
        },
        keep_recovery: !asked.give_up_recovery,
        awake_min: asked.awake_min.unwrap_or(defaults.awake_min),
        cooldown_s: asked.cooldown.unwrap_or(defaults.cooldown_s),
        ..defaults
    };
    let pool = pool_of(&inventory)?;
    answer(&inventory, || plans::consolidate(&pool, &options))
}

/// Under `pack` sleeping machines stay asleep.
fn recover_options(asking: &Asking) -> RecoverOptions {
    RecoverOptions {
        how: how(asking),
        wake: asking.policy != Some(PolicyChoice::Pack),
        ..RecoverOptions::default()
    }
}

/// The machine is taken for gone, whatever the inventory says of it.
pub(super) fn recover(asked: &RecoverPlan) -> Result<Answer, PlanCommandError> {
    let inventory = inventory(&asked.asking)?;
    let machine = source::machine(&inventory, &asked.machine)?.id;
    let mut pool = pool_of(&inventory)?;
    if let Some(index) = pool.machine_of_id(machine) {
        pool.set_machine_state(index, MachineState::Unreachable);
    }
    let options = recover_options(&asked.asking);
    answer(&inventory, || plans::recover(&pool, machine, &options))
}

/// What an edited pool would need.
pub(super) fn what_if(asked: &WhatIfPlan) -> Result<Answer, PlanCommandError> {
    let inventory = inventory(&asked.asking)?;
    let edits = edits::all(asked, &inventory)?;
    let options = WhatIfOptions {
        recover: recover_options(&asked.asking),
        balance: asked.balance.then(|| balance_options(&asked.asking)),
    };
    let pool = pool_of(&inventory)?;
    let mut answer = answer(&inventory, || plans::what_if(&pool, &edits, &options))?;
    edits::name(&edits, &mut answer.names);
    Ok(answer)
}
