//! Several instances as one decision.

use pool::Pool;
use pool::inventory::{AffinityKind, AffinityTarget, Instance, Inventory, Needs};
use pool::placing::{BatchFailure, Contradiction, Policy, Subject, choose_machine, passes, place_batch};
use pool::state::{InstanceIndex, MachineIndex};
use proptest::prelude::*;

use crate::made_up::{
    any_inventory, gib, hard, instance, instance_id, instance_index, machine, machine_id, pool_of,
};

fn everyone(pool: &Pool) -> Vec<InstanceIndex> {
    pool.instances().map(|(index, _)| index).collect()
}

fn pool_with(machines: usize, needs: Vec<Needs>) -> Pool {
    let mut inventory = Inventory::empty();
    inventory.machines = (0..machines).map(machine).collect();
    inventory.instances = needs
        .into_iter()
        .enumerate()
        .map(|(number, needs)| instance(number, needs))
        .collect();
    pool_of(&inventory)
}

fn apart_from_group(name: &str) -> Needs {
    let mut needs = Needs::new(1, gib(1));
    needs.group = Some(name.into());
    let target = AffinityTarget::Group { name: name.into() };
    needs.affinities = vec![hard(AffinityKind::Apart, target)];
    needs
}

fn with(memory_gib: u32, kind: AffinityKind, other: usize) -> Needs {
    let mut needs = Needs::new(1, gib(memory_gib));
    let target = AffinityTarget::Instance {
        id: instance_id(other),
    };
    needs.affinities = vec![hard(kind, target)];
    needs
}

#[test]
fn three_web_servers_apart_from_each_other_get_three_machines() {
    let mut pool = pool_with(3, vec![apart_from_group("web"); 3]);
    let all = everyone(&pool);
    let placed = place_batch(&mut pool, &all, &Policy::default()).expect("there are three machines");
    let mut machines: Vec<MachineIndex> = placed.iter().map(|(_, machine)| *machine).collect();
    machines.sort_unstable();
    assert_eq!(machines, [MachineIndex(0), MachineIndex(1), MachineIndex(2)]);
}

#[test]
fn a_fourth_that_must_be_apart_leaves_all_four_out_and_is_named() {
    let mut pool = pool_with(3, vec![apart_from_group("web"); 4]);
    let all = everyone(&pool);
    let failure = *place_batch(&mut pool, &all, &Policy::default()).expect_err("there are three machines");
    assert_eq!(pool.placed(), 0);
    let BatchFailure::NoPlace { asked, unplaced, .. } = failure else {
        panic!("{failure}")
    };
    assert_eq!((asked, unplaced.len()), (4, 1));
    assert_eq!(unplaced[0].why.machines, 3);
}

#[test]
fn what_one_by_one_cannot_do_the_batch_does() {
    // 16 GiB each: 6 + 6 leaves no room for 14 if they are spread.
    let needs = || {
        vec![
            Needs::new(1, gib(6)),
            Needs::new(1, gib(6)),
            Needs::new(1, gib(14)),
        ]
    };
    let mut one_by_one = pool_with(2, needs());
    let mut placed = 0;
    for instance in everyone(&one_by_one) {
        let machine = choose_machine(&Subject::of(&one_by_one, instance), &Policy::default());
        if let Some(machine) = machine {
            one_by_one.seat(instance, machine);
            placed += 1;
        }
    }
    assert_eq!(placed, 2);
    let mut batch = pool_with(2, needs());
    let all = everyone(&batch);
    assert_eq!(
        place_batch(&mut batch, &all, &Policy::default()).map(|placed| placed.len()),
        Ok(3)
    );
}

#[test]
fn a_tight_packing_is_found_by_going_back() {
    // Three machines of 16: only 10+6, 9+7, 8+8 fill them. The largest first, spread, puts 8 beside 7 at once.
    let sizes = [10, 9, 8, 8, 7, 6];
    let mut pool = pool_with(3, sizes.map(|size| Needs::new(1, gib(size))).to_vec());
    let all = everyone(&pool);
    let placed = place_batch(&mut pool, &all, &Policy::default()).expect("it can be packed");
    assert_eq!(placed.len(), sizes.len());
}

#[test]
fn those_that_must_be_together_get_one_machine_that_holds_them_all() {
    let mut inventory = Inventory::empty();
    inventory.machines = (0..90).map(machine).collect();
    for (number, machine) in inventory.machines.iter_mut().enumerate() {
        machine.memory_mib = gib(if number == 87 { 16 } else { 9 });
    }
    inventory.instances = vec![
        instance(0, with(8, AffinityKind::Together, 1)),
        instance(1, Needs::new(1, gib(8))),
    ];
    let mut pool = pool_of(&inventory);
    let all = everyone(&pool);
    let placed = place_batch(&mut pool, &all, &Policy::default()).expect("one machine holds both");
    assert_eq!(
        placed,
        [
            (InstanceIndex(0), MachineIndex(87)),
            (InstanceIndex(1), MachineIndex(87))
        ]
    );
}

#[test]
fn together_and_apart_is_told_as_the_contradiction_that_it_is() {
    let mut pool = pool_with(
        2,
        vec![
            with(1, AffinityKind::Together, 1),
            with(1, AffinityKind::Apart, 0),
        ],
    );
    let all = everyone(&pool);
    let failure = *place_batch(&mut pool, &all, &Policy::default()).expect_err("it cannot be");
    assert_eq!(
        failure,
        BatchFailure::Contradiction {
            contradiction: Contradiction::TogetherAndApart {
                one: "i1".into(),
                other: "i0".into()
            }
        }
    );
}

#[test]
fn a_long_cycle_of_wishes_is_told_too() {
    // Each with the next, and the last apart from the first.
    let mut needs: Vec<Needs> = (0..50)
        .map(|number| with(1, AffinityKind::Together, number + 1))
        .collect();
    needs.push(with(1, AffinityKind::Apart, 0));
    let mut pool = pool_with(3, needs);
    let all = everyone(&pool);
    let failure = *place_batch(&mut pool, &all, &Policy::default()).expect_err("it cannot be");
    assert!(matches!(failure, BatchFailure::Contradiction { .. }), "{failure}");
}

#[test]
fn together_and_tied_to_two_machines_is_told() {
    let mut tied = with(1, AffinityKind::Together, 1);
    tied.pin = Some(machine_id(0));
    let mut other = Needs::new(1, gib(1));
    other.pin = Some(machine_id(1));
    let mut pool = pool_with(2, vec![tied, other]);
    let all = everyone(&pool);
    let failure = *place_batch(&mut pool, &all, &Policy::default()).expect_err("it cannot be");
    assert!(
        failure.to_string().contains("tied to different ones"),
        "{failure}"
    );
}

#[test]
fn together_with_one_whose_machine_a_rule_forbids_ends_with_the_reason() {
    let mut inventory = Inventory::empty();
    inventory.machines = (0..2).map(machine).collect();
    inventory.machines[0].tags = vec!["noisy".into()];
    let mut bound = with(1, AffinityKind::Together, 1);
    bound.affinities.push(hard(
        AffinityKind::Apart,
        AffinityTarget::Tag { name: "noisy".into() },
    ));
    inventory.instances = vec![
        instance(0, bound),
        Instance {
            machine: Some(machine_id(0)),
            ..instance(1, Needs::new(1, gib(1)))
        },
    ];
    let mut pool = pool_of(&inventory);
    let failure =
        *place_batch(&mut pool, &[instance_index(0)], &Policy::default()).expect_err("it cannot be");
    let BatchFailure::NoPlace { unplaced, proven, .. } = failure else {
        panic!("{failure}")
    };
    assert!(proven);
    assert_eq!(
        unplaced[0]
            .why
            .refused_by
            .iter()
            .map(|by| by.machines)
            .sum::<u32>(),
        2
    );
}

#[test]
fn those_that_no_machine_holds_together_are_told_who_is_too_much_and_why() {
    let needs = vec![with(12, AffinityKind::Together, 1), Needs::new(1, gib(6))];
    let mut pool = pool_with(3, needs);
    let all = everyone(&pool);
    let failure = *place_batch(&mut pool, &all, &Policy::default()).expect_err("16 GiB each");
    assert_eq!(pool.placed(), 0);
    let BatchFailure::NoPlace { unplaced, proven, .. } = failure else {
        panic!("{failure}")
    };
    assert!(proven);
    let [one] = unplaced.as_slice() else {
        panic!("{unplaced:?}")
    };
    assert_eq!(one.name, "i1", "the larger one has its place");
    assert_eq!(
        one.why.refused_by.iter().map(|by| by.machines).sum::<u32>(),
        3,
        "each machine has a reason: {}",
        one.why
    );
    assert!(
        one.why.to_string().contains("needs 6 GiB of memory, 4 GiB free"),
        "{}",
        one.why
    );
}

/// Who looks at few machines, drawn by chance, has not tried every way.
#[test]
fn a_bound_on_candidates_hides_no_machine_from_those_that_must_be_together() {
    let mut inventory = Inventory::empty();
    inventory.machines = (0..40).map(machine).collect();
    for (number, machine) in inventory.machines.iter_mut().enumerate() {
        machine.memory_mib = gib(if number == 31 { 16 } else { 9 });
    }
    inventory.instances = vec![
        instance(0, with(8, AffinityKind::Together, 1)),
        instance(1, Needs::new(1, gib(8))),
    ];
    for seed in 0..20 {
        let policy = Policy {
            seed,
            candidates_max: std::num::NonZeroU32::new(1),
            ..Policy::default()
        };
        let mut pool = pool_of(&inventory);
        let all = everyone(&pool);
        let placed = place_batch(&mut pool, &all, &policy).expect("one machine holds both");
        assert!(
            placed.iter().all(|(_, machine)| *machine == MachineIndex(31)),
            "{placed:?}"
        );
    }
}

#[test]
fn the_largest_impossible_batch_ends() {
    // A thousand that keep apart on ten machines: nothing to find, and many ways to look for it.
    let mut pool = pool_with(10, vec![apart_from_group("web"); 1_000]);
    let all = everyone(&pool);
    let failure = *place_batch(&mut pool, &all, &Policy::default()).expect_err("ten machines");
    assert!(matches!(failure, BatchFailure::NoPlace { unplaced, .. } if unplaced.len() == 990));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn all_find_a_place_or_nothing_changes(inventory in any_inventory(5, 8), seed in any::<u32>()) {
        let mut pool = pool_of(&inventory);
        let waiting: Vec<_> = pool.instances().filter(|(_, one)| one.machine.is_none()).map(|(one, _)| one).collect();
        let policy = Policy { seed, ..Policy::default() };
        let before: Vec<_> = pool.instances().map(|(_, one)| one.machine).collect();
        let mut again = pool.clone();
        let answer = place_batch(&mut pool, &waiting, &policy);
        prop_assert_eq!(&answer, &place_batch(&mut again, &waiting, &policy));
        match answer {
            Ok(placed) => {
                prop_assert_eq!(placed.len(), waiting.len());
                for (instance, machine) in placed {
                    prop_assert_eq!(pool.instance(instance).machine, Some(machine));
                    // Each may stay where it is, with all the others there.
                    prop_assert!(passes(&Subject::of(&pool, instance).on(machine)));
                }
            }
            Err(failure) => {
                let after: Vec<_> = pool.instances().map(|(_, one)| one.machine).collect();
                prop_assert_eq!(before, after, "{}", failure);
                prop_assert!(!failure.to_string().is_empty());
                if let BatchFailure::NoPlace { unplaced, .. } = *failure {
                    prop_assert!(!unplaced.is_empty());
                    for one in unplaced {
                        // No machine would have taken it, and the nearest says why.
                        let refused: u32 = one.why.refused_by.iter().map(|by| by.machines).sum();
                        prop_assert_eq!(refused, one.why.machines, "{}: {}", one.name, one.why);
                        prop_assert!(!one.why.refusals.is_empty(), "{}: {}", one.name, one.why);
                    }
                }
            }
        }
    }

    #[test]
    fn whatever_goes_one_by_one_goes_as_a_batch(
        sizes in prop::collection::vec(1_u32..12, 1..8),
        machines in 1_usize..4,
    ) {
        let needs: Vec<Needs> = sizes.iter().map(|size| Needs::new(1, gib(*size))).collect();
        let mut one_by_one = pool_with(machines, needs.clone());
        let mut all_fit = true;
        for instance in everyone(&one_by_one) {
            match choose_machine(&Subject::of(&one_by_one, instance), &Policy::default()) {
                Some(machine) => one_by_one.seat(instance, machine),
                None => all_fit = false,
            }
        }
        let mut batch = pool_with(machines, needs);
        let all = everyone(&batch);
        if all_fit {
            prop_assert!(place_batch(&mut batch, &all, &Policy::default()).is_ok());
        }
    }
}
