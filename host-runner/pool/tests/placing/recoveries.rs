//! N+1: what a failure would strand, and placements that keep every failure recoverable.

use pool::inventory::{AffinityKind, AffinityTarget, Inventory, Mobility, Needs, UsageSeries};
use pool::placing::{Policy, Recoverability, RecoveryRule, Subject, choose, n_plus_one};
use pool::plans::Recovery;
use pool::state::MachineIndex;
use pool::{Pool, Refusal};
use proptest::prelude::*;

use crate::made_up::{any_inventory, gib, hard, instance, instance_index, machine, machine_id, pool_of};
use crate::sums::{Change, any_change, make};

/// Machines of 16 GiB that hold instances of these sizes.
fn pool_holding(held: &[&[u32]]) -> (Inventory, Pool) {
    let mut inventory = Inventory::empty();
    inventory.machines = (0..held.len()).map(machine).collect();
    for (number, sizes) in held.iter().enumerate() {
        for size in *sizes {
            let mut one = instance(inventory.instances.len(), Needs::new(1, gib(*size)));
            one.machine = Some(machine_id(number));
            inventory.instances.push(one);
        }
    }
    let pool = pool_of(&inventory);
    (inventory, pool)
}

#[test]
fn an_empty_pool_and_a_single_machine_with_nothing_on_it_are_recoverable() {
    assert_eq!(
        n_plus_one(&pool_of(&Inventory::empty()), &Policy::default()),
        Recovery::Recoverable
    );
    assert_eq!(
        n_plus_one(&pool_holding(&[&[]]).1, &Policy::default()),
        Recovery::Recoverable
    );
}

#[test]
fn room_for_one_failure_is_enough_for_each() {
    let (_, pool) = pool_holding(&[&[8], &[8], &[8]]);
    assert_eq!(n_plus_one(&pool, &Policy::default()), Recovery::Recoverable);
}

#[test]
fn a_failure_that_strands_an_instance_is_the_witness_with_the_numbers() {
    let (_, pool) = pool_holding(&[&[12], &[6], &[6]]);
    let Recovery::Stranding {
        name,
        stranded,
        failures,
        ..
    } = n_plus_one(&pool, &Policy::default())
    else {
        panic!("12 GiB find no place on two machines with 10 GiB free")
    };
    assert_eq!((name.as_str(), failures), ("m0", 1));
    assert_eq!(stranded[0].name, "i0");
    assert_eq!(
        stranded[0].refusals,
        [Refusal::InsufficientMemory {
            needed_mib: gib(12),
            free_mib: gib(10)
        }]
    );
}

#[test]
fn the_stronger_search_looks_again_before_it_says_no() {
    // If the first fails: 6 goes to 10 free, one 5 to 6 free, and then 4 and 1 are left for the other 5. The other way round it fits.
    let (_, pool) = pool_holding(&[&[6, 5, 5], &[6], &[9, 1]]);
    assert_eq!(n_plus_one(&pool, &Policy::default()), Recovery::Recoverable);
}

/// Samples of the last hour, all the same.
fn busy(threads: f64) -> UsageSeries {
    UsageSeries {
        last_at_s: Inventory::empty().taken_at_s,
        step_s: 300,
        values: vec![threads; 12],
    }
}

/// Machines of 16 GiB and 8 threads, each with one instance of 1 GiB and 8 vCPUs.
fn pool_using(threads: &[Option<f64>]) -> Pool {
    let mut inventory = Inventory::empty();
    inventory.machines = (0..threads.len()).map(machine).collect();
    for (number, threads) in threads.iter().enumerate() {
        let mut one = instance(number, Needs::new(8, gib(1)));
        one.machine = Some(machine_id(number));
        one.usage = threads.map(busy);
        inventory.instances.push(one);
    }
    for machine in &mut inventory.machines {
        machine.threads = 8;
    }
    pool_of(&inventory)
}

#[test]
fn a_failure_is_recovered_only_where_cpu_is_expected_to_be_idle() {
    let verdict = n_plus_one(
        &pool_using(&[Some(5.0), Some(5.0), Some(6.0)]),
        &Policy::default(),
    );
    let Recovery::Stranding {
        name,
        stranded,
        failures,
        ..
    } = verdict
    else {
        panic!("5 threads find no place where 3 and 2 are idle: {verdict:?}")
    };
    assert_eq!((name.as_str(), failures), ("m0", 3));
    assert_eq!(
        stranded[0].refusals,
        [Refusal::TooBusy {
            expected_percent: 125,
            limit_percent: 100
        }],
        "the nearest is the calmer of the two"
    );
    let calm = pool_using(&[Some(4.0), Some(4.0), Some(4.0)]);
    assert_eq!(n_plus_one(&calm, &Policy::default()), Recovery::Recoverable);
}

#[test]
fn what_nobody_has_measured_is_not_refused_on_a_guess() {
    let unmeasured = pool_using(&[None, Some(5.0), Some(2.0)]);
    assert_eq!(n_plus_one(&unmeasured, &Policy::default()), Recovery::Recoverable);
}

#[test]
fn what_is_tied_to_its_machine_is_lost_with_it() {
    let (mut inventory, _) = pool_holding(&[&[1], &[]]);
    inventory.instances[0].needs.mobility = Mobility::Fixed;
    let verdict = n_plus_one(&pool_of(&inventory), &Policy::default());
    let Recovery::Stranding { stranded, .. } = verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!(
        stranded[0].refusals,
        [Refusal::PinnedElsewhere { machine: "m0".into() }]
    );
}

#[test]
fn neighbours_count_in_a_recovery_too() {
    let (mut inventory, _) = pool_holding(&[&[1], &[1]]);
    for one in &mut inventory.instances {
        one.needs.group = Some("web".into());
        let target = AffinityTarget::Group { name: "web".into() };
        one.needs.affinities = vec![hard(AffinityKind::Apart, target)];
    }
    let verdict = n_plus_one(&pool_of(&inventory), &Policy::default());
    let Recovery::Stranding {
        failures, stranded, ..
    } = verdict
    else {
        panic!("{verdict:?}")
    };
    assert_eq!(failures, 2);
    assert_eq!(stranded[0].refusals, [Refusal::NotApart { from: "i1".into() }]);
}

#[test]
fn the_rule_warns_refuses_or_looks_away() {
    let (mut inventory, _) = pool_holding(&[&[8], &[8]]);
    inventory.instances.push(instance(2, Needs::new(1, gib(4))));
    let pool = pool_of(&inventory);
    let new = instance_index(2);
    let mut recoverability = Recoverability::new(&pool, &Policy::default());
    let mut under = |recovery| {
        let policy = Policy {
            recovery,
            ..Policy::default()
        };
        recoverability.choose(&pool, new, &policy)
    };
    assert_eq!(under(RecoveryRule::Ignore).map(|kept| kept.broken), Ok(None));
    let kept = under(RecoveryRule::Warn).expect("it has room");
    assert_eq!(kept.broken.map(|broken| broken.stranded.len()), Some(1));
    let refused = under(RecoveryRule::Refuse).expect_err("8 and 4 find no place beside 8");
    assert!(
        matches!(
            refused.refusals[..],
            [Refusal::BreaksRecovery { stranded: 1, .. }]
        ),
        "{refused}"
    );
}

#[test]
fn the_rule_takes_the_next_best_machine_that_keeps_every_failure_recoverable() {
    // The third is emptiest, but the first's 11 GiB count on its room.
    let (mut inventory, _) = pool_holding(&[&[11], &[3, 3], &[3]]);
    inventory.instances.push(instance(4, Needs::new(1, gib(8))));
    let pool = pool_of(&inventory);
    let mut recoverability = Recoverability::new(&pool, &Policy::default());
    let policy = Policy {
        recovery: RecoveryRule::Refuse,
        ..Policy::default()
    };
    let kept = recoverability
        .choose(&pool, instance_index(4), &policy)
        .expect("one will do");
    assert_eq!(kept.broken, None);
    assert_eq!(kept.passed_over.len(), 1);
    let mut placed = pool.clone();
    placed.seat(instance_index(4), kept.choice.machine);
    assert_eq!(n_plus_one(&placed, &policy), Recovery::Recoverable);
}

/// Wherever it goes, it is lost with its machine: no machine keeps every failure recoverable.
#[test]
fn of_many_machines_not_all_are_asked_about_failures_and_that_is_said() {
    let refuse = Policy {
        recovery: RecoveryRule::Refuse,
        ..Policy::default()
    };
    let said = |machines: usize| {
        let (mut inventory, _) = pool_holding(&vec![&[] as &[u32]; machines]);
        inventory.machines[0].engines.clear();
        let mut fixed = Needs::new(1, gib(1));
        fixed.mobility = Mobility::Fixed;
        inventory.instances.push(instance(0, fixed));
        let pool = pool_of(&inventory);
        let mut kept = Recoverability::new(&pool, &refuse);
        *kept
            .choose(&pool, instance_index(0), &refuse)
            .expect_err("it would be stranded")
    };
    let few = said(4);
    assert!(
        few.has_asked_all() && few.to_string().starts_with("none of 4 machines can take it"),
        "{few}"
    );
    let many = said(20);
    assert!(!many.has_asked_all(), "{many}");
    assert!(
        many.to_string().starts_with(
            "none of 17 machines that were asked, of 20, can take it; the nearest, m1: must keep room"
        ),
        "{many}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn what_is_kept_as_the_pool_changes_says_what_looking_anew_says(
        inventory in any_inventory(4, 8),
        changes in prop::collection::vec(any_change(), 0..12),
    ) {
        let mut pool = pool_of(&inventory);
        let policy = Policy::default();
        let mut kept = Recoverability::new(&pool, &policy);
        for change in changes {
            let instances = pool.instances().len();
            match change {
                Change::Seat(instance, machine) => {
                    let instance = instance_index(instance % instances);
                    let machine = MachineIndex(u32::try_from(machine % pool.machines().len()).expect("few"));
                    let before = kept.verdict();
                    kept.would_break(&pool, instance, machine);
                    prop_assert_eq!(before, kept.verdict(), "asking changes nothing");
                    kept.seat(&pool, instance, machine);
                    make(&mut pool, change);
                }
                Change::Unseat(instance) => {
                    kept.unseat(instance_index(instance % instances));
                    make(&mut pool, change);
                }
                Change::State(..) | Change::Demand(..) | Change::Machine => {}
            }
        }
        // Kept certificates may be better than those that a search finds anew, as each of them was once found; never worse.
        if n_plus_one(&pool, &policy) == Recovery::Recoverable {
            prop_assert_eq!(kept.verdict(), Recovery::Recoverable);
        }
    }

    #[test]
    fn recoverable_means_that_each_failure_can_be_played_through(inventory in any_inventory(4, 8)) {
        let pool = pool_of(&inventory);
        if n_plus_one(&pool, &Policy::default()) != Recovery::Recoverable {
            return Ok(());
        }
        for (failure, seat) in pool.machines() {
            let mut after = pool.clone();
            after.set_machine_state(failure, pool::inventory::MachineState::Unreachable);
            let lost: Vec<_> = seat.instances.iter().copied()
                .filter(|one| pool.instance(*one).activity == pool::inventory::Activity::Running)
                .collect();
            if seat.state == pool::inventory::MachineState::Unreachable || seat.state == pool::inventory::MachineState::Asleep {
                continue;
            }
            for one in &lost {
                after.unseat(*one);
            }
            let placed = pool::placing::place_batch(&mut after, &lost, &Policy::default());
            // One by one may find what the batch's order misses, and the other way round.
            let one_by_one = || {
                let mut trial = after.clone();
                let mut order = lost.clone();
                order.sort_by_key(|one| std::cmp::Reverse(pool.instance(*one).asked.memory_mib));
                order.into_iter().all(|one| match choose(&Subject::of(&trial, one), &Policy::default()) {
                    Ok(choice) => {
                        trial.seat(one, choice.machine);
                        true
                    }
                    Err(_) => false,
                })
            };
            prop_assert!(placed.is_ok() || one_by_one());
        }
    }
}
