//! What a pool expects of the coming hour, from what an inventory says was measured.

#![expect(clippy::expect_used, reason = "a test ends where its pool cannot be made")]

use pool::inventory::{Instance, Inventory, Machine, Needs, UsageSeries};
use pool::state::Demand;
use pool::{Mib, Pool};
use uuid::Uuid;

const NOW_S: i64 = 1_800_000_000;

/// One instance of 4 vCPUs on a machine, with this usage.
fn demand_of(usage: Option<UsageSeries>) -> Demand {
    let machine = Machine::new(Uuid::from_u128(1), "atlas", 16, Mib(32_768));
    let instance = Instance {
        id: Uuid::from_u128(2),
        name: "web".into(),
        machine: Some(machine.id),
        activity: pool::inventory::Activity::Running,
        needs: Needs::new(4, Mib(1_024)),
        usage,
        moved_at_s: None,
    };
    let id = instance.id;
    let inventory = Inventory {
        taken_at_s: NOW_S,
        machines: vec![machine],
        instances: vec![instance],
        ..Inventory::empty()
    };
    let pool = Pool::new(&inventory, NOW_S).expect("an inventory without faults");
    let instance = pool.instance_of_id(id).expect("it is in the inventory");
    let (_, machine) = pool.machines().next().expect("there is one");
    let demand = pool.instance(instance).demand;
    assert_eq!(
        machine.demand.mean.total_cmp(&demand.mean),
        std::cmp::Ordering::Equal
    );
    demand
}

fn measured(values: Vec<f64>) -> UsageSeries {
    UsageSeries {
        last_at_s: NOW_S - 60,
        step_s: 300,
        values,
    }
}

#[test]
fn what_never_changed_is_expected_to_stay() {
    let demand = demand_of(Some(measured(vec![1.5; 288])));
    assert!((demand.mean - 1.5).abs() < 1e-9, "{demand:?}");
    assert!(demand.variance < 1e-9, "{demand:?}");
    assert!(demand.measured);
}

#[test]
fn what_was_never_measured_or_long_ago_is_assumed_and_says_so() {
    for usage in [
        None,
        Some(measured(Vec::new())),
        Some(measured(vec![f64::NAN, -1.0, f64::INFINITY])),
        Some(UsageSeries {
            last_at_s: NOW_S - 4_000,
            step_s: 300,
            values: vec![0.1; 12],
        }),
        Some(UsageSeries {
            last_at_s: NOW_S + 4_000,
            step_s: 300,
            values: vec![0.1; 12],
        }),
    ] {
        assert_eq!(demand_of(usage), Demand::assumed(4));
    }
}

#[test]
fn what_is_no_number_or_negative_is_passed_over() {
    let clean = demand_of(Some(measured(vec![1.0; 24])));
    let mut values = vec![1.0; 24];
    values[20] = f64::NAN;
    values[21] = -5.0;
    let demand = demand_of(Some(measured(values)));
    assert!((demand.mean - clean.mean).abs() < 1e-6, "{demand:?}");
}

#[test]
fn nobody_is_expected_to_use_more_than_they_have() {
    let demand = demand_of(Some(measured(vec![99.0; 48])));
    assert!(demand.mean <= 4.0, "{demand:?}");
}

#[test]
fn what_varies_has_a_variance() {
    // 0.5 to 1.5, evenly, in no order that could be foretold.
    let values = (0..288_u32)
        .map(|number| 0.5 + f64::from(number.wrapping_mul(2_654_435_761) >> 16 & 0xff) / 255.0)
        .collect();
    let demand = demand_of(Some(measured(values)));
    assert!((demand.mean - 1.0).abs() < 0.25, "{demand:?}");
    assert!((0.02..0.25).contains(&demand.variance), "{demand:?}");
}

/// For two days, an hour of work began at the same time; it is ten minutes before that now.
#[test]
fn the_time_of_the_day_is_foreseen() {
    let samples_a_day = 288;
    let busy = |ago: usize| (samples_a_day - 14..samples_a_day - 2).contains(&(ago % samples_a_day));
    let values: Vec<f64> = (0..2 * samples_a_day)
        .rev()
        .map(|ago| if busy(ago) { 3.0 } else { 0.2 })
        .collect();
    assert_eq!(values.last(), Some(&0.2), "work has not begun");
    let demand = demand_of(Some(measured(values)));
    assert!(
        demand.mean > 1.0,
        "most of the coming hour will be busy: {demand:?}"
    );
}
