//! The reference policies: what CloudSim 3.0.3 calls THR-MMT, IQR-MMT and LR-MMT.
//!
//! Each decision: machines that are over-utilized give up the instances that migrate fastest until they are no longer so;
//! those go where the power rises least (power-aware best fit decreasing); then, from the least utilized machine on, each
//! machine whose instances all fit elsewhere is emptied.
//! Source: Beloglazov and Buyya, "Optimal online deterministic algorithms and adaptive heuristics for energy and performance
//! efficient dynamic consolidation of virtual machines in cloud data centers", 2012.

use super::Policy;
use super::overload::{Overload, Utilization, WINDOW};
use crate::simulation::time::Millis;
use crate::simulation::world::{Guest, Host, InstanceSpec, MachineSpec, MemoryMode, World};

/// A reference policy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reference {
    overload: Overload,
    interval: Millis,
}

impl Reference {
    /// The policy with this idea of an over-utilized machine, that decides every `interval`.
    pub fn new(overload: Overload, interval: Millis) -> Self {
        Self { overload, interval }
    }
}

impl Policy for Reference {
    /// The machine whose power rises least.
    ///
    /// The reference compares with the power of the machine before anything was placed on it, so it prefers empty ones.
    fn place(&mut self, world: &World, instance: usize) -> Option<usize> {
        let (wanted, _) = world.instance(instance)?;
        let mut best: Option<(f64, usize)> = None;
        for (index, (spec, host)) in world.machines().enumerate() {
            let nominal: f64 = host
                .residents
                .iter()
                .filter_map(|&guest| world.instance(guest))
                .map(|(guest, _)| guest.mips())
                .sum();
            let rise = spec.power.watts((nominal + wanted.mips()) / spec.mips()) - spec.power.watts(0.0);
            if best.is_none_or(|(least, _)| rise < least) && world.admits_first(index, instance) {
                best = Some((rise, index));
            }
        }
        best.map(|(_, index)| index)
    }

    fn decide(&mut self, world: &World, _: Millis) -> Vec<(usize, usize)> {
        let mut trial = Trial::new(world, self.overload, self.interval);
        let overloaded: Vec<usize> = trial.overloaded();
        let evicted = trial.evict(&overloaded);
        for &host in &overloaded {
            trial.block(host);
        }
        let mut moves: Vec<(usize, usize)> = Vec::new();
        for instance in by_demand(world, evicted) {
            if let Some(host) = trial.find_host(instance) {
                trial.add(host, instance);
                moves.push((instance, host));
            }
        }
        trial.empty_underloaded(&mut moves);
        moves
    }
}

/// The busiest first; equal ones keep their order.
fn by_demand(world: &World, mut instances: Vec<usize>) -> Vec<usize> {
    let asked = |index: &usize| world.instance(*index).map_or(0.0, |(_, guest)| guest.asked);
    instances.sort_by(|a, b| asked(b).total_cmp(&asked(a)));
    instances
}

/// One machine in a trial.
struct TrialHost<'a> {
    spec: &'a MachineSpec,
    residents: Vec<usize>,
    memory_free_mb: f64,
    /// What its residents ask for.
    asked: f64,
    /// The same, no vCPU more than a core.
    due: f64,
    history: [f64; WINDOW],
    /// Utilization when the trial began.
    utilization: f64,
    failed: bool,
    /// Takes nothing: it was overloaded, or slept, or is being emptied.
    blocked: bool,
    /// Is not emptied: it was tried, or it just took something.
    no_source: bool,
}

impl<'a> TrialHost<'a> {
    fn new(spec: &'a MachineSpec, host: &Host) -> Self {
        Self {
            spec,
            residents: Vec::new(),
            memory_free_mb: spec.memory_mb,
            asked: 0.0,
            due: 0.0,
            history: [0.0; WINDOW],
            utilization: host.used / spec.mips(),
            failed: host.failed,
            blocked: false,
            no_source: false,
        }
    }

    fn given(&self) -> f64 {
        self.due.min(self.spec.mips())
    }

    fn add(&mut self, instance: usize, load: &Load<'_>) {
        self.residents.push(instance);
        self.change(load, 1.0);
    }

    fn remove(&mut self, instance: usize, load: &Load<'_>) {
        self.residents.retain(|&index| index != instance);
        self.change(load, -1.0);
        if self.residents.is_empty() {
            // Differences of floats leave dust, and an empty machine has exactly nothing.
            (self.asked, self.due, self.history) = (0.0, 0.0, [0.0; WINDOW]);
        }
    }

    fn change(&mut self, load: &Load<'_>, sign: f64) {
        let mips = self.spec.mips();
        self.asked += sign * load.asked;
        self.due += sign * load.asked.min(f64::from(load.spec.vcpus) * self.spec.core_mips);
        self.memory_free_mb -= sign * load.spec.memory_mb;
        for (sum, value) in self.history.iter_mut().zip(&load.newest_first) {
            *sum += sign * value / mips;
        }
    }

    /// Whether the instance could run here at once.
    fn suits(&self, load: &Load<'_>, memory: MemoryMode) -> bool {
        !self.blocked
            && !self.failed
            && self.spec.core_mips >= load.asked / f64::from(load.spec.vcpus)
            && self.spec.mips() - self.given() >= load.asked
            && (memory == MemoryMode::Cloudsim || self.memory_free_mb >= load.spec.memory_mb)
    }

    /// How much more it would draw, compared with the start of the trial.
    fn rise(&self, load: &Load<'_>) -> f64 {
        let power = &self.spec.power;
        power.watts((self.given() + load.asked) / self.spec.mips()) - power.watts(self.utilization)
    }
}

/// One instance in a trial.
struct Load<'a> {
    spec: &'a InstanceSpec,
    asked: f64,
    settled: bool,
    newest_first: [f64; WINDOW],
}

impl<'a> Load<'a> {
    fn new(spec: &'a InstanceSpec, guest: &Guest) -> Self {
        let mut newest_first = [0.0; WINDOW];
        for (slot, value) in newest_first.iter_mut().zip(guest.history(WINDOW).iter().rev()) {
            *slot = *value;
        }
        Self {
            spec,
            asked: guest.asked,
            settled: guest.migration.is_none(),
            newest_first,
        }
    }
}

/// The pool while a decision tries what to move.
struct Trial<'a> {
    world: &'a World,
    overload: Overload,
    interval: Millis,
    hosts: Vec<TrialHost<'a>>,
    loads: Vec<Load<'a>>,
}

impl<'a> Trial<'a> {
    fn new(world: &'a World, overload: Overload, interval: Millis) -> Self {
        let loads = world
            .instances()
            .map(|(spec, guest)| Load::new(spec, guest))
            .collect();
        let hosts = world
            .machines()
            .map(|(spec, host)| TrialHost::new(spec, host))
            .collect();
        let mut trial = Self {
            world,
            overload,
            interval,
            hosts,
            loads,
        };
        for (index, (_, host)) in world.machines().enumerate() {
            for &instance in &host.residents {
                trial.add(index, instance);
            }
        }
        trial
    }

    fn add(&mut self, host: usize, instance: usize) {
        if let (Some(host), Some(load)) = (self.hosts.get_mut(host), self.loads.get(instance)) {
            host.add(instance, load);
        }
    }

    fn remove(&mut self, host: usize, instance: usize) {
        if let (Some(host), Some(load)) = (self.hosts.get_mut(host), self.loads.get(instance)) {
            host.remove(instance, load);
        }
    }

    fn block(&mut self, host: usize) {
        if let Some(host) = self.hosts.get_mut(host) {
            (host.blocked, host.no_source) = (true, true);
        }
    }

    fn overloaded(&self) -> Vec<usize> {
        (0..self.hosts.len())
            .filter(|&host| self.is_overloaded(host))
            .collect()
    }

    fn is_overloaded(&self, host: usize) -> bool {
        let Some(host) = self.hosts.get(host).filter(|host| !host.residents.is_empty()) else {
            return false;
        };
        self.overload.judges(&Utilization {
            now: host.asked / host.spec.mips(),
            history: &host.history,
            migration_intervals: self.migration_intervals(host),
        })
    }

    fn migration_intervals(&self, host: &TrialHost<'_>) -> f64 {
        let longest_mb = (host.residents.iter())
            .filter_map(|&index| self.loads.get(index))
            .map(|load| load.spec.memory_mb)
            .fold(0.0, f64::max);
        (longest_mb / host.spec.migration_mb_s / self.interval.seconds()).ceil()
    }

    /// Takes from each overloaded machine what migrates fastest, until it is overloaded no more.
    fn evict(&mut self, overloaded: &[usize]) -> Vec<usize> {
        let mut evicted = Vec::new();
        for &host in overloaded {
            while let Some(instance) = self.fastest_to_migrate(host) {
                evicted.push(instance);
                self.remove(host, instance);
                if !self.is_overloaded(host) {
                    break;
                }
            }
        }
        evicted
    }

    fn fastest_to_migrate(&self, host: usize) -> Option<usize> {
        (self.hosts.get(host)?.residents.iter())
            .filter_map(|&index| Some((index, self.loads.get(index)?)))
            .filter(|(_, load)| load.settled)
            .min_by(|(_, a), (_, b)| a.spec.memory_mb.total_cmp(&b.spec.memory_mb))
            .map(|(index, _)| index)
    }

    /// The machine whose power rises least, among those that suit and would not be over-utilized.
    fn find_host(&mut self, instance: usize) -> Option<usize> {
        let mut best: Option<(f64, usize)> = None;
        for index in 0..self.hosts.len() {
            let (host, load) = (self.hosts.get(index)?, self.loads.get(instance)?);
            if !host.suits(load, self.world.memory_mode()) {
                continue;
            }
            let rise = host.rise(load);
            let used = host.given() > 0.0;
            if best.is_none_or(|(least, _)| rise < least) && !(used && self.would_overload(index, instance)) {
                best = Some((rise, index));
            }
        }
        best.map(|(_, index)| index)
    }

    fn would_overload(&mut self, host: usize, instance: usize) -> bool {
        self.add(host, instance);
        let overloaded = self.is_overloaded(host);
        self.remove(host, instance);
        overloaded
    }

    /// Empties machine after machine, the least utilized first, as long as all of its instances fit elsewhere.
    fn empty_underloaded(&mut self, moves: &mut Vec<(usize, usize)>) {
        for (index, (_, host)) in self.world.machines().enumerate() {
            if !host.is_active() {
                self.block(index);
            }
        }
        while let Some(source) = self.least_utilized() {
            self.block(source);
            let leaving = self
                .hosts
                .get(source)
                .map(|host| host.residents.clone())
                .unwrap_or_default();
            for (instance, host) in self.find_all(by_demand(self.world, leaving)).unwrap_or_default() {
                moves.push((instance, host));
                if let Some(host) = self.hosts.get_mut(host) {
                    host.no_source = true;
                }
            }
        }
    }

    fn least_utilized(&self) -> Option<usize> {
        let sources = self
            .hosts
            .iter()
            .enumerate()
            .filter(|(_, host)| !host.no_source && host.utilization < 1.0);
        sources
            .min_by(|(_, a), (_, b)| a.utilization.total_cmp(&b.utilization))
            .map(|(index, _)| index)
    }

    /// A machine for each, or none for any.
    fn find_all(&mut self, instances: Vec<usize>) -> Option<Vec<(usize, usize)>> {
        let mut found: Vec<(usize, usize)> = Vec::with_capacity(instances.len());
        for instance in instances {
            if let Some(host) = self.find_host(instance) {
                self.add(host, instance);
                found.push((instance, host));
                continue;
            }
            for (instance, host) in found {
                self.remove(host, instance);
            }
            return None;
        }
        Some(found)
    }
}
