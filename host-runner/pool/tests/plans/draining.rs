//! Draining a machine.

use pool::inventory::{AffinityKind, Inventory, MachineState, Mobility};
use pool::plans::{
    CpuLimit, DrainOptions, LeftOutReason, MoveReason, Plan, PlanError, PowerChange, Recovery, drain,
};
use pool::{Mib, Refusal};
use uuid::Uuid;

use crate::support::{
    Ledger, affinity_to, applied, instance, instance_id, inventory, machine, machine_id, moves, pool,
};

/// The first machine is drained.
fn drained(inventory: &Inventory, options: &DrainOptions) -> Plan {
    drain(&pool(inventory), machine_id(0), options).unwrap()
}

#[test]
fn everything_leaves_the_machine() {
    let inventory = inventory(
        vec![machine(0, 8, 32), machine(1, 8, 32), machine(2, 8, 32)],
        vec![
            instance(0, 0, 2, 8, 0.5),
            instance(1, 0, 2, 8, 0.5),
            instance(2, 1, 2, 8, 0.5),
        ],
    );
    let plan = drained(&inventory, &DrainOptions::default());
    assert_eq!(moves(&plan), 2);
    assert_eq!(
        plan.steps.len(),
        1,
        "nothing stands in their way, so they go at once"
    );
    assert!(
        plan.steps[0]
            .moves
            .iter()
            .all(|made| made.reason == MoveReason::Drain)
    );
    assert!(plan.stranded.is_empty());
    assert!(plan.steps[0].moves[0].duration_s > 60.0, "8 GiB take a while");
}

#[test]
fn where_one_finds_no_place_nothing_moves_and_the_nearest_machine_is_named_with_its_numbers() {
    let inventory = inventory(
        vec![machine(0, 8, 64), machine(1, 8, 32), machine(2, 8, 16)],
        vec![instance(0, 0, 2, 4, 0.1), instance(1, 0, 2, 40, 0.1)],
    );
    let plan = drained(&inventory, &DrainOptions::default());
    assert_eq!(moves(&plan), 0);
    assert_eq!(plan.after, plan.before);
    let [stranded] = plan.stranded.as_slice() else {
        panic!("one is stranded: {:?}", plan.stranded);
    };
    assert_eq!(stranded.instance, instance_id(1));
    assert_eq!(stranded.nearest, Some(machine_id(1)));
    assert_eq!(
        stranded.refusals,
        [Refusal::InsufficientMemory {
            needed_mib: pool::Mib(40 * 1024),
            // 32 GiB, of which the other that leaves will take 4.
            free_mib: pool::Mib(28 * 1024),
        }]
    );
}

#[test]
fn what_is_fixed_or_pinned_strands_the_drain_and_says_so() {
    let mut inventory = inventory(
        vec![machine(0, 8, 32), machine(1, 8, 32)],
        vec![
            instance(0, 0, 1, 1, 0.1),
            instance(1, 0, 1, 1, 0.1),
            instance(2, 0, 1, 1, 0.1),
        ],
    );
    inventory.instances[0].needs.mobility = Mobility::Fixed;
    inventory.instances[1].needs.pin = Some(machine_id(0));
    let plan = drained(&inventory, &DrainOptions::default());
    assert_eq!(moves(&plan), 0);
    let stranded: Vec<Uuid> = plan.stranded.iter().map(|stranded| stranded.instance).collect();
    assert_eq!(stranded, [instance_id(0), instance_id(1)]);
    for stranded in &plan.stranded {
        let machine = "machine-0".to_owned();
        assert_eq!(
            (stranded.nearest, stranded.refusals.as_slice()),
            (
                Some(machine_id(1)),
                [Refusal::PinnedElsewhere { machine }].as_slice()
            )
        );
    }
    let why: Vec<_> = plan
        .left_out
        .iter()
        .map(|left| (left.instance, &left.reason))
        .collect();
    assert_eq!(
        why,
        [
            (Some(instance_id(0)), &LeftOutReason::Fixed),
            (Some(instance_id(1)), &LeftOutReason::Pinned),
        ]
    );
}

/// Greedy would put the small one where only the large one fits, and others are in the way.
#[test]
fn room_is_made_by_moving_others() {
    let inventory = inventory(
        vec![machine(0, 16, 32), machine(1, 16, 32), machine(2, 16, 32)],
        vec![
            instance(0, 0, 1, 20, 0.1),
            instance(1, 1, 1, 10, 0.1),
            instance(2, 1, 1, 6, 0.1),
            instance(3, 2, 1, 18, 0.1),
        ],
    );
    // 16 GiB are free on one machine and 14 on the other: neither takes 20 as it is.
    let plan = drained(&inventory, &DrainOptions::default());
    assert!(plan.stranded.is_empty(), "{:?}", plan.stranded);
    assert_eq!(moves(&plan), 2);
    let other = &plan.steps[0].moves[0];
    assert_eq!(
        other.reason,
        MoveReason::MakesRoom {
            instance: instance_id(0)
        }
    );
    Ledger::new(&inventory, Some(1.0)).carry_out(&plan, |moves| ((0..moves).collect(), (0..moves).collect()));

    let alone = DrainOptions {
        make_room: false,
        ..DrainOptions::default()
    };
    let plan = drained(&inventory, &alone);
    assert_eq!(plan.stranded.len(), 1);
}

#[test]
fn those_that_belong_together_leave_together() {
    let mut inventory = inventory(
        vec![machine(0, 8, 32), machine(1, 8, 12), machine(2, 8, 32)],
        vec![
            instance(0, 0, 2, 8, 0.5),
            instance(1, 0, 2, 8, 0.5),
            instance(2, 2, 2, 8, 0.5),
        ],
    );
    inventory.instances[1].needs.affinities = vec![affinity_to(AffinityKind::Together, 0)];
    let plan = drained(&inventory, &DrainOptions::default());
    assert!(plan.stranded.is_empty(), "{:?}", plan.stranded);
    assert_eq!(plan.steps.len(), 1);
    assert!(plan.steps[0].moves.iter().all(|made| made.to == machine_id(2)));
}

/// Each of them would find a place alone, and neither may go alone.
#[test]
fn those_that_belong_together_and_find_no_place_together_are_told_so() {
    let mut inventory = inventory(
        vec![machine(0, 8, 64), machine(1, 8, 16), machine(2, 8, 16)],
        vec![instance(0, 0, 2, 10, 0.5), instance(1, 0, 2, 10, 0.5)],
    );
    inventory.instances[0].needs.affinities = vec![affinity_to(AffinityKind::Together, 1)];
    let plan = drained(&inventory, &DrainOptions::default());
    let [stranded] = plan.stranded.as_slice() else {
        panic!("{:?}", plan.stranded);
    };
    assert_eq!(moves(&plan), 0);
    assert_eq!(
        stranded.refusals,
        [Refusal::InsufficientMemory {
            needed_mib: Mib(10_240),
            free_mib: Mib(6_144)
        }],
        "beside the other, which has its place"
    );
}

#[test]
fn a_sleeping_machine_is_woken_where_there_is_no_room_otherwise() {
    let mut inventory = inventory(
        vec![machine(0, 8, 32), machine(1, 8, 16), machine(2, 8, 32)],
        vec![instance(0, 0, 2, 24, 0.5), instance(1, 1, 2, 8, 0.5)],
    );
    inventory.machines[2].state = MachineState::Asleep;
    let plan = drained(&inventory, &DrainOptions::default());
    assert_eq!(
        plan.power,
        [PowerChange::Wake {
            machine: machine_id(2)
        }]
    );
    assert_eq!(plan.steps[0].moves[0].to, machine_id(2));

    let asleep = DrainOptions {
        wake: false,
        ..DrainOptions::default()
    };
    let plan = drained(&inventory, &asleep);
    assert_eq!(plan.stranded.len(), 1);
    assert!(plan.power.is_empty());
}

#[test]
fn the_machine_sleeps_afterwards_if_that_is_wanted() {
    let inventory = inventory(
        vec![machine(0, 8, 32), machine(1, 8, 32)],
        vec![instance(0, 0, 2, 8, 0.5)],
    );
    let sleep = DrainOptions {
        sleep: true,
        ..DrainOptions::default()
    };
    let plan = drained(&inventory, &sleep);
    assert_eq!(
        plan.power,
        [PowerChange::Sleep {
            machine: machine_id(0)
        }]
    );
    assert_eq!(plan.after.machines_awake, 1);
    assert!(plan.after.power_w < plan.before.power_w);
    assert_eq!(applied(&inventory, &plan).machines[0].state, MachineState::Asleep);
}

#[test]
fn no_machine_is_given_more_than_its_cpu() {
    let inventory = inventory(
        vec![machine(0, 8, 64), machine(1, 8, 64)],
        vec![instance(0, 0, 8, 4, 6.0), instance(1, 1, 8, 4, 6.0)],
    );
    let plan = drained(&inventory, &DrainOptions::default());
    assert_eq!(
        plan.stranded[0].refusals,
        [Refusal::TooBusy {
            expected_percent: 150,
            limit_percent: 100
        }]
    );

    let slow_is_fine = DrainOptions {
        cpu: CpuLimit {
            load_max: None,
            deviations: 0.0,
        },
        ..DrainOptions::default()
    };
    let plan = drained(&inventory, &slow_is_fine);
    assert_eq!(moves(&plan), 1);
}

#[test]
fn an_empty_machine_is_drained_already() {
    let inventory = inventory(vec![machine(0, 8, 32)], Vec::new());
    let plan = drained(&inventory, &DrainOptions::default());
    assert!(plan.steps.is_empty() && plan.stranded.is_empty());
}

#[test]
fn only_a_machine_of_the_pool_that_can_be_reached_is_drained() {
    let mut inventory = inventory(vec![machine(0, 8, 32)], Vec::new());
    inventory.machines[0].state = MachineState::Unreachable;
    let pool = pool(&inventory);
    let unknown = drain(&pool, machine_id(9), &DrainOptions::default()).unwrap_err();
    assert_eq!(
        unknown,
        PlanError::UnknownMachine {
            machine: machine_id(9)
        }
    );
    let gone = drain(&pool, machine_id(0), &DrainOptions::default()).unwrap_err();
    assert_eq!(
        gone.to_string(),
        "cannot drain machine-0: it is unreachable, and must be ready or draining"
    );
}

#[test]
fn options_out_of_their_range_are_refused() {
    let inventory = inventory(vec![machine(0, 8, 32)], Vec::new());
    let mut options = DrainOptions::default();
    options.cost.per_move = f64::NAN;
    let refused = drain(&pool(&inventory), machine_id(0), &options).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "cannot plan with cost.per_move = NaN: it must be 0 to 1000"
    );
}

#[test]
fn before_and_after_say_whether_a_failure_could_be_recovered() {
    let inventory = inventory(
        vec![machine(0, 8, 32), machine(1, 8, 32), machine(2, 8, 32)],
        vec![
            instance(0, 0, 2, 16, 0.5),
            instance(1, 1, 2, 16, 0.5),
            instance(2, 2, 2, 16, 0.5),
        ],
    );
    let plan = drained(&inventory, &DrainOptions::default());
    assert_eq!(plan.before.recovery, Recovery::Recoverable);
    let Recovery::Stranding {
        stranded, failures, ..
    } = &plan.after.recovery
    else {
        panic!("48 GiB do not fit on 32: {:?}", plan.after.recovery);
    };
    assert_eq!(*failures, 2);
    assert!(!stranded.is_empty());
}

#[test]
fn failures_are_judged_in_a_pool_of_thousands_too() {
    let machines = (0..300).map(|number| machine(number, 16, 24)).collect();
    let instances = (0..3_000)
        .map(|number| instance(number, number / 10, 1, 2, 0.1))
        .collect();
    let large = inventory(machines, instances);
    let plan = drained(&large, &DrainOptions::default());
    assert_eq!(moves(&plan), 10);
    assert_eq!(plan.before.recovery, Recovery::Recoverable);
    assert_eq!(plan.after.recovery, Recovery::Recoverable);
}
