//! The pool while moves are tried: each machine's expected load, kept up to date move by move.

use super::{Constraints, Instance, Machine, Move, Reason};

/// A machine with what it would hold.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    machine: Machine,
    memory_free: f64,
    mean: f64,
    variance: f64,
    /// The instances here, in the order in which they came.
    pub(super) residents: Vec<usize>,
    woken: bool,
}

impl Seat {
    /// The mean of its load as a part of its CPU.
    pub(super) fn utilization(&self) -> f64 {
        self.mean / self.machine.cpu
    }

    /// CPU that is left when the load is `z` deviations above its mean; negative where it is short.
    pub(super) fn room(&self, z: f64) -> f64 {
        self.machine.cpu - self.mean - z * self.variance.max(0.0).sqrt()
    }

    /// What its CPU costs at full load, in W per unit: the lower, the more efficient.
    pub(super) fn watts_per_cpu(&self) -> f64 {
        self.machine.full_watts / self.machine.cpu
    }

    fn room_with(&self, instance: &Instance, z: f64) -> f64 {
        let variance = self.variance.max(0.0) + instance.demand.deviation * instance.demand.deviation;
        self.machine.cpu - self.mean - instance.demand.mean - z * variance.sqrt()
    }

    fn holds(&self, instance: &Instance) -> bool {
        self.machine.open && self.machine.cpu > 0.0 && self.memory_free >= instance.memory
    }

    fn is_awake(&self) -> bool {
        self.machine.awake || self.woken
    }
}

/// A move as it was found.
#[derive(Debug, Clone, Copy)]
struct Home {
    from: usize,
    now: usize,
    reason: Reason,
    /// Its place among the moves.
    order: usize,
}

/// All machines, while moves are tried.
pub(super) struct Seats<'a> {
    instances: &'a [Instance],
    constraints: &'a mut dyn Constraints,
    all: Vec<Seat>,
    homes: Vec<Option<Home>>,
    made: usize,
}

impl<'a> Seats<'a> {
    pub(super) fn new(
        machines: &[Machine],
        instances: &'a [Instance],
        constraints: &'a mut dyn Constraints,
    ) -> Self {
        let seats = machines.iter().map(|&machine| Seat {
            machine,
            memory_free: machine.memory,
            mean: 0.0,
            variance: 0.0,
            residents: Vec::new(),
            woken: false,
        });
        let mut seats = Self {
            instances,
            constraints,
            all: seats.collect(),
            homes: vec![None; instances.len()],
            made: 0,
        };
        for (index, instance) in instances.iter().enumerate() {
            seats.settle(index, instance.machine, 1.0);
        }
        seats
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn seat(&self, machine: usize) -> Option<&Seat> {
        self.all.get(machine)
    }

    pub(super) fn instance(&self, index: usize) -> Option<&'a Instance> {
        self.instances.get(index)
    }

    /// The machine that is awake, not `closed`, and has the most room left with the instance; at least `z` deviations of it.
    pub(super) fn roomiest(&self, instance: usize, z: f64, closed: &[bool]) -> Option<usize> {
        let wanted = self.instance(instance)?;
        let mut best: Option<(f64, usize)> = None;
        for (machine, (seat, closed)) in self.all.iter().zip(closed).enumerate() {
            if *closed || !seat.is_awake() || !seat.holds(wanted) {
                continue;
            }
            let room = seat.room_with(wanted, z);
            let better = room >= 0.0 && best.is_none_or(|(most, _)| room > most);
            if better && self.constraints.allows(instance, machine) {
                best = Some((room, machine));
            }
        }
        best.map(|(_, machine)| machine)
    }

    /// The most efficient machine that sleeps and could take the instance.
    pub(super) fn sleeper(&self, instance: usize, z: f64) -> Option<usize> {
        let wanted = self.instance(instance)?;
        let sleeping = self.all.iter().enumerate().filter(|(_, seat)| !seat.is_awake());
        sleeping
            .filter(|(_, seat)| seat.holds(wanted) && seat.room_with(wanted, z) >= 0.0)
            .filter(|(machine, _)| self.constraints.allows(instance, *machine))
            .min_by(|(_, a), (_, b)| a.watts_per_cpu().total_cmp(&b.watts_per_cpu()))
            .map(|(machine, _)| machine)
    }

    /// Moves the instance from where it is now.
    pub(super) fn shift(&mut self, instance: usize, to: usize, reason: Reason) {
        let Some(wanted) = self.instances.get(instance) else {
            return;
        };
        let order = self.made;
        let home = self.homes.get(instance).copied().flatten();
        let home = home.unwrap_or(Home {
            from: wanted.machine,
            now: wanted.machine,
            reason,
            order,
        });
        self.made += 1;
        self.transfer(instance, home.now, to);
        if let Some(slot) = self.homes.get_mut(instance) {
            *slot = (to != home.from).then_some(Home { now: to, ..home });
        }
        if let Some(seat) = self.all.get_mut(to) {
            seat.woken |= !seat.machine.awake;
        }
    }

    /// Takes back everything that was done to these instances since they were on `machine`.
    pub(super) fn take_back(&mut self, tried: &[usize], machine: usize, reason: Reason) {
        for &instance in tried.iter().rev() {
            self.shift(instance, machine, reason);
        }
    }

    /// Every move, in the order in which it was found.
    pub(super) fn moves(&self) -> Vec<Move> {
        let mut found: Vec<(usize, Move)> = (self.homes.iter().enumerate())
            .filter_map(|(instance, home)| {
                home.map(
                    |Home {
                         from,
                         now,
                         reason,
                         order,
                     }| {
                        (
                            order,
                            Move {
                                instance,
                                from,
                                to: now,
                                reason,
                            },
                        )
                    },
                )
            })
            .collect();
        found.sort_unstable_by_key(|(order, _)| *order);
        found.into_iter().map(|(_, found)| found).collect()
    }

    /// The machines that slept and now hold something.
    pub(super) fn woken(&self) -> Vec<usize> {
        let woken = self
            .all
            .iter()
            .enumerate()
            .filter(|(_, seat)| seat.woken && !seat.residents.is_empty());
        woken.map(|(machine, _)| machine).collect()
    }

    fn transfer(&mut self, instance: usize, from: usize, to: usize) {
        self.settle(instance, from, -1.0);
        self.settle(instance, to, 1.0);
        self.constraints.moved(instance, from, to);
    }

    /// Adds the instance to a machine's sums, or takes it away.
    fn settle(&mut self, index: usize, machine: usize, sign: f64) {
        let (Some(instance), Some(seat)) = (self.instances.get(index), self.all.get_mut(machine)) else {
            return;
        };
        seat.mean += sign * instance.demand.mean;
        seat.variance += sign * instance.demand.deviation * instance.demand.deviation;
        seat.memory_free -= sign * instance.memory;
        if sign > 0.0 {
            seat.residents.push(index);
        } else {
            seat.residents.retain(|&resident| resident != index);
        }
    }
}
