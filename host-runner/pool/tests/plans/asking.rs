//! What if.

use std::collections::BTreeSet;

use pool::inventory::{Instance, Inventory, MachineState, Mobility, Needs};
use pool::plans::{
    BalanceOptions, ConsolidateOptions, DrainOptions, Edit, LeftOutReason, Move, MoveReason, Plan, PlanError,
    PlanKind, RecoverOptions, WhatIfOptions, balance, consolidate, drain, recover, what_if,
};
use proptest::prelude::*;
use uuid::Uuid;

use crate::support::{
    Ledger, apart_from_group, instance, instance_id, inventory, machine, machine_id, moves, pool,
    random::{Made, inventories_with_disks},
    tried_on,
};

fn balanced() -> WhatIfOptions {
    WhatIfOptions {
        balance: Some(BalanceOptions::default()),
        ..WhatIfOptions::default()
    }
}

fn made(plan: &Plan) -> impl Iterator<Item = &Move> {
    plan.steps.iter().flat_map(|step| &step.moves)
}

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
fn in_a_pool_without_machines_nothing_moves_and_nothing_panics() {
    let empty = pool(&Inventory::empty());
    let newcomer = Edit::AddInstance {
        instance: Box::new(Instance {
            machine: None,
            ..instance(0, 0, 1, 1, 0.5)
        }),
    };
    let plans = [
        balance(&empty, &BalanceOptions::default()).unwrap(),
        consolidate(&empty, &ConsolidateOptions::default()).unwrap(),
        what_if(&empty, &[], &balanced()).unwrap(),
        what_if(&empty, &[newcomer], &balanced()).unwrap(),
    ];
    for plan in &plans {
        assert_eq!(moves(plan), 0, "{plan:?}");
        assert!(
            plan.before.imbalance == 0.0 && plan.after.power_w == 0.0,
            "{plan:?}"
        );
    }
    let [.., asked] = plans;
    assert_eq!((asked.stranded.len(), asked.stranded[0].nearest), (1, None));
    let unknown = PlanError::UnknownMachine {
        machine: machine_id(0),
    };
    assert_eq!(
        drain(&empty, machine_id(0), &DrainOptions::default()),
        Err(unknown)
    );
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

/// What else is at work on a machine is a part of everything.
#[test]
fn twice_the_load_is_twice_that_of_the_machines_own_work_too() {
    let mut inventory = three();
    inventory.machines[0].usage = Some(crate::support::usage(3.0));
    let double = [Edit::ScaleLoad { factor: 2.0 }];
    let plan = what_if(&pool(&inventory), &double, &WhatIfOptions::default()).unwrap();
    assert!(
        (plan.before.highest_cpu_load - 3.0 / 8.0).abs() < 1e-6,
        "{}",
        plan.before.highest_cpu_load
    );
    assert!(
        (plan.after.highest_cpu_load - 6.0 / 8.0).abs() < 1e-6,
        "{}",
        plan.after.highest_cpu_load
    );
    let as_it_is = [Edit::ScaleLoad { factor: 1.0 }];
    let plan = what_if(&pool(&inventory), &as_it_is, &WhatIfOptions::default()).unwrap();
    assert!((plan.after.imbalance - plan.before.imbalance).abs() < 1e-9);
}

/// All of them busy with all that they have, none can swing: no margin is kept for it.
#[test]
fn a_load_that_can_grow_no_further_swings_no_more() {
    let mut inventory = three();
    for (number, instance) in inventory.instances.iter_mut().enumerate() {
        let mut usage = crate::support::usage(0.5);
        for (at, value) in usage.values.iter_mut().enumerate() {
            *value = if (at + number).is_multiple_of(2) { 0.1 } else { 0.9 };
        }
        instance.usage = Some(usage);
    }
    let edits = [Edit::ScaleLoad { factor: 1_000.0 }];
    // Two of 2 vCPUs on each machine use 4 of 8 threads.
    let plan = what_if(&pool(&inventory), &edits, &balanced()).unwrap();
    assert_eq!(moves(&plan), 0, "{:?}", plan.steps);
    assert!(
        plan.left_out.iter().all(|left| left.instance.is_none()),
        "{:?}",
        plan.left_out
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
    let twice = |edit: Edit| what_if(&pool, &[edit.clone(), edit], &WhatIfOptions::default()).unwrap_err();
    assert_eq!(
        twice(Edit::RemoveInstance {
            instance: instance_id(0)
        }),
        PlanError::UnknownInstance {
            instance: instance_id(0)
        }
    );
    let gone = Edit::RemoveMachine {
        machine: machine_id(0),
    };
    let back = Edit::SetState {
        machine: machine_id(0),
        state: MachineState::Ready,
    };
    let contradiction = what_if(&pool, &[gone, back], &WhatIfOptions::default()).unwrap_err();
    assert_eq!(
        contradiction,
        PlanError::UnknownMachine {
            machine: machine_id(0)
        }
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

#[test]
fn a_balance_afterwards_says_what_stays_and_why() {
    let mut inventory = three();
    inventory.instances[0].needs.mobility = Mobility::Fixed;
    let plan = what_if(&pool(&inventory), &[], &balanced()).unwrap();
    let [whole] = plan.left_out.as_slice() else {
        panic!("{:?}", plan.left_out);
    };
    assert!(
        matches!(whole.reason, LeftOutReason::BalancedEnough { threshold, .. } if threshold == 0.05),
        "{whole:?}"
    );
    let edits = [Edit::AddMachine {
        machine: Box::new(machine(3, 8, 32)),
    }];
    let plan = what_if(&pool(&inventory), &edits, &balanced()).unwrap();
    assert!(moves(&plan) > 0);
    let fixed = plan
        .left_out
        .iter()
        .find(|left| left.instance == Some(instance_id(0)));
    assert_eq!(fixed.map(|left| &left.reason), Some(&LeftOutReason::Fixed));
}

#[test]
fn a_balance_afterwards_says_whom_it_relieves_and_whose_wish_it_mends() {
    let mut inventory = three();
    for number in [0, 3] {
        inventory.instances[number].needs.group = Some("replicas".into());
        inventory.instances[number].needs.affinities = vec![apart_from_group("replicas")];
    }
    let plan = what_if(&pool(&inventory), &[], &balanced()).unwrap();
    assert!(
        made(&plan).any(|made| matches!(made.reason, MoveReason::BreaksRule { .. })),
        "{:?}",
        plan.steps
    );
    let busy = (0..4).map(|number| instance(number, 0, 4, 2, 2.0)).collect();
    let inventory = crate::support::inventory(vec![machine(0, 8, 64), machine(1, 8, 64)], busy);
    let plan = what_if(&pool(&inventory), &[], &balanced()).unwrap();
    assert!(
        made(&plan).any(|made| matches!(made.reason, MoveReason::Overload { .. })),
        "{:?}",
        plan.steps
    );
}

/// By itself it would go to the machine that is emptiest then, and would have to leave it again.
#[test]
fn who_loses_its_place_goes_to_its_last_one_at_once() {
    let mut instances: Vec<_> = (0..8).map(|number| instance(number, 0, 2, 2, 1.2)).collect();
    instances.extend((8..12).map(|number| instance(number, 1, 1, 6, 0.1)));
    let inventory = inventory(
        vec![
            machine(0, 16, 64),
            machine(1, 16, 64),
            machine(2, 16, 64),
            machine(3, 16, 64),
        ],
        instances,
    );
    let edits = [Edit::RemoveMachine {
        machine: machine_id(1),
    }];
    let plan = what_if(&pool(&inventory), &edits, &balanced()).unwrap();
    let mut seen = BTreeSet::new();
    assert!(made(&plan).count() >= 4);
    for made in made(&plan) {
        assert!(
            seen.insert(made.instance),
            "{} moves twice: {:?}",
            made.name,
            plan.steps
        );
    }
}

proptest! {
    #![proptest_config(tried_on(24))]

    /// Whatever the question, the answer is the one that the plan of that kind gives.
    #[test]
    fn a_question_is_answered_as_the_plan_of_its_kind_would_be(Made(inventory) in inventories_with_disks()) {
        let seen = pool(&inventory);
        let same = |asked: &Plan, known: &Plan| {
            asked.left_out == known.left_out && asked.stranded == known.stranded && asked.after == known.after
                && made(asked).map(|made| (made.instance, made.to)).eq(made(known).map(|made| (made.instance, made.to)))
        };
        let asked = what_if(&seen, &[], &balanced()).unwrap();
        let known = balance(&seen, &BalanceOptions::default()).unwrap();
        prop_assert!(same(&asked, &known), "{asked:?} is not {known:?}");
        prop_assert_eq!(asked.steps, known.steps);

        let edits = [Edit::SetState { machine: machine_id(0), state: MachineState::Unreachable }];
        let asked = what_if(&seen, &edits, &WhatIfOptions::default()).unwrap();
        let mut gone = pool(&inventory);
        gone.set_machine_state(gone.machine_of_id(machine_id(0)).unwrap(), MachineState::Unreachable);
        let known = recover(&gone, machine_id(0), &RecoverOptions::default()).unwrap();
        prop_assert!(same(&asked, &known), "{asked:?} is not {known:?}");
        for stranded in known.stranded {
            prop_assert!(stranded.nearest.is_none() || !stranded.refusals.is_empty(), "{stranded:?} has a place");
        }
    }

    #[test]
    fn what_a_question_is_answered_with_is_true(
        Made(mut inventory) in inventories_with_disks(),
        factor in 0.5..2.5_f64,
        adds in any::<bool>(),
    ) {
        let mut edits = vec![
            Edit::RemoveMachine { machine: machine_id(0) },
            Edit::ScaleLoad { factor },
        ];
        if adds {
            let added = machine(90, 16, 32);
            inventory.machines.push(added.clone());
            let seen = Inventory { machines: inventory.machines[..inventory.machines.len() - 1].to_vec(), ..inventory.clone() };
            edits.push(Edit::AddMachine { machine: Box::new(added) });
            check_answer(&seen, &inventory, &edits)?;
        } else {
            check_answer(&inventory, &inventory, &edits)?;
        }
    }
}

fn check_answer(seen: &Inventory, edited: &Inventory, edits: &[Edit]) -> Result<(), TestCaseError> {
    let plan = what_if(&pool(seen), edits, &balanced()).unwrap();
    Ledger::new(edited, None).carry_out(&plan, |moves| ((0..moves).collect(), (0..moves).collect()));
    for made in made(&plan) {
        if let MoveReason::Balance { gain } | MoveReason::Exchange { gain, .. } = made.reason {
            prop_assert!(gain > 0.0, "{made:?}");
        }
    }
    for left in &plan.left_out {
        prop_assert!(
            left.instance
                .is_none_or(|left| made(&plan).all(|made| made.instance != left)),
            "{left:?}"
        );
        if let LeftOutReason::GainTooSmall { gain, needed } = left.reason {
            prop_assert!(gain <= needed, "{left:?}");
        }
    }
    for stranded in &plan.stranded {
        prop_assert!(
            stranded.nearest.is_none() || !stranded.refusals.is_empty(),
            "{stranded:?} has a place"
        );
    }
    // Either something moves, or it is told why not.
    prop_assert!(moves(&plan) > 0 || !plan.left_out.is_empty());
    Ok(())
}
