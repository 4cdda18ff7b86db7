//! What a plan says of its moves and of what it leaves is true.

use pool::inventory::Inventory;
use pool::plans::{
    BalanceOptions, DrainOptions, LeftOutReason, Move, MoveReason, Plan, RecoverOptions, balance, drain,
    recover,
};
use proptest::prelude::*;
use uuid::Uuid;

use crate::support::{
    apart_from_group, instance, inventory, machine, machine_id, moves, pool,
    random::{Made, inventories},
    tried_on,
};

fn made(plan: &Plan) -> impl Iterator<Item = &Move> {
    plan.steps.iter().flat_map(|step| &step.moves)
}

/// Nine on one of three machines: six would have to move.
fn lopsided() -> Inventory {
    let instances = (0..9).map(|number| instance(number, 0, 2, 2, 0.8)).collect();
    inventory((0..3).map(|number| machine(number, 16, 32)).collect(), instances)
}

#[test]
fn where_the_moves_are_spent_that_is_the_reason() {
    let options = BalanceOptions {
        moves_max: 2,
        ..BalanceOptions::default()
    };
    let plan = balance(&pool(&lopsided()), &options).unwrap();
    assert_eq!(moves(&plan), 2);
    assert_eq!(plan.left_out.len(), 7, "{:?}", plan.left_out);
    for left in &plan.left_out {
        assert_eq!(left.reason, LeftOutReason::MovesSpent { moves_max: 2 });
    }
}

/// The imbalance lies between the thresholds when only a wish had to be mended: what would pay yet is not begun.
#[test]
fn where_the_pool_is_not_uneven_enough_to_begin_that_is_the_reason() {
    let mut instances: Vec<_> = (0..9)
        .map(|number| instance(number, number % 3, 2, 2, 0.4))
        .collect();
    instances.push(instance(9, 0, 2, 2, 1.2));
    for number in [0, 1] {
        instances[number].needs.group = Some("replicas".into());
        instances[number].needs.affinities = vec![apart_from_group("replicas")];
        instances[number].machine = Some(machine_id(1));
    }
    let inventory = inventory((0..3).map(|number| machine(number, 16, 32)).collect(), instances);
    let options = BalanceOptions {
        begin: 0.2,
        end: 0.0,
        ..BalanceOptions::default()
    };
    let plan = balance(&pool(&inventory), &options).unwrap();
    assert_eq!(moves(&plan), 1, "{:?}", plan.steps);
    let whole = plan.left_out.iter().find(|left| left.instance.is_none()).unwrap();
    assert!(
        matches!(whole.reason, LeftOutReason::BalancedEnough { imbalance, threshold } if imbalance > 0.0 && threshold == 0.2),
        "{whole:?}"
    );
}

/// Equal memory everywhere, so that a single move would trade one imbalance for another.
#[test]
fn two_that_change_places_name_each_other_and_what_they_gain_together() {
    let mut instances = Vec::new();
    for number in 0..4 {
        instances.push(instance(number, 0, 4, 7, 3.0));
        instances.push(instance(number + 4, 1, 4, 7, 0.2));
    }
    let inventory = inventory(vec![machine(0, 16, 40), machine(1, 16, 40)], instances);
    let plan = balance(&pool(&inventory), &BalanceOptions::default()).unwrap();
    let partners: Vec<(Uuid, Vec<Uuid>)> = made(&plan)
        .filter_map(|made| match &made.reason {
            MoveReason::Exchange { with, .. } => Some((made.instance, with.clone())),
            _ => None,
        })
        .collect();
    assert!(partners.len() >= 2, "{:?}", plan.steps);
    for (instance, with) in &partners {
        let back = |other: &Uuid| {
            partners
                .iter()
                .any(|(one, with)| one == other && with.contains(instance))
        };
        assert!(with.iter().all(back), "{partners:?}");
    }
    the_gains_are_those_of_the_plan(&plan);
}

/// Each by itself, or all that pay together once.
fn the_gains_are_those_of_the_plan(plan: &Plan) {
    let mut counted: Vec<Uuid> = Vec::new();
    let mut gains = 0.0;
    for made in made(plan) {
        match &made.reason {
            MoveReason::Balance { gain } => gains += gain,
            MoveReason::Exchange { with, gain } => {
                assert!(!with.is_empty() && !with.contains(&made.instance));
                if !counted.contains(&made.instance) {
                    gains += gain;
                    counted.extend(with);
                    counted.push(made.instance);
                }
            }
            _ => return,
        }
    }
    let fallen = plan.before.imbalance - plan.after.imbalance;
    assert!(
        (gains - fallen).abs() < 1e-6,
        "{gains} is not {fallen}: {:?}",
        plan.steps
    );
}

proptest! {
    #![proptest_config(tried_on(96))]

    #[test]
    fn reasons_of_a_balance_are_true(Made(inventory) in inventories(), moves_max in prop_oneof![Just(10_000_u32), 1..6_u32]) {
        let options = BalanceOptions { moves_max, ..BalanceOptions::default() };
        let plan = balance(&pool(&inventory), &options).unwrap();
        prop_assert!(moves(&plan) <= moves_max as usize, "{} moves", moves(&plan));
        for made in made(&plan) {
            if let MoveReason::Balance { gain } | MoveReason::Exchange { gain, .. } = made.reason {
                prop_assert!(gain > 0.0, "{made:?}");
            }
        }
        the_gains_are_those_of_the_plan(&plan);
        for left in &plan.left_out {
            prop_assert!(left.instance.is_none_or(|left| made(&plan).all(|made| made.instance != left)), "{left:?}");
            match left.reason {
                LeftOutReason::GainTooSmall { gain, needed } => prop_assert!(gain <= needed, "{left:?}"),
                LeftOutReason::MovesSpent { moves_max } => prop_assert_eq!(moves(&plan), moves_max as usize),
                _ => {}
            }
        }
    }

    #[test]
    fn a_drain_and_a_recovery_move_nobody_for_another_reason(Made(mut inventory) in inventories()) {
        let plan = drain(&pool(&inventory), machine_id(0), &DrainOptions::default()).unwrap();
        for made in made(&plan) {
            prop_assert!(matches!(made.reason, MoveReason::Drain | MoveReason::MakesRoom { .. }), "{made:?}");
        }
        inventory.machines[0].state = pool::inventory::MachineState::Unreachable;
        let plan = recover(&pool(&inventory), machine_id(0), &RecoverOptions::default()).unwrap();
        for made in made(&plan) {
            prop_assert!(matches!(made.reason, MoveReason::Recover | MoveReason::MakesRoom { .. }), "{made:?}");
        }
    }
}
