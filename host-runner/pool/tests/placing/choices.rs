//! The choice: the best of all, found without asking all, and the same every time.

use std::num::NonZeroU32;

use pool::Pool;
use pool::inventory::{Activity, DiskNeed, Inventory, Needs};
use pool::placing::{
    Policy, PolicyName, Subject, TermName, Weights, WeightsError, best_first, choose, choose_machine,
    explain, verdicts,
};
use pool::state::{Demand, MachineIndex};
use proptest::prelude::*;

use crate::made_up::{
    any_inventory, any_needs, gib, instance, instance_index, machine, machine_id, machine_index, pool_of,
};
use crate::sums::{any_change, make};

fn any_policy() -> impl Strategy<Value = Policy> {
    let weights = prop::collection::vec(0.0..5.0_f64, 11).prop_map(|values| {
        let names = [
            TermName::CpuLeft,
            TermName::MemoryLeft,
            TermName::DiskLeft,
            TermName::Evenness,
            TermName::Packed,
            TermName::Headroom,
            TermName::Awake,
            TermName::Empties,
            TermName::Hint,
            TermName::Affinity,
            TermName::Stay,
        ];
        Weights::new(names.into_iter().zip(values)).unwrap_or(Policy::default().weights)
    });
    prop_oneof![
        prop::sample::select(PolicyName::ALL.to_vec()).prop_map(Policy::from),
        (weights, any::<bool>()).prop_map(|(weights, may_wake)| Policy {
            weights,
            may_wake,
            ..Policy::default()
        }),
    ]
}

fn the_index_finds_the_best(pool: &Pool, policy: &Policy) -> Result<(), TestCaseError> {
    for place in 0..pool.instances().len().min(20) {
        let subject = Subject::of(pool, instance_index(place));
        let preview = verdicts(&subject, policy);
        let chosen = choose(&subject, policy);
        let found = chosen.as_ref().ok().map(|chosen| pool.machine(chosen.machine).id);
        prop_assert_eq!(found, preview.best);
        if let Ok(chosen) = chosen {
            let runner_up = best_first(&preview.verdicts).get(1).map(|verdict| verdict.score);
            let compared = chosen.explanation.compared_with.map(|other| other.score);
            prop_assert_eq!(compared, runner_up);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_index_finds_what_scoring_every_machine_finds(
        inventory in any_inventory(120, 60),
        changes in prop::collection::vec(any_change(), 0..100),
        policy in any_policy(),
    ) {
        let mut pool = pool_of(&inventory);
        pool.refresh_index();
        for change in changes {
            make(&mut pool, change);
        }
        pool.refresh_index();
        the_index_finds_the_best(&pool, &policy)?;
    }

    /// Where CPU is overcommitted, the mean load may be more than full.
    #[test]
    fn the_index_finds_it_in_an_overloaded_pool_too(
        inventory in any_inventory(120, 60),
        demands in prop::collection::vec(0.0..400.0_f64, 60),
        policy in any_policy(),
    ) {
        let mut pool = pool_of(&inventory);
        for (place, mean) in demands.into_iter().enumerate().take(inventory.instances.len()) {
            pool.set_demand(instance_index(place), Demand { mean, variance: 0.0, measured: true });
        }
        pool.refresh_index();
        the_index_finds_the_best(&pool, &policy)?;
    }

    #[test]
    fn scores_stay_between_zero_and_one_and_differences_add_up(
        inventory in any_inventory(6, 10),
        policy in any_policy(),
    ) {
        let pool = pool_of(&inventory);
        let subject = Subject::of(&pool, instance_index(0));
        for machine in 0..inventory.machines.len() {
            let said = explain(&subject, &policy, machine_index(machine), Some(MachineIndex(0)));
            prop_assert!((0.0..=1.0 + 1e-9).contains(&said.score), "{}", said);
            if let Some(other) = &said.compared_with {
                let differences: f64 = said.terms.iter().filter_map(|term| term.difference).sum();
                prop_assert!((differences - (said.score - other.score)).abs() < 1e-9);
            }
            for term in &said.terms {
                prop_assert!((0.0..=1.0).contains(&term.value), "{:?}", term);
            }
        }
    }

    #[test]
    fn an_empty_machine_more_never_turns_a_fit_into_a_no(
        inventory in any_inventory(5, 8),
        policy in any_policy(),
    ) {
        let mut larger = inventory.clone();
        larger.machines.push(machine(inventory.machines.len()));
        let (before, after) = (pool_of(&inventory), pool_of(&larger));
        let mut grown = before.clone();
        grown.refresh_index();
        grown.add_machine(&machine(inventory.machines.len()));
        grown.refresh_index();
        for place in 0..inventory.instances.len() {
            let in_pool = |pool: &Pool| choose_machine(&Subject::of(pool, instance_index(place)), &policy);
            prop_assert!(in_pool(&before).is_none() || in_pool(&after).is_some());
            prop_assert_eq!(in_pool(&grown).is_some(), in_pool(&after).is_some());
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_choice(
        inventory in any_inventory(20, 10),
        seed in any::<u32>(),
        bound in 1_u32..5,
    ) {
        let policy = Policy { seed, candidates_max: NonZeroU32::new(bound), ..Policy::default() };
        let choices = || {
            let mut pool = pool_of(&inventory);
            pool.refresh_index();
            (0..inventory.instances.len())
                .map(|place| choose_machine(&Subject::of(&pool, instance_index(place)), &policy))
                .collect::<Vec<_>>()
        };
        prop_assert_eq!(choices(), choices());
    }

    #[test]
    fn a_bound_on_candidates_never_hides_the_only_fit(
        inventory in any_inventory(20, 10),
        needs in any_needs(20, 10),
        seed in any::<u32>(),
    ) {
        let mut pool = pool_of(&inventory);
        let mut needs = needs;
        needs.pin = None;
        let asked = pool.ask(&needs);
        let all = Policy::default();
        let one = Policy { seed, candidates_max: NonZeroU32::new(1), ..Policy::default() };
        let subject = Subject::new(&pool, &asked).with_activity(Activity::Running);
        prop_assert_eq!(choose_machine(&subject, &all).is_some(), choose_machine(&subject, &one).is_some());
    }
}

fn three_alike() -> Inventory {
    let mut inventory = Inventory::empty();
    inventory.machines = (0..3).map(machine).collect();
    inventory
}

#[test]
fn a_bound_on_candidates_gives_each_machine_the_same_chance() {
    let mut inventory = three_alike();
    inventory.machines.extend((3..10).map(machine));
    let mut pool = pool_of(&inventory);
    let asked = pool.ask(&Needs::new(1, gib(1)));
    let mut chosen = [0_u32; 10];
    for seed in 0..2_000 {
        let policy = Policy {
            seed,
            candidates_max: NonZeroU32::new(1),
            ..Policy::default()
        };
        let machine = choose_machine(&Subject::new(&pool, &asked), &policy).expect("all are empty");
        chosen[machine.0 as usize] += 1;
    }
    // 200 each; the standard deviation of a binomial draw is 13.
    assert!(
        chosen.iter().all(|times| (140..=260).contains(times)),
        "{chosen:?}"
    );
}

#[test]
fn spread_takes_the_emptier_machine_and_pack_the_fuller_one() {
    let mut inventory = three_alike();
    let mut held = instance(0, Needs::new(2, gib(4)));
    held.machine = Some(machine_id(1));
    inventory.instances.push(held);
    let mut pool = pool_of(&inventory);
    let asked = pool.ask(&Needs::new(1, gib(1)));
    let chosen = |name: PolicyName| choose_machine(&Subject::new(&pool, &asked), &name.into());
    assert_eq!(chosen(PolicyName::Spread), Some(MachineIndex(0)));
    assert_eq!(chosen(PolicyName::Pack), Some(MachineIndex(1)));
    assert_eq!(chosen(PolicyName::SavePower), Some(MachineIndex(1)));
}

#[test]
fn a_machine_is_woken_only_where_no_other_will_do() {
    let mut inventory = three_alike();
    for machine in &mut inventory.machines[..2] {
        machine.state = pool::inventory::MachineState::Asleep;
    }
    let mut pool = pool_of(&inventory);
    let small = pool.ask(&Needs::new(1, gib(1)));
    let save = Policy::from(PolicyName::SavePower);
    assert_eq!(
        choose_machine(&Subject::new(&pool, &small), &save),
        Some(MachineIndex(2))
    );
    let filled = pool.add_instance(uuid::Uuid::from_u128(1), "full", small.clone());
    pool.seat(filled, MachineIndex(2));
    let large = pool.ask(&Needs::new(1, gib(16)));
    assert_eq!(
        choose_machine(&Subject::new(&pool, &large), &save),
        Some(MachineIndex(0))
    );
    assert_eq!(
        choose_machine(&Subject::new(&pool, &large), &Policy::default()),
        None
    );
}

#[test]
fn a_hint_decides_between_equals_and_binds_nobody() {
    let mut inventory = three_alike();
    let mut needs = Needs::new(1, gib(1));
    needs.hint = Some(machine_id(2));
    let mut pool = pool_of(&inventory);
    let asked = pool.ask(&needs);
    let chosen = choose_machine(&Subject::new(&pool, &asked), &Policy::default());
    assert_eq!(chosen, Some(MachineIndex(2)));
    inventory.machines[2].state = pool::inventory::MachineState::Draining;
    let pool = pool_of(&inventory);
    let chosen = choose_machine(&Subject::new(&pool, &asked), &Policy::default());
    assert_eq!(chosen, Some(MachineIndex(0)));
}

/// Half of the machines have room of one kind or the other, a quarter is overloaded, and a quarter far more so: the mean is more than full.
/// All that is below it by more than counts is equally good, and better than what is overloaded.
#[test]
fn an_overloaded_machine_is_never_taken_for_a_calm_one() {
    const THREADS: f64 = 16.0;
    let mut inventory = Inventory::empty();
    let mut loads = Vec::new();
    for number in 0..64 {
        let mut holder = machine(number);
        (holder.threads, holder.memory_mib) = (16, gib(64));
        holder.storages[0].capacity_mib = gib(1_000);
        inventory.machines.push(holder);
        let (cpu, memory, disk) = match number {
            0..32 if number % 2 == 0 => (0.0, 40, 100),
            0..32 => (0.6, 2, 600),
            32..48 => (3.2, 20, 300),
            _ => (17.3, 20, 300),
        };
        let mut held = instance(number, Needs::new(1, gib(memory)));
        held.needs.disks = vec![disk_of(disk)];
        held.machine = Some(machine_id(number));
        inventory.instances.push(held);
        loads.push(cpu * THREADS);
    }
    let mut pool = pool_of(&inventory);
    for (number, mean) in loads.into_iter().enumerate() {
        let demand = Demand {
            mean,
            variance: 0.0,
            measured: true,
        };
        pool.set_demand(instance_index(number), demand);
    }
    pool.refresh_index();
    let mut needs = Needs::new(2, gib(4));
    needs.disks = vec![disk_of(62)];
    let asked = pool.ask(&needs);
    let policy = Policy {
        weights: Weights::new([(TermName::Evenness, 1.0)]).expect("a weight"),
        ..Policy::default()
    };
    let chosen = choose_machine(&Subject::new(&pool, &asked), &policy);
    assert_eq!(chosen, Some(MachineIndex(0)));
}

fn disk_of(size_gib: u32) -> DiskNeed {
    DiskNeed {
        size_mib: gib(size_gib),
        storage: None,
    }
}

#[test]
fn a_machine_that_was_added_is_found() {
    let mut pool = pool_of(&three_alike());
    pool.refresh_index();
    let mut larger = machine(3);
    larger.memory_mib = gib(64);
    let added = pool.add_machine(&larger);
    pool.refresh_index();
    let asked = pool.ask(&Needs::new(1, gib(32)));
    let chosen = choose_machine(&Subject::new(&pool, &asked), &Policy::default());
    assert_eq!(chosen, Some(added));
}

/// A machine that holds nothing but the instance itself would be empty if it went elsewhere.
#[test]
fn an_instance_keeps_no_machine_occupied_for_itself() {
    let mut inventory = three_alike();
    for number in [0, 1] {
        let mut held = instance(number, Needs::new(2, gib(4)));
        held.machine = Some(machine_id(number));
        inventory.instances.push(held);
    }
    let pool = pool_of(&inventory);
    let subject = Subject::of(&pool, instance_index(0));
    let save = Policy::from(PolicyName::SavePower);
    let empties = |machine: usize| {
        let said = explain(&subject, &save, machine_index(machine), None);
        let term = said.terms.iter().find(|term| term.name == TermName::Empties);
        term.expect("it counts").value
    };
    let stays_occupied = [0, 1, 2].map(|machine| empties(machine) > 0.5);
    assert_eq!(stays_occupied, [false, true, false]);
    assert_eq!(choose_machine(&subject, &save), Some(MachineIndex(1)));
}

#[test]
fn a_bound_on_candidates_is_fair_where_few_fit() {
    let mut inventory = three_alike();
    inventory.machines.extend((3..40).map(machine));
    for small in inventory
        .machines
        .iter_mut()
        .filter(|machine| !machine.name.ends_with('7'))
    {
        small.memory_mib = gib(1);
    }
    let mut pool = pool_of(&inventory);
    let asked = pool.ask(&Needs::new(1, gib(8)));
    let mut chosen = [0_u32; 40];
    for seed in 0..1_600 {
        let policy = Policy {
            seed,
            candidates_max: NonZeroU32::new(1),
            ..Policy::default()
        };
        let machine = choose_machine(&Subject::new(&pool, &asked), &policy).expect("four have room");
        chosen[machine.0 as usize] += 1;
    }
    // 400 each; the standard deviation of a binomial draw is 17.
    let fitting = [7, 17, 27, 37].map(|number: usize| chosen[number]);
    assert!(
        fitting.iter().all(|times| (320..=480).contains(times)),
        "{fitting:?}"
    );
    assert_eq!(fitting.iter().sum::<u32>(), 1_600);
}

#[test]
fn weights_are_checked() {
    let negative = Weights::new([(TermName::Packed, -1.0)]);
    assert!(matches!(negative, Err(WeightsError::OutOfRange { .. })));
    let nan = Weights::new([(TermName::Packed, f64::NAN)]);
    assert!(matches!(nan, Err(WeightsError::OutOfRange { .. })));
    assert_eq!(Weights::new([]), Err(WeightsError::AllZero));
    assert!(serde_json::from_str::<Policy>(r#"{"weights": {"packed": -1}}"#).is_err());
    assert!(serde_json::from_str::<Policy>(r#"{"weights": {"luck": 1}}"#).is_err());
    let policy: Policy = serde_json::from_str(r#"{"weights": {"packed": 1}}"#).expect("a valid policy");
    let again: Policy =
        serde_json::from_str(&serde_json::to_string(&policy).expect("JSON")).expect("the same");
    assert_eq!(again, policy);
}
