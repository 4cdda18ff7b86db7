//! How fast one instance finds its place, how fast a pool fills, how even it becomes, and how that grows with the pool.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use pool::Pool;
use pool::placing::{Policy, Recoverability, Subject, choose, choose_machine, verdicts};
use pool::state::InstanceIndex;

use crate::synthetic::inventory;

const SEED: u64 = 7;
/// Machines of the largest pool, for which the figures are.
const LARGEST: usize = 10_000;
/// Different instances that are asked about.
const QUESTIONS: usize = 501;

/// Prints the figures of placement.
pub fn run() -> Result<(), Box<dyn Error>> {
    let mut figures = Vec::new();
    for machines in [10, 100, 1_000, LARGEST] {
        let (filled, per_s) = fill(machines)?;
        let placed = filled.placed();
        let explained_us = place_explained_us(&filled, machines);
        let all_ms = verdicts_all_ms(&filled, machines);
        println!(
            "placing, {machines} machines, {placed} instances: {explained_us:.1} µs explained, {all_ms:.3} ms for all verdicts, \
             {per_s:.0} placements a second from empty, imbalance {:.4}",
            filled.imbalance().value()
        );
        figures.push(format!(
            "bench place_explained_{machines}_machines_us {explained_us:.1} us"
        ));
        figures.push(format!(
            "bench verdicts_all_{machines}_machines_ms {all_ms:.3} ms"
        ));
        figures.push(format!(
            "bench fill_{machines}_machines_placements_per_s {per_s:.0} 1/s"
        ));
        if machines == LARGEST {
            println!("bench place_explained_us {explained_us:.1} us");
            println!("bench verdicts_all_ms {all_ms:.2} ms");
            println!("bench pool_memory_mib {:.0} MiB", resident_mib()?);
            println!("bench fill_placements_per_s {per_s:.0} 1/s");
            let ratio = filled.imbalance().value() / filled_by_scoring_all(machines)?.imbalance().value();
            println!("bench fill_imbalance_ratio {ratio:.4} ratio");
        }
        if machines <= 1_000 {
            let start = Instant::now();
            let kept = Recoverability::new(&filled, &Policy::default());
            println!(
                "n+1, {machines} machines: {:.1} ms, {} failures could not be recovered",
                start.elapsed().as_secs_f64() * 1_000.0,
                kept.unrecoverable()
            );
        }
    }
    for figure in figures {
        println!("{figure}");
    }
    Ok(())
}

/// Fills an empty pool one by one; the pool, and instances a second.
fn fill(machines: usize) -> Result<(Pool, f64), Box<dyn Error>> {
    let mut pool = Pool::new(&inventory(machines, SEED), 0)?;
    let policy = Policy::default();
    let start = Instant::now();
    for instance in all_instances(&pool) {
        pool.refresh_index();
        if let Some(machine) = choose_machine(&Subject::of(&pool, instance), &policy) {
            pool.seat(instance, machine);
        }
    }
    let per_s = f64::from(pool.placed()) / start.elapsed().as_secs_f64();
    Ok((pool, per_s))
}

/// The same without the index: each machine is scored for each instance.
fn filled_by_scoring_all(machines: usize) -> Result<Pool, Box<dyn Error>> {
    let mut pool = Pool::new(&inventory(machines, SEED), 0)?;
    let policy = Policy::default();
    for instance in all_instances(&pool) {
        if let Some(machine) = choose_machine(&Subject::of(&pool, instance), &policy) {
            pool.seat(instance, machine);
        }
    }
    Ok(pool)
}

fn all_instances(pool: &Pool) -> Vec<InstanceIndex> {
    pool.instances().map(|(instance, _)| instance).collect()
}

/// One more instance: the choice with its whole explanation, median over many.
fn place_explained_us(filled: &Pool, machines: usize) -> f64 {
    let mut pool = filled.clone();
    let policy = Policy::default();
    let newcomers = inventory(machines.min(QUESTIONS), SEED + 1);
    let mut took_us = Vec::new();
    for newcomer in newcomers.instances.iter().take(QUESTIONS) {
        let start = Instant::now();
        let asked = pool.ask(&newcomer.needs);
        pool.refresh_index();
        let choice = choose(&Subject::new(&pool, &asked), &policy);
        if black_box(&choice).is_ok() {
            took_us.push(start.elapsed().as_secs_f64() * 1e6);
        }
    }
    median(took_us)
}

/// Every machine's verdict, median over instances that all machines can take: each of them is scored, term by term.
fn verdicts_all_ms(filled: &Pool, machines: usize) -> f64 {
    let mut pool = filled.clone();
    let policy = Policy::default();
    let mut took_ms = Vec::new();
    for newcomer in inventory(machines.min(QUESTIONS), SEED + 2)
        .instances
        .iter()
        .take(QUESTIONS / 5)
    {
        let mut needs = newcomer.needs.clone();
        (needs.image, needs.affinities) = (None, Vec::new());
        let asked = pool.ask(&needs);
        let start = Instant::now();
        black_box(verdicts(&Subject::new(&pool, &asked), &policy));
        took_ms.push(start.elapsed().as_secs_f64() * 1e3);
    }
    median(took_ms)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What this process holds: two pools of that size at most, and the smaller ones' leftovers.
fn resident_mib() -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .ok_or("no VmRSS")?;
    let kib: u32 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(f64::from(kib) / 1024.0)
}
