//! What if.

use pool::inventory::{Instance, Inventory, MachineState, Needs};
use pool::plans::{BalanceOptions, Edit, MoveReason, PlanError, PlanKind, WhatIfOptions, what_if};
use uuid::Uuid;

use crate::support::{instance, instance_id, inventory, machine, machine_id, moves, pool};

fn three() -> Inventory {
    let instances = (0..6)
        .map(|number| instance(number, number % 3, 2, 8, 1.0))
        .collect();
    inventory(
        vec![machine(0, 8, 32), machine(1, 8, 32), machine(2, 8, 32)],
        instances,
    )
}

#[test]
fn without_a_machine_its_instances_would_have_to_move() {
    let edits = [Edit::RemoveMachine {
        machine: machine_id(0),
    }];
    let plan = what_if(&pool(&three()), &edits, &WhatIfOptions::default()).unwrap();
    assert_eq!(plan.kind, PlanKind::WhatIf);
    assert_eq!(moves(&plan), 2);
    assert!(plan.stranded.is_empty());
    assert_eq!(plan.before.machines_awake, 3);
    assert_eq!(plan.after.machines_awake, 2);
    assert!(plan.after.mean_load.cpu > plan.before.mean_load.cpu);
}

#[test]
fn without_two_machines_some_would_find_no_place() {
    let edits = [0, 1].map(|number| Edit::SetState {
        machine: machine_id(number),
        state: MachineState::Unreachable,
    });
    let plan = what_if(&pool(&three()), &edits, &WhatIfOptions::default()).unwrap();
    assert_eq!(plan.stranded.len(), 2, "four of 8 GiB, and 16 GiB are free");
    assert_eq!(plan.stranded[0].nearest, Some(machine_id(2)));
}

#[test]
fn with_two_more_machines_the_load_could_be_evened_out() {
    let edits = [3, 4].map(|number| Edit::AddMachine {
        machine: Box::new(machine(number, 8, 32)),
    });
    let plan = what_if(&pool(&three()), &edits, &WhatIfOptions::default()).unwrap();
    assert_eq!(moves(&plan), 0, "unless that is asked for, nothing moves");
    let balanced = WhatIfOptions {
        balance: Some(BalanceOptions::default()),
        ..WhatIfOptions::default()
    };
    let plan = what_if(&pool(&three()), &edits, &balanced).unwrap();
    assert!(moves(&plan) > 0);
    assert!(
        plan.steps
            .iter()
            .flat_map(|step| &step.moves)
            .all(|made| matches!(made.reason, MoveReason::Balance { .. }))
    );
}

#[test]
fn twice_the_load_is_told_up_to_what_the_instances_can_use() {
    let double = [Edit::ScaleLoad { factor: 2.0 }];
    let plan = what_if(&pool(&three()), &double, &WhatIfOptions::default()).unwrap();
    assert!((plan.after.mean_load.cpu - 2.0 * plan.before.mean_load.cpu).abs() < 1e-9);
    let ten = [Edit::ScaleLoad { factor: 10.0 }];
    let more = what_if(&pool(&three()), &ten, &WhatIfOptions::default()).unwrap();
    assert_eq!(
        more.after.mean_load, plan.after.mean_load,
        "2 vCPUs are busy at most"
    );
}

#[test]
fn what_is_added_looks_for_a_place() {
    let add = |number: usize, memory_gib: u32| Edit::AddInstance {
        instance: Box::new(Instance {
            machine: None,
            ..instance(number, 0, 2, memory_gib, 1.0)
        }),
    };
    let plan = what_if(
        &pool(&three()),
        &[add(10, 8), add(11, 60)],
        &WhatIfOptions::default(),
    )
    .unwrap();
    assert_eq!(moves(&plan), 1);
    assert_eq!(plan.steps[0].moves[0].reason, MoveReason::Placed);
    assert_eq!(plan.steps[0].moves[0].from, None);
    assert_eq!(plan.stranded.len(), 1);
    assert_eq!(plan.stranded[0].instance, instance_id(11));
}

#[test]
fn what_is_removed_leaves_room() {
    let edits = [Edit::RemoveInstance {
        instance: instance_id(0),
    }];
    let plan = what_if(&pool(&three()), &edits, &WhatIfOptions::default()).unwrap();
    assert_eq!(plan.after.instances_placed, 5);
    assert!(plan.stranded.is_empty());
}

#[test]
fn edits_that_contradict_the_pool_or_themselves_are_refused() {
    let pool = pool(&three());
    let ask = |edit: Edit| what_if(&pool, &[edit], &WhatIfOptions::default()).unwrap_err();
    let nobody = Uuid::from_u128(5);
    assert_eq!(
        ask(Edit::RemoveMachine { machine: nobody }),
        PlanError::UnknownMachine { machine: nobody }
    );
    assert_eq!(
        ask(Edit::RemoveInstance { instance: nobody }),
        PlanError::UnknownInstance { instance: nobody }
    );
    assert!(matches!(
        ask(Edit::AddMachine {
            machine: Box::new(machine(0, 8, 8))
        }),
        PlanError::AlreadyThere { .. }
    ));
    assert!(matches!(
        ask(Edit::ScaleLoad { factor: f64::NAN }),
        PlanError::Option { option: "factor", .. }
    ));
    let impossible = Instance {
        machine: None,
        needs: Needs::new(0, pool::Mib(1)),
        ..instance(20, 0, 1, 1, 0.0)
    };
    let refused = ask(Edit::AddInstance {
        instance: Box::new(impossible),
    });
    assert_eq!(
        refused.to_string(),
        "cannot add instance-20: the inventory has 1 fault: instance instance-20 \
         (00000000-0000-0000-0000-000020000014): vcpus 0 is not within 1..=1024"
    );
}
