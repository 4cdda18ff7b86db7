//! How fast plans are made, and how that grows with the pool.
//!
//! The pools are those of a company: three kinds of machine, ten instances to a machine, of a few sizes, each busy in its own way, and
//! placed at random as far as memory allows. One core; the time is the plan's alone, without reading the inventory.

use std::error::Error;
use std::time::Instant;

use pool::inventory::{Activity, Instance, Inventory, Machine, Needs, UsageSeries};
use pool::plans::{BalanceOptions, DrainOptions, Plan, balance, drain};
use pool::{Mib, Pool};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

const NOW_S: i64 = 1_800_000_000;
const INSTANCES_PER_MACHINE: usize = 10;
const SEED: u64 = 11;

/// Prints the figures of plans.
pub fn run() -> Result<(), Box<dyn Error>> {
    for machines in [10, 100, 1_000, 10_000] {
        let pool = Pool::new(&company(machines, SEED), NOW_S)?;
        let (plan, balance_ms) = timed(|| balance(&pool, &BalanceOptions::default()))?;
        println!(
            "balance plan, {machines} machines: {} moves in {} steps, imbalance {:.4} to {:.4}, {balance_ms:.1} ms",
            moves(&plan),
            plan.steps.len(),
            plan.before.imbalance,
            plan.after.imbalance,
        );
        let drained = drained(&pool);
        let (plan, drain_ms) = timed(|| drain(&pool, drained, &DrainOptions::default()))?;
        println!(
            "drain plan, {machines} machines: {} moves, {} stranded, {drain_ms:.1} ms",
            moves(&plan),
            plan.stranded.len()
        );
        match machines {
            100 => println!("bench balance_plan_100_ms {balance_ms:.1} ms"),
            1_000 => {
                println!("bench balance_plan_s {:.3} s", balance_ms / 1_000.0);
                println!("bench drain_plan_ms {drain_ms:.1} ms");
            }
            _ => {}
        }
        println!("bench balance_plan_{machines}_machines_ms {balance_ms:.1} ms");
        println!("bench drain_plan_{machines}_machines_ms {drain_ms:.1} ms");
    }
    Ok(())
}

/// The median of three.
fn timed<E>(plan: impl Fn() -> Result<Plan, E>) -> Result<(Plan, f64), E> {
    let mut took_ms = Vec::new();
    let mut last = plan()?;
    for _ in 0..3 {
        let start = Instant::now();
        last = plan()?;
        took_ms.push(start.elapsed().as_secs_f64() * 1_000.0);
    }
    took_ms.sort_by(f64::total_cmp);
    Ok((last, took_ms[1]))
}

fn moves(plan: &Plan) -> usize {
    plan.steps.iter().map(|step| step.moves.len()).sum()
}

/// The machine with the most instances, the first of equals.
fn drained(pool: &Pool) -> Uuid {
    let fullest = pool
        .machines()
        .min_by_key(|(_, seat)| std::cmp::Reverse(seat.instances.len()));
    fullest.map_or(Uuid::nil(), |(_, seat)| seat.id)
}

fn company(machines: usize, seed: u64) -> Inventory {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let kinds = [(16, 64), (32, 128), (48, 256)];
    let mut inventory = Inventory::empty();
    inventory.taken_at_s = NOW_S;
    let mut free_mib = Vec::new();
    for number in 0..machines {
        let (threads, memory_gib) = kinds[random.random_range(0..kinds.len())];
        let id = Uuid::from_u128(1 << 64 | number as u128);
        let mut machine = Machine::new(id, format!("machine-{number}"), threads, Mib(memory_gib * 1024));
        machine.overcommit.cpu = Some(4.0);
        machine.instance_overhead_mib = Mib(128);
        free_mib.push(i64::from(memory_gib) * 1024);
        inventory.machines.push(machine);
    }
    for number in 0..machines * INSTANCES_PER_MACHINE {
        let memory_mib = [1, 2, 4, 4, 8, 8, 16][random.random_range(0..7)] * 1024;
        let vcpus = [1, 2, 2, 4, 8][random.random_range(0..5)];
        let needed = i64::from(memory_mib) + 128;
        let Some(place) = (0..64)
            .map(|_| random.random_range(0..machines))
            .find(|place| free_mib[*place] >= needed)
        else {
            continue;
        };
        free_mib[place] -= needed;
        inventory.instances.push(Instance {
            id: Uuid::from_u128(2 << 64 | number as u128),
            name: format!("instance-{number}"),
            machine: Some(inventory.machines[place].id),
            activity: Activity::Running,
            needs: Needs::new(vcpus, Mib(memory_mib)),
            usage: Some(usage(f64::from(vcpus), &mut random)),
            moved_at_s: None,
        });
    }
    inventory
}

/// An hour of samples about a level of its own.
fn usage(vcpus: f64, random: &mut ChaCha8Rng) -> UsageSeries {
    let level = random.random::<f64>() * random.random::<f64>() * vcpus;
    UsageSeries {
        last_at_s: NOW_S - 30,
        step_s: 300,
        values: (0..12)
            .map(|_| (level * (0.7 + 0.6 * random.random::<f64>())).min(vcpus))
            .collect(),
    }
}
