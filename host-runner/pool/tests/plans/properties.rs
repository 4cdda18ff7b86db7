//! What holds for every pool.

use std::collections::BTreeSet;

use pool::inventory::{Inventory, MachineState};
use pool::plans::{
    BalanceOptions, ConsolidateOptions, CpuLimit, DrainOptions, Edit, MoveReason, Plan, RecoverOptions,
    WhatIfOptions, balance, consolidate, drain, recover, what_if,
};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::seq::SliceRandom;

use crate::support::{
    ChosenMoves, Ledger, applied, failures, goes_to_and_fro, machine_id, moves, pool,
    random::{Made, inventories, inventories_with_disks},
    tried_on,
};

/// Carries a plan out in some of the orders that it allows; the ledger checks every moment.
fn carry_out_in_some_orders(inventory: &Inventory, plan: &Plan, cpu: CpuLimit, seed: u64) {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    for _ in 0..4 {
        Ledger::new(inventory, cpu.load_max).carry_out(plan, |moves| {
            let mut begin: Vec<usize> = (0..moves).collect();
            let mut end = begin.clone();
            begin.shuffle(&mut random);
            end.shuffle(&mut random);
            (begin, end)
        });
    }
}

proptest! {
    #![proptest_config(tried_on(96))]

    #[test]
    fn a_drain_leaves_nothing_behind_or_moves_nothing(Made(inventory) in inventories_with_disks(), seed in any::<u64>()) {
        let before = pool(&inventory);
        let machine = machine_id(0);
        let plan = drain(&before, machine, &DrainOptions::default()).unwrap();
        carry_out_in_some_orders(&inventory, &plan, DrainOptions::default().cpu, seed);
        let after = applied(&inventory, &plan);
        let left = after.instances.iter().filter(|instance| instance.machine == Some(machine)).count();
        for stranded in &plan.stranded {
            prop_assert!(stranded.nearest.is_none() || !stranded.refusals.is_empty(), "{stranded:?} has a place");
        }
        if plan.stranded.is_empty() {
            prop_assert_eq!(left, 0);
        } else {
            prop_assert!(plan.steps.is_empty() && plan.power.is_empty());
        }
    }

    #[test]
    fn a_balance_overloads_nothing_and_leaves_nothing_to_balance(Made(inventory) in inventories_with_disks(), seed in any::<u64>()) {
        let before = pool(&inventory);
        let options = BalanceOptions::default();
        let plan = balance(&before, &options).unwrap();
        carry_out_in_some_orders(&inventory, &plan, BalanceOptions::default().cpu, seed);
        let chosen = ChosenMoves::of(&inventory, &plan);
        prop_assert!(chosen.are_paid_for(&inventory, &options), "{chosen:?} of {:?}", plan.steps);
        prop_assert_eq!(goes_to_and_fro(&plan), None, "{:?}", plan.steps);
        // Unless something had to be done, the pool is no less even, and no more failures are unrecoverable than were.
        let had_to = (chosen.moves as usize) < moves(&plan);
        prop_assert!(had_to || plan.after.imbalance <= plan.before.imbalance);
        prop_assert!(had_to || failures(&plan.after.recovery) <= failures(&plan.before.recovery), "{:?}", plan.after.recovery);
        let mut named = BTreeSet::new();
        for left in &plan.left_out {
            prop_assert!(left.instance.is_none_or(|left| named.insert(left)), "{left:?} is named twice");
        }
        let after = applied(&inventory, &plan);
        let again = balance(&pool(&after), &options).unwrap();
        prop_assert_eq!(moves(&again), 0, "{:?} after {:?}", again.steps, plan.steps);
    }

    #[test]
    fn a_consolidation_overloads_nothing_and_puts_to_sleep_only_what_is_empty(
        Made(inventory) in inventories_with_disks(),
        seed in any::<u64>(),
    ) {
        let before = pool(&inventory);
        let plan = consolidate(&before, &ConsolidateOptions::default()).unwrap();
        carry_out_in_some_orders(&inventory, &plan, ConsolidateOptions::default().cpu, seed);
        let after = applied(&inventory, &plan);
        for machine in after.machines.iter().filter(|machine| machine.state == MachineState::Asleep) {
            let held = after.instances.iter().filter(|instance| instance.machine == Some(machine.id));
            prop_assert_eq!(held.count(), 0);
        }
        prop_assert!(plan.after.machines_awake <= plan.before.machines_awake);
        // Relief comes first, whatever a failure would do.
        let relieves = plan.steps.iter().flat_map(|step| &step.moves).any(|made| matches!(made.reason, MoveReason::Overload { .. }));
        prop_assert!(relieves || failures(&plan.after.recovery) <= failures(&plan.before.recovery), "{:?}", plan.after.recovery);
    }

    #[test]
    fn a_recovery_starts_what_it_can_and_names_the_rest(Made(mut inventory) in inventories_with_disks(), seed in any::<u64>()) {
        inventory.machines[0].state = MachineState::Unreachable;
        let gone = machine_id(0);
        let before = pool(&inventory);
        let plan = recover(&before, gone, &RecoverOptions::default()).unwrap();
        carry_out_in_some_orders(&inventory, &plan, RecoverOptions::default().cpu, seed);
        let after = applied(&inventory, &plan);
        for instance in after.instances.iter().filter(|instance| instance.machine == Some(gone)) {
            prop_assert!(plan.stranded.iter().any(|stranded| stranded.instance == instance.id));
        }
        for stranded in &plan.stranded {
            let instance = after.instances.iter().find(|instance| instance.id == stranded.instance).unwrap();
            prop_assert_eq!(instance.machine, Some(gone));
            prop_assert!(stranded.nearest.is_none() || !stranded.refusals.is_empty(), "{stranded:?} has a place");
        }
    }

    #[test]
    fn the_same_pool_and_seed_give_the_same_plan(Made(inventory) in inventories_with_disks()) {
        let plans = || {
            let pool = pool(&inventory);
            let gone = Edit::RemoveMachine { machine: machine_id(0) };
            [
                balance(&pool, &BalanceOptions::default()),
                drain(&pool, machine_id(1), &DrainOptions::default()),
                consolidate(&pool, &ConsolidateOptions::default()),
                what_if(&pool, &[gone], &WhatIfOptions::default()),
            ]
        };
        prop_assert_eq!(plans(), plans());
    }

    #[test]
    fn a_plan_holds_for_the_pool_that_it_was_made_for(Made(inventory) in inventories()) {
        let before = pool(&inventory);
        let plan = balance(&before, &BalanceOptions::default()).unwrap();
        prop_assert_eq!(plan.still_valid(&before), Ok(()));
        // Once carried out, it can not be carried out again.
        if moves(&plan) > 0 {
            let after = pool(&applied(&inventory, &plan));
            prop_assert!(plan.still_valid(&after).is_err());
        }
    }
}
