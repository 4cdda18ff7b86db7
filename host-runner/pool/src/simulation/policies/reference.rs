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
use crate::simulation::world::{MemoryMode, World};

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
        let overloaded: Vec<usize> = (0..trial.hosts.len())
            .filter(|&host| trial.is_overloaded(host))
            .collect();
        let evicted = trial.evict(&overloaded);
        let mut blocked = vec![false; trial.hosts.len()];
        for &host in &overloaded {
            blocked[host] = true;
        }
        let mut moves: Vec<(usize, usize)> = Vec::new();
        for instance in by_demand(world, evicted) {
            if let Some(host) = trial.find_host(instance, &blocked) {
                trial.add(host, instance);
                moves.push((instance, host));
            }
        }
        trial.empty_underloaded(blocked, &mut moves);
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
struct TrialHost {
    residents: Vec<usize>,
    mips: f64,
    core_mips: f64,
    memory_free_mb: f64,
    /// What its residents ask for.
    asked: f64,
    /// The same, no vCPU more than a core.
    due: f64,
    history: [f64; WINDOW],
    /// Utilization when the trial began.
    utilization: f64,
    watts: f64,
    awake: bool,
}

impl TrialHost {
    fn given(&self) -> f64 {
        self.due.min(self.mips)
    }
}

/// The pool while a decision tries what to move.
struct Trial<'a> {
    world: &'a World,
    overload: Overload,
    interval: Millis,
    hosts: Vec<TrialHost>,
    histories: Vec<[f64; WINDOW]>,
}

impl<'a> Trial<'a> {
    fn new(world: &'a World, overload: Overload, interval: Millis) -> Self {
        let histories = world
            .instances()
            .map(|(_, guest)| {
                let mut newest_first = [0.0; WINDOW];
                for (slot, value) in newest_first.iter_mut().zip(guest.history(WINDOW).iter().rev()) {
                    *slot = *value;
                }
                newest_first
            })
            .collect();
        let hosts = (0..world.machines().len())
            .map(|index| empty(world, index))
            .collect();
        let mut trial = Self {
            world,
            overload,
            interval,
            hosts,
            histories,
        };
        for (index, (spec, host)) in world.machines().enumerate() {
            for &instance in &host.residents {
                trial.add(index, instance);
            }
            let utilization = host.used / spec.mips();
            trial.hosts[index].utilization = utilization;
            trial.hosts[index].awake = host.is_active();
            trial.hosts[index].watts = spec.power.watts(utilization);
        }
        trial
    }

    fn add(&mut self, host: usize, instance: usize) {
        self.hosts[host].residents.push(instance);
        self.change(host, instance, 1.0);
    }

    fn remove(&mut self, host: usize, instance: usize) {
        self.hosts[host].residents.retain(|&index| index != instance);
        self.change(host, instance, -1.0);
        if self.hosts[host].residents.is_empty() {
            // Differences of floats leave dust, and an empty machine has exactly nothing.
            let TrialHost {
                asked, due, history, ..
            } = &mut self.hosts[host];
            (*asked, *due, *history) = (0.0, 0.0, [0.0; WINDOW]);
        }
    }

    fn change(&mut self, host: usize, instance: usize, sign: f64) {
        let Some((spec, guest)) = self.world.instance(instance) else {
            return;
        };
        let host = &mut self.hosts[host];
        host.asked += sign * guest.asked;
        host.due += sign * guest.asked.min(f64::from(spec.vcpus) * host.core_mips);
        host.memory_free_mb -= sign * spec.memory_mb;
        for (sum, value) in host.history.iter_mut().zip(&self.histories[instance]) {
            *sum += sign * value / host.mips;
        }
    }

    fn is_overloaded(&self, host: usize) -> bool {
        let host = &self.hosts[host];
        !host.residents.is_empty()
            && self.overload.judges(&Utilization {
                now: host.asked / host.mips,
                history: &host.history,
                migration_intervals: self.migration_intervals(host),
            })
    }

    fn migration_intervals(&self, host: &TrialHost) -> f64 {
        if !matches!(self.overload, Overload::Regression(_)) {
            return 0.0;
        }
        let longest_s = (host.residents.iter())
            .filter_map(|&index| self.world.instance(index))
            .map(|(spec, _)| spec.memory_mb)
            .fold(0.0, f64::max);
        let rate = self.world.machine(0).map_or(1.0, |(spec, _)| spec.migration_mb_s);
        (longest_s / rate / self.interval.seconds()).ceil()
    }

    /// Takes from each overloaded machine what migrates fastest, until it is overloaded no more.
    fn evict(&mut self, overloaded: &[usize]) -> Vec<usize> {
        let mut evicted = Vec::new();
        for &host in overloaded {
            loop {
                let Some(instance) = self.fastest_to_migrate(host) else {
                    break;
                };
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
        let memory = |index: &usize| {
            self.world
                .instance(*index)
                .map_or(0.0, |(spec, _)| spec.memory_mb)
        };
        (self.hosts[host].residents.iter().copied())
            .filter(|index| {
                self.world
                    .instance(*index)
                    .is_some_and(|(_, guest)| guest.migration.is_none())
            })
            .min_by(|a, b| memory(a).total_cmp(&memory(b)))
    }

    /// The machine whose power rises least, among those that are not blocked and would not be over-utilized.
    fn find_host(&mut self, instance: usize, blocked: &[bool]) -> Option<usize> {
        let (spec, guest) = self.world.instance(instance)?;
        let mut best: Option<(f64, usize)> = None;
        for index in 0..self.hosts.len() {
            let host = &self.hosts[index];
            let (machine, state) = self.world.machine(index)?;
            let suits = !blocked[index]
                && !state.failed
                && host.core_mips >= guest.asked / f64::from(spec.vcpus)
                && host.mips - host.given() >= guest.asked
                && (self.world.memory_mode() == MemoryMode::Cloudsim
                    || host.memory_free_mb >= spec.memory_mb);
            if !suits {
                continue;
            }
            let rise = machine.power.watts((host.given() + guest.asked) / host.mips) - host.watts;
            if best.is_some_and(|(least, _)| rise >= least) {
                continue;
            }
            if host.given() > 0.0 && self.would_overload(index, instance) {
                continue;
            }
            best = Some((rise, index));
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
    ///
    /// `blocked` are the machines that were over-utilized.
    fn empty_underloaded(&mut self, mut blocked: Vec<bool>, moves: &mut Vec<(usize, usize)>) {
        for (slot, host) in blocked.iter_mut().zip(&self.hosts) {
            *slot |= host.residents.is_empty() || !host.awake;
        }
        // Not a source twice, and never one that just received something here.
        let mut no_source = blocked.clone();
        while let Some(source) = self.least_utilized(&no_source) {
            no_source[source] = true;
            blocked[source] = true;
            let leaving = self.hosts[source].residents.clone();
            let Some(found) = self.find_all(by_demand(self.world, leaving), &blocked) else {
                continue;
            };
            for (instance, host) in found {
                no_source[host] = true;
                moves.push((instance, host));
            }
        }
    }

    fn least_utilized(&self, no_source: &[bool]) -> Option<usize> {
        (0..self.hosts.len())
            .filter(|&index| {
                let utilization = self.hosts[index].utilization;
                !no_source[index] && utilization < 1.0
            })
            .min_by(|&a, &b| self.hosts[a].utilization.total_cmp(&self.hosts[b].utilization))
    }

    /// A machine for each, or none for any.
    fn find_all(&mut self, instances: Vec<usize>, blocked: &[bool]) -> Option<Vec<(usize, usize)>> {
        let mut found: Vec<(usize, usize)> = Vec::with_capacity(instances.len());
        for instance in instances {
            if let Some(host) = self.find_host(instance, blocked) {
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

fn empty(world: &World, index: usize) -> TrialHost {
    let (mips, core_mips, memory_mb) = world.machine(index).map_or((0.0, 0.0, 0.0), |(spec, _)| {
        (spec.mips(), spec.core_mips, spec.memory_mb)
    });
    TrialHost {
        residents: Vec::new(),
        mips,
        core_mips,
        memory_free_mb: memory_mb,
        asked: 0.0,
        due: 0.0,
        history: [0.0; WINDOW],
        utilization: 0.0,
        watts: 0.0,
        awake: false,
    }
}
