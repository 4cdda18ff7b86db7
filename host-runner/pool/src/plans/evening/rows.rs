//! The loads of all machines that count, side by side, so that looking at all of them is one walk through memory.

use crate::Pool;
use crate::inventory::Activity;
use crate::plans::rules::Rules;
use crate::state::{Demand, Imbalance, InstanceIndex, InstanceSeat, Load, MachineIndex};

/// A machine in a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) machine: MachineIndex,
    pub(super) load: [f64; 3],
    /// What one thread, one MiB of memory and one MiB of disk are of the machine.
    per_unit: [f64; 3],
    /// Memory that each instance costs beside its own, MiB.
    overhead_mib: f64,
    memory_free_mib: f64,
    /// What is expected to be used of the threads that it offers.
    demand: Demand,
    offered_threads: f64,
}

impl Row {
    fn of(pool: &Pool, machine: MachineIndex) -> Self {
        let seat = pool.machine(machine);
        let disk: u64 = seat.storages.iter().map(|storage| storage.capacity_mib).sum();
        Self {
            machine,
            load: seat.load().dimensions(),
            per_unit: [
                inverse(seat.offered_threads),
                inverse(to_f64(seat.memory_offered_mib)),
                inverse(to_f64(disk)),
            ],
            overhead_mib: to_f64(seat.overhead_mib),
            memory_free_mib: to_f64(seat.memory_free_mib()),
            demand: seat.demand,
            offered_threads: seat.offered_threads,
        }
    }

    /// A quick look: whether there is memory and CPU for what runs. Everything else the rules say.
    fn may_have_room_for(&self, seat: &InstanceSeat, amount: &Amount, rules: &Rules) -> bool {
        if seat.activity == Activity::Stopped {
            return true;
        }
        let mut demand = self.demand;
        demand.add(seat.demand);
        amount.memory_mib <= self.memory_free_mib && rules.allows_cpu(demand, self.offered_threads)
    }

    /// The load that an instance would add.
    pub(super) fn share_of(&self, amount: &Amount) -> [f64; 3] {
        [
            amount.threads * self.per_unit[0],
            (amount.memory_mib + amount.running * self.overhead_mib) * self.per_unit[1],
            amount.disk_mib * self.per_unit[2],
        ]
    }
}

/// What an instance uses, or two differ in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Amount {
    /// 1 for one that runs, 0 for one that is stopped.
    running: f64,
    threads: f64,
    memory_mib: f64,
    disk_mib: f64,
}

impl Amount {
    pub(super) fn of(pool: &Pool, instance: InstanceIndex) -> Self {
        let seat = pool.instance(instance);
        let disk_mib = to_f64(seat.asked.disk_mib());
        match seat.activity {
            Activity::Running => Self {
                running: 1.0,
                threads: seat.demand.mean,
                memory_mib: to_f64(seat.asked.memory_mib),
                disk_mib,
            },
            Activity::Stopped => Self {
                running: 0.0,
                threads: 0.0,
                memory_mib: 0.0,
                disk_mib,
            },
        }
    }

    /// What this one uses more than the other.
    pub(super) fn minus(&self, other: &Self) -> Self {
        Self {
            running: self.running - other.running,
            threads: self.threads - other.threads,
            memory_mib: self.memory_mib - other.memory_mib,
            disk_mib: self.disk_mib - other.disk_mib,
        }
    }
}

/// All machines whose load is evened out.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    rows: Vec<Row>,
    /// Where a machine's row is.
    place: Vec<Option<usize>>,
}

/// How fast the imbalance changes with each dimension's variance, and around which means.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slope {
    mean: [f64; 3],
    factor: [f64; 3],
}

impl Slope {
    /// Below this deviation a dimension is even; a steeper slope would let its noise outweigh the others.
    const DEVIATION_MIN: f64 = 0.01;

    pub(super) fn of(imbalance: &Imbalance) -> Self {
        let mut factor = Imbalance::WEIGHTS;
        for (factor, deviation) in factor.iter_mut().zip(imbalance.deviations()) {
            *factor /= 2.0 * deviation.max(Self::DEVIATION_MIN);
        }
        Self {
            mean: imbalance.mean().dimensions(),
            factor,
        }
    }

    /// How much worse a row becomes by a change of its load, up to a factor that is the same for all.
    pub(super) fn worse_by(&self, load: &[f64; 3], change: &[f64; 3]) -> f64 {
        let mut worse = 0.0;
        for dimension in 0..3 {
            let off = load[dimension] - self.mean[dimension];
            worse += self.factor[dimension] * change[dimension] * (2.0 * off + change[dimension]);
        }
        worse
    }

    /// How far a row is from the mean.
    pub(super) fn badness(&self, load: &[f64; 3]) -> f64 {
        let off = load.iter().zip(self.mean).map(|(load, mean)| load - mean);
        off.zip(self.factor).map(|(off, factor)| factor * off * off).sum()
    }
}

impl Rows {
    pub(super) fn of(pool: &Pool) -> Self {
        let mut rows = Vec::new();
        let mut place = Vec::with_capacity(pool.machines().len());
        for (machine, seat) in pool.machines() {
            if seat.is_balanced() {
                place.push(Some(rows.len()));
                rows.push(Row::of(pool, machine));
            } else {
                place.push(None);
            }
        }
        Self { rows, place }
    }

    /// How many there are, at least one.
    pub(super) fn count(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "at most MACHINES_MAX")]
        let count = self.rows.len().max(1) as f64;
        count
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter()
    }

    pub(super) fn row(&self, machine: MachineIndex) -> Option<&Row> {
        let place = self.place.get(machine.0 as usize).copied().flatten()?;
        self.rows.get(place)
    }

    pub(super) fn refresh(&mut self, pool: &Pool, machine: MachineIndex) {
        let place = self.place.get(machine.0 as usize).copied().flatten();
        if let Some(row) = place.and_then(|place| self.rows.get_mut(place)) {
            *row = Row::of(pool, machine);
        }
    }

    /// The machine that the instance should rather be on, among those that take it, and what that gains. The nearer look at what a move
    /// gains is only for the one that the slope favours.
    pub(super) fn best_target(
        &self,
        pool: &Pool,
        instance: InstanceIndex,
        rules: &Rules,
        is_barred: &dyn Fn(MachineIndex) -> bool,
    ) -> Option<(f64, MachineIndex)> {
        let seat = pool.instance(instance);
        let amount = Amount::of(pool, instance);
        let from = self.row(seat.machine?)?;
        let slope = Slope::of(pool.imbalance());
        let mut least = f64::INFINITY;
        let mut best: Option<&Row> = None;
        for row in &self.rows {
            let worse = slope.worse_by(&row.load, &row.share_of(&amount));
            if worse < least
                && row.machine != from.machine
                && row.may_have_room_for(seat, &amount, rules)
                && rules.fits(pool, instance, row.machine)
                && !is_barred(row.machine)
            {
                least = worse;
                best = Some(row);
            }
        }
        let to = best?;
        Some((
            gain(pool.imbalance(), &[(from, &amount, -1.0), (to, &amount, 1.0)]),
            to.machine,
        ))
    }

    /// What moving an instance to a machine would gain.
    pub(super) fn gain(&self, pool: &Pool, instance: InstanceIndex, to: MachineIndex) -> Option<f64> {
        let amount = Amount::of(pool, instance);
        let from = self.row(pool.instance(instance).machine?)?;
        let to = self.row(to)?;
        Some(gain(
            pool.imbalance(),
            &[(from, &amount, -1.0), (to, &amount, 1.0)],
        ))
    }
}

/// By how much the imbalance falls when these amounts come (1) or go (-1). Each row at most once.
pub(super) fn gain(imbalance: &Imbalance, changes: &[(&Row, &Amount, f64)]) -> f64 {
    let mut after = *imbalance;
    for (row, amount, sign) in changes {
        let share = row.share_of(amount);
        let [cpu, memory, disk] =
            [0, 1, 2].map(|dimension: usize| row.load[dimension] + sign * share[dimension]);
        let [was_cpu, was_memory, was_disk] = row.load;
        after.change(
            Load {
                cpu: was_cpu,
                memory: was_memory,
                disk: was_disk,
            },
            Load { cpu, memory, disk },
        );
    }
    imbalance.value() - after.value()
}

fn inverse(whole: f64) -> f64 {
    if whole > 0.0 { 1.0 / whole } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "MiB of a machine are far below 2^52")]
fn to_f64(mib: u64) -> f64 {
    mib as f64
}
