//! What consolidation promises: machines that are too busy are relieved, those that nobody needs sleep, and nothing else moves.

use pool::consolidation::{
    Constraints, Demand, DemandParameters, Instance, Left, Machine, Move, Outcome, Parameters, Reason,
    consolidate, expect,
};
use proptest::prelude::*;

const PARAMETERS: Parameters = Parameters {
    hot: 0.9,
    relief_z: 1.0,
    pack_z: 1.5,
};

/// Everything may run everywhere.
struct Anything;
impl Constraints for Anything {
    fn allows(&self, _: usize, _: usize) -> bool {
        true
    }
}

fn machine() -> Machine {
    Machine {
        cpu: 100.0,
        memory: 64.0,
        full_watts: 200.0,
        awake: true,
        open: true,
    }
}

fn instance(machine: usize, mean: f64) -> Instance {
    let demand = Demand {
        mean,
        deviation: mean / 10.0,
    };
    Instance {
        machine,
        demand,
        memory: 8.0,
        movable: true,
    }
}

fn plan(machines: &[Machine], instances: &[Instance]) -> Outcome {
    consolidate(machines, instances, &PARAMETERS, &mut Anything)
}

#[test]
fn a_machine_that_is_too_busy_gives_away_the_one_instance_that_suffices() {
    let busy = [
        instance(0, 40.0),
        instance(0, 40.0),
        instance(0, 15.0),
        instance(1, 80.0),
    ];
    let outcome = plan(
        &[machine(), machine(), machine()],
        &[busy.as_slice(), &[instance(2, 60.0)]].concat(),
    );
    // 95 of 100 on machine 0: without the 15, 80 and one deviation fit; and the third machine has more room than the second.
    assert_eq!(
        outcome.moves,
        [Move {
            instance: 2,
            from: 0,
            to: 2,
            reason: Reason::Relieve
        }]
    );
    assert!(outcome.wake.is_empty() && outcome.sleep.is_empty());
}

#[test]
fn a_machine_whose_instances_fit_elsewhere_sleeps() {
    let outcome = plan(
        &[machine(), machine()],
        &[instance(0, 50.0), instance(0, 10.0), instance(1, 20.0)],
    );
    assert_eq!(
        outcome.moves,
        [Move {
            instance: 2,
            from: 1,
            to: 0,
            reason: Reason::Empty
        }]
    );
    assert_eq!(outcome.sleep, [1]);
}

#[test]
fn the_least_efficient_machine_sleeps_first() {
    let hungry = Machine {
        full_watts: 300.0,
        ..machine()
    };
    let outcome = plan(
        &[machine(), hungry],
        &[instance(0, 20.0), instance(1, 10.0), instance(1, 10.0)],
    );
    assert_eq!(outcome.sleep, [1]);
}

#[test]
fn room_is_kept_for_what_may_come() {
    // 45 and 45 are 90; one and a half deviations of the sum (6.4) are 9.5 more, and 100 hold that.
    let outcome = plan(&[machine(), machine()], &[instance(0, 45.0), instance(1, 45.0)]);
    assert_eq!(outcome.moves.len(), 1);
    // 46 and 46 are 92, and 9.8 more are too much.
    let outcome = plan(&[machine(), machine()], &[instance(0, 46.0), instance(1, 46.0)]);
    assert!(outcome.moves.is_empty());
    assert_eq!(
        outcome.left[0],
        Left::NoRoomFor {
            machine: 0,
            instance: 0
        }
    );
}

#[test]
fn nothing_wakes_but_for_relief_and_then_the_most_efficient() {
    let asleep = Machine {
        awake: false,
        ..machine()
    };
    let frugal = Machine {
        full_watts: 150.0,
        ..asleep
    };
    let machines = [machine(), asleep, frugal];
    let outcome = plan(&machines, &[instance(0, 60.0), instance(0, 38.0)]);
    assert_eq!(
        outcome.moves,
        [Move {
            instance: 1,
            from: 0,
            to: 2,
            reason: Reason::Relieve
        }]
    );
    assert_eq!(outcome.wake, [2]);
    let outcome = plan(&machines, &[instance(0, 50.0), instance(0, 38.0)]);
    assert!(outcome.wake.is_empty());
}

#[test]
fn what_may_not_move_is_named() {
    let pinned = Instance {
        movable: false,
        ..instance(1, 20.0)
    };
    let outcome = plan(&[machine(), machine()], &[instance(0, 85.0), pinned]);
    assert!(
        outcome.left.contains(&Left::HeldBy {
            machine: 1,
            instance: 1
        }),
        "{outcome:?}"
    );
    let pinned = [Instance {
        movable: false,
        ..instance(0, 95.0)
    }];
    assert_eq!(
        plan(&[machine(), machine()], &pinned).left[0],
        Left::TooBusy { machine: 0 }
    );
}

/// Instances 0 and 1 keep apart; and every move is written down.
#[derive(Default)]
struct Apart {
    at: Vec<usize>,
}
impl Constraints for Apart {
    fn allows(&self, instance: usize, machine: usize) -> bool {
        instance > 1 || self.at[1 - instance] != machine
    }
    fn moved(&mut self, instance: usize, from: usize, to: usize) {
        assert_eq!(self.at[instance], from);
        self.at[instance] = to;
    }
}

#[test]
fn the_caller_hears_of_every_move_and_forbids_what_it_knows_better() {
    let machines = [machine(), machine(), machine()];
    let instances = [instance(0, 10.0), instance(1, 10.0), instance(2, 10.0)];
    let mut apart = Apart { at: vec![0, 1, 2] };
    let outcome = consolidate(&machines, &instances, &PARAMETERS, &mut apart);
    assert_eq!(outcome.sleep.len(), 1, "two must stay awake: {outcome:?}");
    assert_ne!(apart.at[0], apart.at[1]);
    for found in &outcome.moves {
        assert_eq!(apart.at[found.instance], found.to);
    }
}

#[test]
fn demand_follows_what_was_seen_and_admits_what_was_not() {
    let parameters = DemandParameters {
        fast_half_life: 2.0,
        slow_half_life: 20.0,
        fast_share: 0.5,
        prior_deviation: 0.1,
        prior_samples: 2.0,
    };
    assert_eq!(
        expect(&[], 1000.0, &parameters),
        Demand {
            mean: 1000.0,
            deviation: 0.0
        }
    );
    let once = expect(&[200.0], 1000.0, &parameters);
    assert!((once.mean - 200.0).abs() < 1e-9);
    // One sample says nothing about how much it varies: two thirds of the assumed variance are left.
    assert!((once.deviation - 100.0 * (2.0_f64 / 3.0).sqrt()).abs() < 1e-9);

    let calm = expect(&[200.0; 100], 1000.0, &parameters);
    assert!((calm.mean - 200.0).abs() < 1e-9 && calm.deviation < 30.0);
    let mut risen = [200.0; 100];
    risen[98..].fill(600.0);
    let risen = expect(&risen, 1000.0, &parameters);
    assert!(
        risen.mean > 300.0 && risen.mean < 500.0,
        "half of it follows at once: {risen:?}"
    );
    assert!(risen.deviation > 80.0, "{risen:?}");
}

fn pool() -> impl Strategy<Value = (Vec<Machine>, Vec<Instance>)> {
    let machine = (
        50.0..200.0,
        16.0..64.0,
        100.0..300.0,
        any::<bool>(),
        prop::bool::weighted(0.9),
    )
        .prop_map(|(cpu, memory, full_watts, awake, open)| Machine {
            cpu,
            memory,
            full_watts,
            awake,
            open,
        });
    prop::collection::vec(machine, 1..12).prop_flat_map(|machines| {
        let instance = (
            0..machines.len(),
            0.0..40.0,
            0.0..10.0,
            1.0..8.0,
            prop::bool::weighted(0.8),
        )
            .prop_map(|(machine, mean, deviation, memory, movable)| {
                let demand = Demand { mean, deviation };
                Instance {
                    machine,
                    demand,
                    memory,
                    movable,
                }
            });
        prop::collection::vec(instance, 0..40).prop_map(move |instances| {
            let mut machines = machines.clone();
            for instance in &instances {
                machines[instance.machine].awake = true;
            }
            (machines, instances)
        })
    })
}

fn after(instances: &[Instance], outcome: &Outcome) -> Vec<Instance> {
    let mut instances = instances.to_vec();
    for found in &outcome.moves {
        instances[found.instance].machine = found.to;
    }
    instances
}

fn on(instances: &[Instance], machine: usize) -> impl Iterator<Item = &Instance> {
    instances
        .iter()
        .filter(move |instance| instance.machine == machine)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_is_possible_and_says_what_it_does((machines, instances) in pool()) {
        let outcome = plan(&machines, &instances);
        prop_assert_eq!(&outcome, &plan(&machines, &instances));
        let mut moved: Vec<usize> = outcome.moves.iter().map(|found| found.instance).collect();
        moved.sort_unstable();
        moved.dedup();
        prop_assert_eq!(moved.len(), outcome.moves.len(), "each instance at most once");
        for found in &outcome.moves {
            prop_assert!(instances[found.instance].movable);
            prop_assert_eq!(instances[found.instance].machine, found.from);
            prop_assert_ne!(found.from, found.to);
            prop_assert!(machines[found.to].open);
            prop_assert!(machines[found.to].awake || outcome.wake.contains(&found.to));
        }
        let after = after(&instances, &outcome);
        for machine in &outcome.sleep {
            prop_assert_eq!(on(&after, *machine).count(), 0);
        }
    }

    #[test]
    fn no_machine_that_takes_something_is_made_too_busy_or_too_full((machines, instances) in pool()) {
        let outcome = plan(&machines, &instances);
        let after = after(&instances, &outcome);
        for target in outcome.moves.iter().map(|found| found.to) {
            let mean: f64 = on(&after, target).map(|it| it.demand.mean).sum();
            let variance: f64 = on(&after, target).map(|it| it.demand.deviation * it.demand.deviation).sum();
            let memory: f64 = on(&after, target).map(|it| it.memory).sum();
            prop_assert!(mean + PARAMETERS.relief_z * variance.sqrt() <= machines[target].cpu + 1e-6);
            prop_assert!(memory <= machines[target].memory + 1e-6);
        }
    }

    /// Nothing flaps: plan after plan, even without a cooldown, there comes one that leaves everything as it is.
    #[test]
    fn plan_after_plan_comes_to_rest((mut machines, mut instances) in pool()) {
        for _ in 0..=2 * machines.len() {
            let outcome = plan(&machines, &instances);
            if outcome.moves.is_empty() {
                return Ok(());
            }
            instances = after(&instances, &outcome);
            for (index, machine) in machines.iter_mut().enumerate() {
                machine.awake = on(&instances, index).count() > 0;
            }
        }
        prop_assert!(false, "still moving: {:?}", plan(&machines, &instances).moves);
    }
}
