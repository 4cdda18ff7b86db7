//! Starting what ran on a machine that is gone.

use pool::inventory::{Activity, MachineState, Mobility};
use pool::plans::{LeftOutReason, MoveReason, RecoverOptions, recover};

use crate::support::{instance, instance_id, inventory, machine, machine_id, moves, pool};

#[test]
fn everything_starts_elsewhere() {
    let mut inventory = inventory(
        vec![machine(0, 8, 32), machine(1, 8, 32), machine(2, 8, 32)],
        vec![instance(0, 0, 2, 8, 0.5), instance(1, 0, 2, 8, 0.5)],
    );
    inventory.machines[0].state = MachineState::Unreachable;
    let plan = recover(&pool(&inventory), machine_id(0), &RecoverOptions::default()).unwrap();
    assert_eq!(moves(&plan), 2);
    for made in &plan.steps[0].moves {
        assert_eq!(made.reason, MoveReason::Recover);
        assert_eq!(made.how, Mobility::Cold, "there is nothing to take along");
    }
}

#[test]
fn where_not_all_find_room_the_higher_priority_comes_first_and_the_rest_is_named() {
    let mut inventory = inventory(
        vec![machine(0, 8, 64), machine(1, 8, 20)],
        vec![
            instance(0, 0, 2, 16, 0.5),
            instance(1, 0, 2, 16, 0.5),
            instance(2, 0, 2, 4, 0.5),
        ],
    );
    inventory.machines[0].state = MachineState::Unreachable;
    inventory.instances[1].needs.priority = 10;
    let plan = recover(&pool(&inventory), machine_id(0), &RecoverOptions::default()).unwrap();
    let started: Vec<_> = plan.steps[0].moves.iter().map(|made| made.instance).collect();
    assert_eq!(started, [instance_id(1), instance_id(2)]);
    assert_eq!(plan.stranded.len(), 1);
    assert_eq!(plan.stranded[0].instance, instance_id(0));
    assert_eq!(plan.stranded[0].nearest, Some(machine_id(1)));
}

#[test]
fn what_did_not_run_is_left_out() {
    let mut inventory = inventory(
        vec![machine(0, 8, 64), machine(1, 8, 20)],
        vec![instance(0, 0, 2, 16, 0.5)],
    );
    inventory.machines[0].state = MachineState::Unreachable;
    inventory.instances[0].activity = Activity::Stopped;
    let plan = recover(&pool(&inventory), machine_id(0), &RecoverOptions::default()).unwrap();
    assert_eq!(moves(&plan), 0);
    assert_eq!(plan.left_out[0].reason, LeftOutReason::Stopped);
}

#[test]
fn what_is_pinned_to_the_machine_that_is_gone_is_stranded() {
    let mut inventory = inventory(
        vec![machine(0, 8, 64), machine(1, 8, 64)],
        vec![instance(0, 0, 2, 16, 0.5)],
    );
    inventory.machines[0].state = MachineState::Unreachable;
    inventory.instances[0].needs.pin = Some(machine_id(0));
    let plan = recover(&pool(&inventory), machine_id(0), &RecoverOptions::default()).unwrap();
    assert_eq!(plan.stranded.len(), 1);
    assert_eq!(plan.left_out[0].reason, LeftOutReason::Pinned);
}

#[test]
fn a_machine_that_can_be_reached_is_not_recovered() {
    let inventory = inventory(vec![machine(0, 8, 64)], Vec::new());
    let refused = recover(&pool(&inventory), machine_id(0), &RecoverOptions::default()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "cannot recover machine-0: it is ready, and must be unreachable"
    );
}
