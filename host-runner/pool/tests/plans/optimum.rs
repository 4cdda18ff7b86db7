//! The local search, held to the best that a solver finds.
//!
//! Each test prints the gap: `cargo nextest run -p pool --features optimal optimum --no-capture`.

use pool::inventory::{Inventory, MachineState};
use pool::plans::{
    BalanceOptions, ConsolidateOptions, CpuLimit, DrainOptions, How, MoveCost, Plan, PlanError, PowerChange,
    RecoverOptions, Solver, balance, consolidate, drain, recover,
};
use pool::state::Imbalance;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::{
    Ledger, apart_from_group, applied, instance, inventory, machine, machine_id, moves, pool,
};

const SEEDS: u64 = 12;

fn optimal() -> How {
    How {
        solver: Solver::Optimal,
        solver_seconds_max: 10.0,
        ..How::default()
    }
}

/// Five machines of two sizes, of whose memory a share is promised, and most of that on the first ones.
fn small(seed: u64, filled: f64) -> Inventory {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let sizes: Vec<u32> = (0..5).map(|_| [24, 32][random.random_range(0..2)]).collect();
    let machines = sizes
        .iter()
        .enumerate()
        .map(|(number, gib)| machine(number, 16, *gib))
        .collect();
    let mut budget = f64::from(sizes.iter().sum::<u32>()) * filled;
    let mut left: Vec<u32> = sizes;
    let mut instances = Vec::new();
    for number in 0..60 {
        let gib = [2, 3, 4, 6, 8, 10][random.random_range(0..6)];
        let first = random.random_range(0..5).min(random.random_range(0..5));
        let mut from_first = (0..5).map(|step| (first + step) % 5);
        let Some(on) = from_first.find(|on| left[*on] >= gib) else {
            continue;
        };
        budget -= f64::from(gib);
        if budget < 0.0 {
            break;
        }
        left[on] -= gib;
        let mut made = instance(number, on, 2, gib, random.random_range(0.0..2.0));
        if number % 7 == 0 {
            made.needs.group = Some("replicas".into());
            made.needs.affinities = vec![apart_from_group("replicas")];
        }
        instances.push(made);
    }
    let mut made = inventory(machines, instances);
    // Only one replica to a machine, and none beyond those.
    let mut seen = std::collections::BTreeSet::new();
    made.instances
        .retain(|instance| instance.needs.group.is_none() || seen.insert(instance.machine));
    made
}

/// Carries the plan out. Whether it is proven to be the best: on a slow computer the time limit may come first.
fn is_best(inventory: &Inventory, plan: &Plan, cpu: CpuLimit) -> bool {
    assert_ne!(plan.found_by.proven_optimal, plan.found_by.stopped_by_limit);
    Ledger::new(inventory, cpu.load_max)
        .carry_out(plan, |moves| ((0..moves).rev().collect(), (0..moves).collect()));
    plan.found_by.proven_optimal
}

/// What a plan's moves cost.
fn cost(plan: &Plan, cost: &MoveCost) -> f64 {
    plan.steps
        .iter()
        .flat_map(|step| &step.moves)
        .map(|made| cost.of(made))
        .sum()
}

struct Gap {
    name: &'static str,
    heuristic: f64,
    best: f64,
}

impl Gap {
    fn of(name: &'static str) -> Self {
        Self {
            name,
            heuristic: 0.0,
            best: 0.0,
        }
    }

    fn add(&mut self, heuristic: f64, best: f64) {
        assert!(
            best <= heuristic + 1e-4,
            "{}: {best} is worse than {heuristic}",
            self.name
        );
        self.heuristic += heuristic;
        self.best += best;
    }

    /// The share by which the local search is worse, over all pools.
    fn share(&self) -> f64 {
        let gap = self.heuristic / self.best.max(f64::MIN_POSITIVE) - 1.0;
        println!(
            "plan_gap_{} {:.4} ratio ({:.4} to {:.4})",
            self.name, gap, self.heuristic, self.best
        );
        gap
    }
}

#[test]
fn optimum_of_a_drain_is_its_cheapest_moves() {
    let mut gap = Gap::of("drain");
    let mut strands = (0, 0);
    for seed in 0..SEEDS {
        let inventory = small(seed, 0.82);
        let before = pool(&inventory);
        let options = DrainOptions::default();
        let heuristic = drain(&before, machine_id(4), &options).unwrap();
        let best = drain(
            &before,
            machine_id(4),
            &DrainOptions {
                how: optimal(),
                ..options
            },
        )
        .unwrap();
        if !is_best(&inventory, &best, options.cpu) {
            continue;
        }
        strands.0 += usize::from(!heuristic.stranded.is_empty());
        strands.1 += usize::from(!best.stranded.is_empty());
        if heuristic.stranded.is_empty() && best.stranded.is_empty() {
            gap.add(cost(&heuristic, &options.cost), cost(&best, &options.cost));
        }
    }
    println!(
        "drains that strand something: {} of {SEEDS} by search, {} at best",
        strands.0, strands.1
    );
    assert!(strands.0 <= strands.1 + 1);
    assert!(gap.best > 0.0, "some can be drained");
    assert!(gap.share() < 0.15);
}

/// Weighted mean absolute deviation of the loads, and what the moves cost of it.
fn balance_objective(inventory: &Inventory, plan: &Plan, cost_of: &MoveCost) -> f64 {
    let after = pool(&applied(inventory, plan));
    let loads: Vec<[f64; 3]> = after
        .machines()
        .map(|(_, seat)| seat.load().dimensions())
        .collect();
    let count: f64 = loads.iter().map(|_| 1.0).sum();
    let uneven: f64 = (0..3)
        .map(|dimension| {
            let mean = loads.iter().map(|load| load[dimension]).sum::<f64>() / count;
            let off: f64 = loads.iter().map(|load| (load[dimension] - mean).abs()).sum();
            Imbalance::WEIGHTS[dimension] * off / count
        })
        .sum();
    uneven + cost(plan, cost_of) / count
}

#[test]
fn optimum_of_a_balance_is_its_evenness_with_what_its_moves_cost() {
    let mut gap = Gap::of("balance");
    let options = BalanceOptions {
        end: 0.0,
        ..BalanceOptions::default()
    };
    let (mut imbalance, mut made) = ((0.0, 0.0), (0, 0));
    for seed in 0..SEEDS {
        let inventory = small(seed, 0.6);
        let before = pool(&inventory);
        let heuristic = balance(&before, &options).unwrap();
        let best = BalanceOptions {
            how: optimal(),
            ..options
        };
        let best = balance(&before, &best).unwrap();
        if !is_best(&inventory, &best, options.cpu) {
            continue;
        }
        imbalance.0 += heuristic.after.imbalance;
        imbalance.1 += best.after.imbalance;
        made.0 += moves(&heuristic);
        made.1 += moves(&best);
        gap.add(
            balance_objective(&inventory, &heuristic, &options.cost),
            balance_objective(&inventory, &best, &options.cost),
        );
    }
    println!(
        "plan_imbalance {:.4} by {} moves by search, {:.4} by {} moves at best for absolute deviations",
        imbalance.0, made.0, imbalance.1, made.1
    );
    assert!(gap.best > 0.0, "some are proven");
    assert!(gap.share() < 0.2);
}

#[test]
fn optimum_of_a_consolidation_is_its_fewest_machines() {
    let (mut searched, mut best_awake) = (0, 0);
    let mut gap = Gap::of("consolidate_w");
    for seed in 0..SEEDS {
        let inventory = small(seed, 0.4);
        let before = pool(&inventory);
        let options = ConsolidateOptions {
            keep_recovery: false,
            ..ConsolidateOptions::default()
        };
        let heuristic = consolidate(&before, &options).unwrap();
        let best = ConsolidateOptions {
            how: optimal(),
            ..options
        };
        let best = consolidate(&before, &best).unwrap();
        if !is_best(&inventory, &best, options.cpu) {
            continue;
        }
        searched += heuristic.after.machines_awake;
        best_awake += best.after.machines_awake;
        let minutes = |plan: &Plan| {
            let seconds: f64 = plan
                .steps
                .iter()
                .flat_map(|step| &step.moves)
                .map(|made| made.duration_s)
                .sum();
            seconds / 60.0
        };
        gap.add(
            heuristic.after.power_w + minutes(&heuristic) * options.watts_per_minute,
            best.after.power_w + minutes(&best) * options.watts_per_minute,
        );
    }
    println!("plan_machines_awake {searched} by search, {best_awake} at best");
    assert!(searched <= best_awake + 6);
    assert!(gap.share() < 0.15);
}

#[test]
fn optimum_of_a_recovery_starts_the_most_important() {
    let mut lost = (0, 0);
    for seed in 0..SEEDS {
        let mut inventory = small(seed, 0.9);
        for (number, instance) in inventory.instances.iter_mut().enumerate() {
            instance.needs.priority = i32::try_from(number % 3).unwrap();
        }
        inventory.machines[1].state = MachineState::Unreachable;
        let before = pool(&inventory);
        let options = RecoverOptions::default();
        let heuristic = recover(&before, machine_id(1), &options).unwrap();
        let best = RecoverOptions {
            how: optimal(),
            ..options
        };
        let best = recover(&before, machine_id(1), &best).unwrap();
        if !is_best(&inventory, &best, options.cpu) {
            continue;
        }
        lost.0 += heuristic.stranded.len();
        lost.1 += best.stranded.len();
    }
    println!("plan_stranded {} by search, {} at best", lost.0, lost.1);
    assert!(lost.0 <= lost.1 + 2);
}

#[test]
fn optimum_after_optimum_moves_nothing() {
    let inventory = small(3, 0.6);
    let options = BalanceOptions {
        how: optimal(),
        end: 0.0,
        ..BalanceOptions::default()
    };
    let plan = balance(&pool(&inventory), &options).unwrap();
    assert!(moves(&plan) > 0);
    let again = balance(&pool(&applied(&inventory, &plan)), &options).unwrap();
    assert_eq!(moves(&again), 0);
}

#[test]
fn optimum_wakes_no_more_than_it_must() {
    let mut inventory = inventory(
        vec![
            machine(0, 8, 32),
            machine(1, 8, 16),
            machine(2, 8, 16),
            machine(3, 8, 32),
        ],
        vec![instance(0, 0, 1, 12, 0.1), instance(1, 0, 1, 12, 0.1)],
    );
    for number in 1..4 {
        inventory.machines[number].state = MachineState::Asleep;
    }
    let options = DrainOptions {
        how: optimal(),
        ..DrainOptions::default()
    };
    let plan = drain(&pool(&inventory), machine_id(0), &options).unwrap();
    assert_eq!(
        plan.power,
        [PowerChange::Wake {
            machine: machine_id(3)
        }]
    );
}

#[test]
fn optimum_of_a_large_pool_is_refused_with_the_limit() {
    let machines = (0..100).map(|number| machine(number, 16, 32)).collect();
    let instances = (0..100)
        .map(|number| instance(number, number % 7, 1, 1, 0.5))
        .collect();
    let options = BalanceOptions {
        how: optimal(),
        ..BalanceOptions::default()
    };
    let refused = balance(&pool(&inventory(machines, instances)), &options).unwrap_err();
    assert_eq!(
        refused,
        PlanError::TooLarge {
            instances: 100,
            machines: 100,
            variables: 10_000,
            variables_max: 6_000
        }
    );
}
