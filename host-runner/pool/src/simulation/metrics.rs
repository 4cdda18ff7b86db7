//! What a run costs, and how far it kept its promises.

use serde::{Deserialize, Serialize};

use super::time::Millis;
use super::world::World;

const JOULES_PER_KWH: f64 = 3.6e6;

/// The figures of a whole run.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Energy of all machines, in kWh.
    pub energy_kwh: f64,
    /// Migrations that began.
    pub migrations: u64,
    /// SLA violation time per active host: time in which an active machine gave less than asked ÷ active time, over all.
    pub slatah: f64,
    /// Performance degradation due to migrations: MIPS·s withheld from migrating instances ÷ MIPS·s asked.
    pub pdm: f64,
    /// `slatah` × `pdm`.
    pub slav: f64,
    /// How often a machine went to sleep; one that is never used does so once.
    pub host_shutdowns: u64,
    /// CPU that was asked for and not given, for whatever reason ÷ asked.
    pub withheld: f64,
    /// Time that instances waited for a machine, in seconds, summed over the instances.
    pub waiting_s: f64,
    /// Machines that were active, averaged over time.
    pub active_machines: f64,
}

/// Sums over time, from one sample of the world to the next.
#[derive(Debug, Clone, Default)]
pub(super) struct Meter {
    energy_j: f64,
    active_s: f64,
    short_s: f64,
    asked: f64,
    withheld: f64,
    withheld_migrating: f64,
    waiting_s: f64,
    elapsed_s: f64,
    migrations: u64,
    shutdowns: u64,
    watts: Vec<f64>,
    awake: Vec<bool>,
}

impl Meter {
    /// A meter for a world in which every machine is awake.
    pub(super) fn new(machines: usize) -> Self {
        Self {
            watts: vec![0.0; machines],
            awake: vec![true; machines],
            ..Self::default()
        }
    }

    /// Counts what was held since the last sample: `world` is still as it was then.
    pub(super) fn hold(&mut self, world: &World, length: Millis) {
        let length_s = length.seconds();
        self.elapsed_s += length_s;
        for (_, host) in world.machines() {
            if host.is_active() {
                self.active_s += length_s;
            }
            if host.short {
                self.short_s += length_s;
            }
        }
        for (_, guest) in world.instances() {
            if !guest.alive {
                continue;
            }
            self.asked += guest.asked * length_s;
            let withheld = (guest.asked - guest.given) * length_s;
            self.withheld += withheld;
            if guest.migration.is_some() {
                self.withheld_migrating += withheld;
            }
            if guest.machine.is_none() {
                self.waiting_s += length_s;
            }
        }
    }

    /// Counts the energy since the last [`Self::settle`]: the mean of what was drawn then and is now, before anything changes.
    pub(super) fn draw(&mut self, world: &World, length: Millis) {
        let half = length.seconds() / 2.0;
        for ((before, now), awake) in self.watts.iter().zip(watts(world)).zip(&self.awake) {
            if *awake {
                self.energy_j += (before + now) * half;
            }
        }
    }

    /// The world has changed: what is drawn and who is awake from now on.
    pub(super) fn settle(&mut self, world: &World) {
        self.watts.clear();
        self.watts.extend(watts(world));
        for ((_, host), awake) in world.machines().zip(&mut self.awake) {
            if *awake && !host.is_active() {
                self.shutdowns += 1;
            }
            *awake = host.is_active();
        }
    }

    pub(super) fn count_migration(&mut self) {
        self.migrations += 1;
    }

    /// What all machines draw now, in W.
    pub(super) fn watts(&self) -> f64 {
        self.watts.iter().sum()
    }

    pub(super) fn migrations(&self) -> u64 {
        self.migrations
    }

    pub(super) fn energy_kwh(&self) -> f64 {
        self.energy_j / JOULES_PER_KWH
    }

    pub(super) fn totals(&self) -> Totals {
        let slatah = ratio(self.short_s, self.active_s);
        let pdm = ratio(self.withheld_migrating, self.asked);
        Totals {
            energy_kwh: self.energy_kwh(),
            migrations: self.migrations,
            slatah,
            pdm,
            slav: slatah * pdm,
            host_shutdowns: self.shutdowns,
            withheld: ratio(self.withheld, self.asked),
            waiting_s: self.waiting_s,
            active_machines: ratio(self.active_s, self.elapsed_s),
        }
    }
}

fn watts(world: &World) -> impl Iterator<Item = f64> {
    world.machines().map(|(spec, host)| {
        if host.is_active() {
            spec.power.watts(host.used / spec.mips())
        } else {
            0.0
        }
    })
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
