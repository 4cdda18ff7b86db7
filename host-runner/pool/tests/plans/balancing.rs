//! Evening out the load.

use pool::Refusal;
use pool::inventory::{Inventory, Mobility, UsageSeries};
use pool::plans::{BalanceOptions, LeftOutReason, MoveCost, MoveReason, PlanError, Recovery, balance};

use crate::support::{
    NOW_S, apart_from_group, applied, failures, instance, inventory, machine, machine_id, moves, pool, usage,
};

/// All on one of three machines.
fn lopsided() -> Inventory {
    let instances = (0..9).map(|number| instance(number, 0, 2, 2, 0.8)).collect();
    inventory(
        vec![machine(0, 16, 32), machine(1, 16, 32), machine(2, 16, 32)],
        instances,
    )
}

#[test]
fn the_load_is_evened_out() {
    let plan = balance(&pool(&lopsided()), &BalanceOptions::default()).unwrap();
    assert_eq!(moves(&plan), 6, "{:?}", plan.steps);
    assert!(plan.after.imbalance < 0.001, "{}", plan.after.imbalance);
    let moved = plan.steps.iter().flat_map(|step| &step.moves);
    let gains: f64 = moved
        .map(|made| match made.reason {
            MoveReason::Balance { gain } => gain,
            _ => 0.0,
        })
        .sum();
    let fallen = plan.before.imbalance - plan.after.imbalance;
    assert!(
        (gains - fallen).abs() < 1e-9,
        "the moves' gains add up to what the plan gains"
    );
}

#[test]
fn a_second_plan_is_empty_and_says_that_the_pool_is_balanced_enough() {
    let options = BalanceOptions::default();
    let inventory = lopsided();
    let plan = balance(&pool(&inventory), &options).unwrap();
    let again = balance(&pool(&applied(&inventory, &plan)), &options).unwrap();
    assert_eq!(moves(&again), 0);
    let [left] = again.left_out.as_slice() else {
        panic!("one reason for the whole pool: {:?}", again.left_out);
    };
    assert!(matches!(
        left.reason,
        LeftOutReason::BalancedEnough { threshold, .. } if threshold == options.begin
    ));
}

#[test]
fn between_the_thresholds_nothing_begins() {
    let mut inventory = lopsided();
    for (number, instance) in inventory.instances.iter_mut().enumerate() {
        instance.machine = Some(machine_id(number % 3));
    }
    inventory.instances[0].usage = Some(usage(1.8));
    let options = BalanceOptions {
        end: 0.001,
        ..BalanceOptions::default()
    };
    let plan = balance(&pool(&inventory), &options).unwrap();
    assert!(plan.before.imbalance > options.end && plan.before.imbalance < options.begin);
    assert_eq!(moves(&plan), 0);
}

#[test]
fn what_was_moved_a_short_while_ago_stays_and_so_does_what_a_clock_ahead_of_ours_moved() {
    let mut inventory = lopsided();
    for (number, instance) in inventory.instances.iter_mut().enumerate() {
        instance.moved_at_s = Some(if number % 2 == 0 {
            NOW_S - 600
        } else {
            NOW_S + 9_999
        });
    }
    let plan = balance(&pool(&inventory), &BalanceOptions::default()).unwrap();
    assert_eq!(moves(&plan), 0);
    assert_eq!(
        plan.left_out[0].reason,
        LeftOutReason::Cooldown { remaining_s: 3_000 }
    );
    assert_eq!(
        plan.left_out[1].reason,
        LeftOutReason::Cooldown { remaining_s: 3_600 }
    );

    let at_once = BalanceOptions {
        cooldown_s: 0,
        ..BalanceOptions::default()
    };
    assert!(moves(&balance(&pool(&inventory), &at_once).unwrap()) > 0);
}

#[test]
fn where_nothing_may_move_the_plan_says_so() {
    let mut inventory = lopsided();
    for (number, instance) in inventory.instances.iter_mut().enumerate() {
        if number % 2 == 0 {
            instance.needs.mobility = Mobility::Fixed;
        } else {
            instance.needs.pin = Some(machine_id(0));
        }
    }
    let plan = balance(&pool(&inventory), &BalanceOptions::default()).unwrap();
    assert_eq!(moves(&plan), 0);
    assert_eq!(plan.left_out[0].reason, LeftOutReason::Fixed);
    assert_eq!(plan.left_out[1].reason, LeftOutReason::Pinned);
}

#[test]
fn a_move_that_costs_more_than_it_gains_is_not_made() {
    let dear = BalanceOptions {
        cost: MoveCost {
            per_move: 10.0,
            per_minute: 0.0,
        },
        ..BalanceOptions::default()
    };
    let plan = balance(&pool(&lopsided()), &dear).unwrap();
    assert_eq!(moves(&plan), 0);
    let LeftOutReason::GainTooSmall { gain, needed } = plan.left_out[0].reason else {
        panic!("the gain is told: {:?}", plan.left_out[0]);
    };
    assert!(gain > 0.0 && needed > gain);
}

/// Equal memory everywhere, so that a single move would trade one imbalance for another.
#[test]
fn where_no_single_move_helps_two_instances_change_places() {
    let mut instances = Vec::new();
    for number in 0..4 {
        instances.push(instance(number, 0, 4, 7, 3.0));
        instances.push(instance(number + 4, 1, 4, 7, 0.2));
    }
    let inventory = inventory(vec![machine(0, 16, 40), machine(1, 16, 40)], instances);
    let plan = balance(&pool(&inventory), &BalanceOptions::default()).unwrap();
    assert!(plan.after.imbalance < 0.02, "{}", plan.after.imbalance);
    assert_eq!(moves(&plan), 4);
}

#[test]
fn an_overloaded_machine_is_relieved_however_even_the_pool_is() {
    let mut inventory = inventory(
        vec![machine(0, 8, 64), machine(1, 8, 64)],
        (0..8).map(|number| instance(number, 0, 2, 1, 1.0)).collect(),
    );
    inventory.machines[0].memory_mib = pool::Mib(2_000_000);
    let options = BalanceOptions {
        begin: 10.0,
        end: 10.0,
        ..BalanceOptions::default()
    };
    let plan = balance(&pool(&inventory), &options).unwrap();
    let first = &plan.steps[0].moves[0];
    assert!(matches!(first.reason, MoveReason::Overload { load } if load >= 1.0));
    assert!(plan.after.highest_cpu_load <= options.overload);
    assert_eq!(moves(&plan), 1, "no more than it takes");
}

#[test]
fn the_target_is_never_overloaded() {
    // The one with memory to spare is busy already.
    let mut instances: Vec<_> = (0..6).map(|number| instance(number, 0, 4, 4, 0.9)).collect();
    instances.push(instance(6, 1, 8, 1, 6.0));
    let mut inventory = inventory(vec![machine(0, 32, 32), machine(1, 8, 32)], instances);
    inventory.instances[6].needs.mobility = Mobility::Fixed;
    let plan = balance(&pool(&inventory), &BalanceOptions::default()).unwrap();
    let onto_the_busy = plan
        .steps
        .iter()
        .flat_map(|step| &step.moves)
        .filter(|made| made.to == machine_id(1));
    assert_eq!(onto_the_busy.count(), 0, "{:?}", plan.steps);
}

#[test]
fn an_empty_pool_and_one_machine_alone_are_balanced() {
    for machines in [Vec::new(), vec![machine(0, 8, 32)]] {
        let plan = balance(
            &pool(&inventory(machines, Vec::new())),
            &BalanceOptions::default(),
        )
        .unwrap();
        assert_eq!(moves(&plan), 0);
        assert_eq!(plan.left_out.len(), 1);
    }
}

#[test]
fn usage_that_is_no_number_or_negative_is_passed_over() {
    let mut inventory = lopsided();
    for instance in &mut inventory.instances {
        instance.usage = Some(UsageSeries {
            last_at_s: NOW_S,
            step_s: 300,
            values: vec![f64::NAN, -3.0, f64::INFINITY, f64::NEG_INFINITY],
        });
    }
    let plan = balance(&pool(&inventory), &BalanceOptions::default()).unwrap();
    assert!(plan.before.imbalance.is_finite() && plan.after.imbalance.is_finite());
    assert!(moves(&plan) > 0);
}

#[test]
fn a_plan_ends_above_where_it_would_begin_only_by_mistake_so_such_options_are_refused() {
    let options = BalanceOptions {
        begin: 0.1,
        end: 0.2,
        ..BalanceOptions::default()
    };
    let refused = balance(&pool(&lopsided()), &options).unwrap_err();
    assert_eq!(
        refused,
        PlanError::Option {
            option: "end",
            value: 0.2,
            least: 0.0,
            most: 0.1
        }
    );
}

#[cfg(not(feature = "optimal"))]
#[test]
fn without_a_solver_the_best_plan_is_refused() {
    use pool::plans::{How, Solver};

    let options = BalanceOptions {
        how: How {
            solver: Solver::Optimal,
            ..How::default()
        },
        ..BalanceOptions::default()
    };
    let refused = balance(&pool(&lopsided()), &options).unwrap_err();
    assert_eq!(refused, PlanError::NoSolver);
}

#[test]
fn what_is_where_a_wish_forbids_it_moves_however_even_the_pool_is() {
    let mut inventory = lopsided();
    for (number, instance) in inventory.instances.iter_mut().enumerate() {
        instance.machine = Some(machine_id(number % 3));
    }
    for number in [0, 3] {
        inventory.instances[number].needs.group = Some("replicas".into());
        inventory.instances[number].needs.affinities = vec![apart_from_group("replicas")];
    }
    let options = BalanceOptions::default();
    let plan = balance(&pool(&inventory), &options).unwrap();
    let broken = plan.steps.iter().flat_map(|step| &step.moves).filter(|made| {
        matches!(
            made.reason,
            MoveReason::BreaksRule {
                rule: Refusal::NotApart { .. }
            }
        )
    });
    assert_eq!(broken.count(), 1, "{:?}", plan.steps);
    let again = balance(&pool(&applied(&inventory, &plan)), &options).unwrap();
    assert_eq!(moves(&again), 0);
}

/// A large instance could be started anew on the third machine alone, which the busy ones of the second would rather have for themselves.
fn one_counts_on_room_that_others_want() -> Inventory {
    let mut instances = vec![instance(0, 0, 2, 20, 0.2)];
    instances.extend((1..5).map(|number| instance(number, 1, 4, 3, 3.0)));
    inventory(
        vec![machine(0, 16, 22), machine(1, 16, 24), machine(2, 16, 24)],
        instances,
    )
}

#[test]
fn a_move_that_would_make_a_failure_unrecoverable_is_held_back_and_named() {
    let inventory = one_counts_on_room_that_others_want();
    let bold = BalanceOptions {
        keep_recovery: false,
        ..BalanceOptions::default()
    };
    let plan = balance(&pool(&inventory), &bold).unwrap();
    assert_eq!(plan.before.recovery, Recovery::Recoverable);
    assert!(failures(&plan.after.recovery) > 0, "{plan:?}");

    let plan = balance(&pool(&inventory), &BalanceOptions::default()).unwrap();
    assert_eq!(plan.after.recovery, Recovery::Recoverable);
    let held_back = plan.left_out.iter().find_map(|left| match &left.reason {
        LeftOutReason::NoPlace { refusals, .. } => match refusals.as_slice() {
            [Refusal::BreaksRecovery { failure, stranded }] => Some((failure.clone(), *stranded)),
            _ => None,
        },
        _ => None,
    });
    assert!(
        held_back.is_some_and(|(_, stranded)| stranded > 0),
        "{:?}",
        plan.left_out
    );
    let again = balance(&pool(&applied(&inventory, &plan)), &BalanceOptions::default()).unwrap();
    assert_eq!(moves(&again), 0);
}

/// What hurts now comes first: some leave the machine that runs out of CPU, although a failure could then strand one of them.
#[test]
fn an_overloaded_machine_is_relieved_even_so() {
    let mut overloaded = one_counts_on_room_that_others_want();
    overloaded.machines[1].threads = 8;
    let plan = balance(&pool(&overloaded), &BalanceOptions::default()).unwrap();
    assert_eq!(plan.before.recovery, Recovery::Recoverable);
    assert!(
        plan.before.highest_cpu_load > 1.0 && plan.after.highest_cpu_load < 0.95,
        "{:?}",
        plan.after
    );
    assert_eq!(failures(&plan.after.recovery), 1);
    let mut moved = plan.steps.iter().flat_map(|step| &step.moves);
    assert!(moved.any(|made| matches!(made.reason, MoveReason::Overload { .. })));
}

/// A better move takes the way by which the overloaded machine could be relieved without harm. It is relieved in the same plan even so: a
/// second one is empty.
#[test]
fn what_must_be_done_is_done_in_one_plan_though_a_move_before_it_took_the_harmless_way() {
    let machines = [(0, 8, 23_552), (1, 24, 18_432), (2, 8, 29_696)].map(|(number, threads, memory_mib)| {
        let mut machine = machine(number, threads, 0);
        machine.memory_mib = pool::Mib(memory_mib);
        machine.overcommit.cpu = Some(2.0);
        machine.instance_overhead_mib = pool::Mib(64);
        machine
    });
    let mut instances: Vec<_> = [
        (1, 2, 11, 1.7),
        (2, 3, 7, 2.8),
        (0, 2, 5, 0.8),
        (0, 3, 7, 1.6),
        (0, 4, 8, 0.2),
        (1, 4, 4, 0.9),
        (2, 4, 10, 3.2),
        (2, 3, 1, 0.2),
        (2, 3, 7, 2.1),
        (0, 3, 2, 0.9),
    ]
    .into_iter()
    .enumerate()
    .map(|(number, (on, vcpus, memory_gib, used))| instance(number, on, vcpus, memory_gib, used))
    .collect();
    for number in [5, 7] {
        instances[number].needs.group = Some("replicas".into());
        instances[number].needs.affinities = vec![apart_from_group("replicas")];
    }
    for (number, priority) in [(0, 1), (4, 2), (5, 1), (8, 2), (9, 1)] {
        instances[number].needs.priority = priority;
    }
    let inventory = inventory(machines.to_vec(), instances);
    let options = BalanceOptions::default();
    let plan = balance(&pool(&inventory), &options).unwrap();
    let again = balance(&pool(&applied(&inventory, &plan)), &options).unwrap();
    assert_eq!(moves(&again), 0, "{:?} after {:?}", again.steps, plan.steps);
}
