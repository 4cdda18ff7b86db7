//! Using fewer machines.

use pool::inventory::{Inventory, MachineState, Mobility};
use pool::plans::{
    ConsolidateOptions, LeftOutReason, MoveReason, Plan, PowerChange, StaysAwake, consolidate,
};

use crate::support::{Ledger, applied, instance, instance_id, inventory, machine, machine_id, moves, pool};

/// Three machines, each with a little to do.
fn idle() -> Inventory {
    let instances = (0..6)
        .map(|number| instance(number, number % 3, 1, 2, 0.3))
        .collect();
    inventory(
        vec![machine(0, 8, 32), machine(1, 8, 32), machine(2, 8, 32)],
        instances,
    )
}

fn asleep(plan: &Plan) -> usize {
    plan.power
        .iter()
        .filter(|change| matches!(change, PowerChange::Sleep { .. }))
        .count()
}

#[test]
fn machines_that_others_can_do_without_sleep() {
    let inventory = idle();
    let options = ConsolidateOptions {
        keep_recovery: false,
        ..ConsolidateOptions::default()
    };
    let plan = consolidate(&pool(&inventory), &options).unwrap();
    assert_eq!(asleep(&plan), 2, "{:?}", plan.left_out);
    assert_eq!(moves(&plan), 4);
    assert!(
        plan.steps[0]
            .moves
            .iter()
            .all(|made| made.reason == MoveReason::EmptyForSleep)
    );
    assert_eq!(plan.after.machines_awake, 1);
    assert!(plan.after.power_w < plan.before.power_w - 100.0);
    Ledger::new(&inventory, Some(0.8)).carry_out(&plan, |moves| ((0..moves).collect(), (0..moves).collect()));
    let again = consolidate(&pool(&applied(&inventory, &plan)), &options).unwrap();
    assert_eq!(moves(&again) + asleep(&again), 0);
}

#[test]
fn as_many_stay_awake_as_are_asked_for() {
    let options = ConsolidateOptions {
        keep_recovery: false,
        awake_min: 2,
        ..ConsolidateOptions::default()
    };
    let plan = consolidate(&pool(&idle()), &options).unwrap();
    assert_eq!(plan.after.machines_awake, 2);
    assert!(plan.left_out.iter().any(|left| matches!(
        left.reason,
        LeftOutReason::StaysAwake {
            why: StaysAwake::AwakeMin { machines: 2 },
            ..
        }
    )));
}

#[test]
fn what_may_not_move_keeps_its_machine_awake_and_says_so() {
    let mut inventory = idle();
    inventory.instances[0].needs.mobility = Mobility::Fixed;
    inventory.instances[1].needs.pin = Some(machine_id(1));
    let options = ConsolidateOptions {
        keep_recovery: false,
        ..ConsolidateOptions::default()
    };
    let plan = consolidate(&pool(&inventory), &options).unwrap();
    assert_eq!(asleep(&plan), 1);
    let fixed = plan
        .left_out
        .iter()
        .find(|left| left.instance == Some(instance_id(0)));
    assert_eq!(fixed.map(|left| &left.reason), Some(&LeftOutReason::Fixed));
}

#[test]
fn a_sleep_that_saves_less_than_its_moves_are_worth_is_left() {
    let options = ConsolidateOptions {
        keep_recovery: false,
        watts_per_minute: 10_000.0,
        ..ConsolidateOptions::default()
    };
    let plan = consolidate(&pool(&idle()), &options).unwrap();
    assert_eq!(moves(&plan) + asleep(&plan), 0);
    assert!(plan.left_out.iter().any(|left| matches!(
        left.reason,
        LeftOutReason::StaysAwake {
            why: StaysAwake::SavesTooLittle { saved_w, needed_w },
            ..
        } if saved_w < needed_w
    )));
}

#[test]
fn an_empty_machine_sleeps_without_a_move() {
    let inventory = inventory(
        vec![machine(0, 8, 32), machine(1, 8, 32)],
        vec![instance(0, 0, 2, 4, 1.0)],
    );
    let options = ConsolidateOptions {
        keep_recovery: false,
        ..ConsolidateOptions::default()
    };
    let plan = consolidate(&pool(&inventory), &options).unwrap();
    assert_eq!(moves(&plan), 0);
    assert_eq!(
        plan.power,
        [PowerChange::Sleep {
            machine: machine_id(1)
        }]
    );
}

#[test]
fn a_busy_machine_is_relieved_and_a_sleeping_one_woken_for_that() {
    let mut inventory = inventory(
        vec![machine(0, 8, 64), machine(1, 8, 64)],
        (0..4).map(|number| instance(number, 0, 4, 2, 2.0)).collect(),
    );
    inventory.machines[1].state = MachineState::Asleep;
    let plan = consolidate(&pool(&inventory), &ConsolidateOptions::default()).unwrap();
    assert_eq!(
        plan.power,
        [PowerChange::Wake {
            machine: machine_id(1)
        }]
    );
    assert!(moves(&plan) > 0);
    assert!(matches!(
        plan.steps[0].moves[0].reason,
        MoveReason::Overload { .. }
    ));
}

#[test]
fn a_pool_that_can_recover_from_a_failure_can_do_so_afterwards() {
    let plan = consolidate(&pool(&idle()), &ConsolidateOptions::default()).unwrap();
    assert_eq!(
        plan.after.machines_awake, 2,
        "the other one must be able to take over"
    );
    assert_eq!(plan.after.recovery, plan.before.recovery);
    assert!(plan.left_out.iter().any(|left| matches!(
        left.reason,
        LeftOutReason::StaysAwake {
            why: StaysAwake::Recovery,
            ..
        }
    )));
}
