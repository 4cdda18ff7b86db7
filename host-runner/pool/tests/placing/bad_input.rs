//! What should not be asked, and what should not be measured: an answer, never a panic.

use pool::inventory::{AffinityKind, AffinityTarget, Inventory, Needs, UsageSeries};
use pool::placing::{Policy, Subject, choose, choose_machine, explain, verdicts};
use pool::state::{Demand, MachineIndex};
use pool::{Mib, Refusal};
use uuid::Uuid;

use crate::made_up::{gib, hard, instance, instance_index, machine, machine_id, pool_of};

#[test]
fn in_an_empty_pool_nothing_fits_and_nothing_is_nearest() {
    let mut pool = pool_of(&Inventory::empty());
    let asked = pool.ask(&Needs::new(1, gib(1)));
    pool.refresh_index();
    let subject = Subject::new(&pool, &asked);
    let none = choose(&subject, &Policy::default()).expect_err("there is no machine");
    assert_eq!((none.machines, none.nearest), (0, None));
    assert!(verdicts(&subject, &Policy::default()).verdicts.is_empty());
}

#[test]
fn a_pin_out_of_the_pool_is_refused_everywhere_with_its_identity() {
    let mut inventory = Inventory::empty();
    inventory.machines = vec![machine(0)];
    let mut pool = pool_of(&inventory);
    let mut needs = Needs::new(1, gib(1));
    needs.pin = Some(Uuid::from_u128(99));
    let asked = pool.ask(&needs);
    let none = choose(&Subject::new(&pool, &asked), &Policy::default()).expect_err("it is not of this pool");
    let machine = Uuid::from_u128(99).to_string();
    assert_eq!(none.refusals, [Refusal::PinnedElsewhere { machine }]);
}

#[test]
fn wishes_that_exclude_each_other_are_each_told() {
    let mut inventory = Inventory::empty();
    inventory.machines = vec![machine(0)];
    inventory.machines[0].site = Some("north".into());
    let mut pool = pool_of(&inventory);
    let mut needs = Needs::new(1, gib(1));
    let north = || AffinityTarget::Site { name: "north".into() };
    needs.affinities = vec![
        hard(AffinityKind::Together, north()),
        hard(AffinityKind::Apart, north()),
        hard(AffinityKind::Together, AffinityTarget::Tag { name: "ssd".into() }),
    ];
    let asked = pool.ask(&needs);
    let said = explain(
        &Subject::new(&pool, &asked),
        &Policy::default(),
        MachineIndex(0),
        None,
    );
    let refusals: Vec<_> = said.refusals().into_iter().cloned().collect();
    assert_eq!(
        refusals,
        [
            Refusal::SiteForbidden { site: "north".into() },
            Refusal::TagMissing { tag: "ssd".into() }
        ]
    );
}

#[test]
fn a_wish_about_oneself_or_about_nobody_keeps_nobody_out() {
    let mut inventory = Inventory::empty();
    inventory.machines = vec![machine(0)];
    let mut needs = Needs::new(1, gib(1));
    for id in [crate::made_up::instance_id(0), Uuid::from_u128(7)] {
        for kind in [AffinityKind::Together, AffinityKind::Apart] {
            needs.affinities.push(hard(kind, AffinityTarget::Instance { id }));
        }
    }
    inventory.instances = vec![instance(0, needs)];
    let pool = pool_of(&inventory);
    let chosen = choose_machine(&Subject::of(&pool, instance_index(0)), &Policy::default());
    assert_eq!(chosen, Some(MachineIndex(0)));
}

#[test]
fn the_largest_numbers_are_refused_and_not_wrapped_around() {
    let mut inventory = Inventory::empty();
    inventory.machines = vec![machine(0)];
    let mut pool = pool_of(&inventory);
    let mut needs = Needs::new(u32::MAX, Mib(u32::MAX));
    needs.disks = vec![
        pool::inventory::DiskNeed {
            size_mib: Mib(u32::MAX),
            storage: None
        };
        100
    ];
    let asked = pool.ask(&needs);
    let said = explain(
        &Subject::new(&pool, &asked),
        &Policy::default(),
        MachineIndex(0),
        None,
    );
    assert_eq!(said.refusals().len(), 3);
    assert!((0.0..=1.0).contains(&said.score), "{said}");
}

#[test]
fn usage_that_is_no_number_negative_or_from_the_future_is_no_usage() {
    let usage = |values: Vec<f64>, last_at_s: i64| UsageSeries {
        last_at_s,
        step_s: 300,
        values,
    };
    let mut inventory = Inventory::empty();
    inventory.taken_at_s = 1_000_000;
    inventory.machines = (0..4).map(machine).collect();
    for (number, usage) in [
        usage(vec![f64::NAN, f64::INFINITY, -1.0], 1_000_000),
        // A clock that ran backwards, and one that is a day ahead.
        usage(vec![3.0; 12], i64::MIN),
        usage(vec![3.0; 12], 1_086_400),
        usage(vec![2.0, f64::NAN, 2.0], 999_900),
    ]
    .into_iter()
    .enumerate()
    {
        let mut one = instance(number, Needs::new(4, gib(1)));
        one.machine = Some(machine_id(number));
        one.usage = Some(usage);
        inventory.instances.push(one);
    }
    let pool = pool_of(&inventory);
    let means: Vec<f64> = pool.instances().map(|(_, one)| one.demand.mean).collect();
    assert_eq!(
        means, [2.0; 4],
        "half of four vCPUs is assumed, and two threads were measured"
    );
    let measured: Vec<bool> = pool.instances().map(|(_, one)| one.demand.measured).collect();
    assert_eq!(measured, [false, false, false, true]);
    assert!(pool.imbalance().value().is_finite());
}

#[test]
fn faults_are_counted_as_far_as_they_are_told() {
    let told = |faults: u128| {
        let mut inventory = Inventory::empty();
        inventory.machines = (0..faults)
            .map(|number| pool::inventory::Machine::new(Uuid::from_u128(number), "m", 0, gib(1)))
            .collect();
        let said = inventory
            .check()
            .expect_err("no machine has no threads")
            .to_string();
        said.split(':').next().unwrap_or_default().to_owned()
    };
    assert_eq!(told(1), "the inventory has 1 fault");
    assert_eq!(told(19), "the inventory has 19 faults");
    assert_eq!(told(20), "the inventory has 20 faults or more");
    assert_eq!(told(50), "the inventory has 20 faults or more");
}

#[test]
fn a_demand_that_is_no_number_spoils_no_sum() {
    let mut inventory = Inventory::empty();
    inventory.machines = (0..2).map(machine).collect();
    let mut one = instance(0, Needs::new(1, gib(1)));
    one.machine = Some(machine_id(0));
    inventory.instances = vec![one, instance(1, Needs::new(1, gib(1)))];
    let mut pool = pool_of(&inventory);
    for mean in [f64::NAN, f64::INFINITY, -5.0] {
        let demand = Demand {
            mean,
            variance: f64::NAN,
            measured: true,
        };
        pool.set_demand(instance_index(0), demand);
        pool.set_demand(instance_index(1), demand);
        assert!(pool.imbalance().value().is_finite(), "{mean}");
        pool.refresh_index();
        let subject = Subject::of(&pool, instance_index(1)).with_demand(demand);
        let choice = choose(&subject, &Policy::default()).expect("there is room");
        assert!(
            (0.0..=1.0).contains(&choice.explanation.score),
            "{mean}: {}",
            choice.explanation
        );
    }
}
