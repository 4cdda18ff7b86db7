//! The state of a simulated pool, and how its machines share their CPU.

use serde::{Deserialize, Serialize};

use super::power::PowerCurve;
use super::time::Millis;
use super::traces::Trace;

/// Samples that the world remembers of each instance at least.
pub const HISTORY_MIN: usize = 288;

/// What an instance that leaves a machine gets of its share meanwhile.
const SOURCE_SHARE: f64 = 0.9;
/// What an instance that arrives already takes on its new machine.
const TARGET_SHARE: f64 = 0.1;
/// Below this, what a machine gave and what was asked are the same: sums of floats in another order differ.
const SHORT_MIN: f64 = 1e-6;
/// By this share of a sum, sums of floats differ from what people work out: fifteen times 0.1 is more than 1.5.
const ROUNDING: f64 = 1e-9;

/// Whether so much fits, when what is promised is in whole tenths of somebody's unit, and floats are not.
fn fits(needed: f64, offered: f64) -> bool {
    needed <= offered * (1.0 + ROUNDING)
}

/// A machine as it was bought.
#[derive(Debug, Clone, PartialEq)]
pub struct MachineSpec {
    /// What reports call it.
    pub name: String,
    /// Cores; an instance's vCPU never gets more than one.
    pub cores: u32,
    /// What one core computes, in MIPS (or any unit, if all use it).
    pub core_mips: f64,
    /// Memory, in MB.
    pub memory_mb: f64,
    /// What a migration to it copies in a second, in MB.
    pub migration_mb_s: f64,
    /// What it draws while it is awake.
    pub power: PowerCurve,
}

impl MachineSpec {
    /// What all its cores compute.
    pub fn mips(&self) -> f64 {
        f64::from(self.cores) * self.core_mips
    }
}

/// An instance as it was ordered.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceSpec {
    /// What reports call it.
    pub name: String,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// What one vCPU may ask for, in the machines' unit.
    pub vcpu_mips: f64,
    /// Memory, in MB.
    pub memory_mb: f64,
}

impl InstanceSpec {
    /// The most that it can ask for.
    pub fn mips(&self) -> f64 {
        f64::from(self.vcpus) * self.vcpu_mips
    }
}

/// When an instance's memory counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryMode {
    /// Always: memory is never promised twice.
    #[default]
    Memory,
    /// Only when an instance is first placed; afterwards it asks for none. What CloudSim's examples do.
    Cloudsim,
}

/// A machine as it is now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Host {
    /// The instances that run here, in the order in which they came.
    pub residents: Vec<usize>,
    /// The instances that are on their way here.
    pub incoming: Vec<usize>,
    /// Whether it has failed.
    pub failed: bool,
    /// How many of its failures have not ended.
    outages: u32,
    /// The CPU that it gives, in MIPS.
    pub used: f64,
    /// Whether it gives less than it is asked for.
    pub short: bool,
}

impl Host {
    /// Whether anything runs here, or is about to; a machine without instances sleeps.
    pub fn is_active(&self) -> bool {
        !self.residents.is_empty() || !self.incoming.is_empty()
    }
}

/// A migration that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// The machine that it goes to.
    pub to: usize,
    /// When it is there.
    pub until: Millis,
}

/// An instance as it is now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Guest {
    /// Whether it has arrived and not departed.
    pub alive: bool,
    /// Where it runs; `None` while no machine has it.
    pub machine: Option<usize>,
    /// Where it is going.
    pub migration: Option<Migration>,
    /// The CPU that it asks for, in MIPS.
    pub asked: f64,
    /// The CPU that it gets, in MIPS.
    pub given: f64,
    /// When its last migration began.
    pub moved_at: Option<Millis>,
    history: Vec<f64>,
}

impl Guest {
    /// What it asked for at the last decisions, oldest first, at most `count` of them; the last one is now.
    pub fn history(&self, count: usize) -> &[f64] {
        let from = self.history.len().saturating_sub(count);
        self.history.get(from..).unwrap_or_default()
    }

    fn remember(&mut self) {
        // Dropping half at a time keeps the memory bounded and the newest samples in one piece.
        if self.history.len() == 2 * HISTORY_MIN {
            self.history.drain(..HISTORY_MIN);
        }
        self.history.push(self.asked);
    }
}

/// All machines and instances, by dense indices that never change.
#[derive(Debug, Clone, PartialEq)]
pub struct World {
    machines: Vec<MachineSpec>,
    instances: Vec<InstanceSpec>,
    hosts: Vec<Host>,
    guests: Vec<Guest>,
    memory: MemoryMode,
}

impl World {
    /// A world in which nothing runs yet.
    pub fn new(machines: Vec<MachineSpec>, instances: Vec<InstanceSpec>, memory: MemoryMode) -> Self {
        let hosts = vec![Host::default(); machines.len()];
        let guests = vec![Guest::default(); instances.len()];
        Self {
            machines,
            instances,
            hosts,
            guests,
            memory,
        }
    }

    /// Every machine with its state, by index.
    pub fn machines(&self) -> impl ExactSizeIterator<Item = (&MachineSpec, &Host)> {
        self.machines.iter().zip(&self.hosts)
    }

    /// Every instance with its state, by index.
    pub fn instances(&self) -> impl ExactSizeIterator<Item = (&InstanceSpec, &Guest)> {
        self.instances.iter().zip(&self.guests)
    }

    /// One machine.
    pub fn machine(&self, index: usize) -> Option<(&MachineSpec, &Host)> {
        Some((self.machines.get(index)?, self.hosts.get(index)?))
    }

    /// One instance.
    pub fn instance(&self, index: usize) -> Option<(&InstanceSpec, &Guest)> {
        Some((self.instances.get(index)?, self.guests.get(index)?))
    }

    /// When memory counts.
    pub fn memory_mode(&self) -> MemoryMode {
        self.memory
    }

    /// The memory that a machine has not promised, to instances here or on their way, in MB.
    pub fn memory_free_mb(&self, machine: usize) -> f64 {
        let Some((spec, host)) = self.machine(machine) else {
            return 0.0;
        };
        spec.memory_mb - self.memory_promised_mb(host)
    }

    fn memory_promised_mb(&self, host: &Host) -> f64 {
        let held = host.residents.iter().chain(&host.incoming);
        held.filter_map(|&index| self.instances.get(index))
            .map(|instance| instance.memory_mb)
            .sum()
    }

    /// Whether `machine` could start `instance`, knowing only nominal sizes: the CPU that all there may ask for at most, a
    /// core as fast as its vCPU, and memory.
    pub fn admits_first(&self, machine: usize, instance: usize) -> bool {
        let (Some((spec, host)), Some((wanted, _))) = (self.machine(machine), self.instance(instance)) else {
            return false;
        };
        let promised: f64 = host
            .residents
            .iter()
            .chain(&host.incoming)
            .filter_map(|&index| self.instances.get(index))
            .map(InstanceSpec::mips)
            .sum();
        !host.failed
            && spec.core_mips >= wanted.vcpu_mips
            && fits(promised + wanted.mips(), spec.mips())
            && fits(self.memory_promised_mb(host) + wanted.memory_mb, spec.memory_mb)
    }

    /// Sets what every instance asks for at `now`, and shares out the CPU.
    pub(super) fn sample(&mut self, loads: &[Trace], now: Millis) {
        for ((guest, spec), load) in self.guests.iter_mut().zip(&self.instances).zip(loads) {
            guest.asked = if guest.alive {
                load.at(now) * spec.mips()
            } else {
                0.0
            };
            guest.given = 0.0;
        }
        for (spec, host) in self.machines.iter().zip(&mut self.hosts) {
            share(spec, host, &self.instances, &mut self.guests);
        }
    }

    /// Adds what every instance asks for now to its history.
    pub(super) fn remember(&mut self) {
        for guest in self.guests.iter_mut().filter(|guest| guest.alive) {
            guest.remember();
        }
    }

    /// The instance is ordered, and waits for a machine.
    pub(super) fn arrive(&mut self, instance: usize) {
        if let Some(guest) = self.guests.get_mut(instance) {
            *guest = Guest {
                alive: true,
                ..Guest::default()
            };
        }
    }

    /// The instance is gone for good.
    pub(super) fn depart(&mut self, instance: usize) {
        self.cancel_migration(instance);
        self.unplace(instance);
        if let Some(guest) = self.guests.get_mut(instance) {
            guest.alive = false;
        }
    }

    /// The instance runs on `machine` from now on.
    pub(super) fn place(&mut self, instance: usize, machine: usize) {
        let (Some(guest), Some(host)) = (self.guests.get_mut(instance), self.hosts.get_mut(machine)) else {
            return;
        };
        guest.machine = Some(machine);
        host.residents.push(instance);
    }

    /// The instance sets off for `to`. `None`, and nothing changes, where that cannot be.
    ///
    /// One that set off this very moment is sent there instead.
    pub(super) fn begin_migration(&mut self, instance: usize, to: usize, now: Millis) -> Option<Migration> {
        let memory_mb = self.instances.get(instance)?.memory_mb;
        let (spec, host) = self.machine(to)?;
        let has_room = fits(self.memory_promised_mb(host) + memory_mb, spec.memory_mb);
        if self.memory == MemoryMode::Memory && !has_room {
            return None;
        }
        let length = Millis::rounded_from_seconds(memory_mb / spec.migration_mb_s);
        let guest = self.guests.get(instance)?;
        let underway = guest.migration.is_some() && guest.moved_at != Some(now);
        if host.failed || underway || guest.machine.is_none_or(|from| from == to) {
            return None;
        }
        self.cancel_migration(instance);
        let guest = self.guests.get_mut(instance)?;
        let host = self.hosts.get_mut(to)?;
        let migration = Migration {
            to,
            until: now + length,
        };
        guest.migration = Some(migration);
        guest.moved_at = Some(now);
        host.incoming.push(instance);
        Some(migration)
    }

    /// The instance's migration ends, if it is the one that ends at `now`.
    pub(super) fn end_migration(&mut self, instance: usize, now: Millis) {
        let due = self
            .guests
            .get(instance)
            .and_then(|guest| guest.migration)
            .filter(|it| it.until == now);
        if let Some(Migration { to, .. }) = due {
            self.cancel_migration(instance);
            self.unplace(instance);
            self.place(instance, to);
        }
    }

    /// The machine stops: what ran there waits for another one, what was on its way stays where it is.
    pub(super) fn fail(&mut self, machine: usize) {
        let Some(host) = self.hosts.get_mut(machine) else {
            return;
        };
        host.failed = true;
        host.outages = host.outages.saturating_add(1);
        let stranded = std::mem::take(&mut host.residents);
        let turned_back = std::mem::take(&mut host.incoming);
        for guest in turned_back {
            self.cancel_migration(guest);
        }
        for guest in stranded {
            self.cancel_migration(guest);
            self.unplace(guest);
        }
    }

    /// One of the machine's failures ends; after the last of them it works again, empty.
    pub(super) fn recover(&mut self, machine: usize) {
        if let Some(host) = self.hosts.get_mut(machine) {
            host.outages = host.outages.saturating_sub(1);
            host.failed = host.outages > 0;
        }
    }

    fn cancel_migration(&mut self, instance: usize) {
        let migration = self
            .guests
            .get_mut(instance)
            .and_then(|guest| guest.migration.take());
        let target = migration.and_then(|migration| self.hosts.get_mut(migration.to));
        if let Some(target) = target {
            target.incoming.retain(|&index| index != instance);
        }
    }

    fn unplace(&mut self, instance: usize) {
        let machine = self
            .guests
            .get_mut(instance)
            .and_then(|guest| guest.machine.take());
        if let Some(host) = machine.and_then(|machine| self.hosts.get_mut(machine)) {
            host.residents.retain(|&index| index != instance);
        }
    }
}

/// Shares one machine's CPU: each instance what it asks for, no vCPU more than a core; all the same part of that where the
/// machine has too little.
fn share(spec: &MachineSpec, host: &mut Host, instances: &[InstanceSpec], guests: &mut [Guest]) {
    host.used = 0.0;
    host.short = false;
    if !host.is_active() {
        return;
    }
    let ceiling = |index: usize| {
        instances
            .get(index)
            .map_or(0.0, |it| f64::from(it.vcpus) * spec.core_mips)
    };
    let mut asked = 0.0;
    let mut due = 0.0;
    for (&index, part) in parts(host) {
        let wanted = guests.get(index).map_or(0.0, |guest| guest.asked);
        asked += wanted;
        due += wanted.min(ceiling(index)) * part;
    }
    let factor = if due > spec.mips() { spec.mips() / due } else { 1.0 };
    host.used = due * factor;
    // An instance on its way counts in full although the target gives a tenth: the reference counts it so.
    host.short = host.used + SHORT_MIN.max(asked * f64::EPSILON * 64.0) < asked;
    for &index in &host.residents {
        if let Some(guest) = guests.get_mut(index) {
            let cost = if guest.migration.is_some() {
                SOURCE_SHARE
            } else {
                1.0
            };
            guest.given = guest.asked.min(ceiling(index)) * factor * cost;
        }
    }
}

/// The instances that take CPU on a machine, with the part of their demand that they take there.
fn parts(host: &Host) -> impl Iterator<Item = (&usize, f64)> {
    let residents = host.residents.iter().map(|index| (index, 1.0));
    residents.chain(host.incoming.iter().map(|index| (index, TARGET_SHARE)))
}
