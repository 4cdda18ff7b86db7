//! What a run tells.

use serde::{Deserialize, Serialize};

use super::metrics::{Meter, Totals};
use super::time::Millis;
use super::world::World;

/// The outcome of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Machines of the pool.
    pub machines: usize,
    /// Instances that there are, those among them that arrive only after the run has ended.
    pub instances: usize,
    /// The figures of the whole run.
    pub totals: Totals,
    /// The state after each decision, in order.
    pub series: Vec<Point>,
}

/// The pool after one decision.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// When.
    pub at: Millis,
    /// What all machines draw, in W.
    pub watts: f64,
    /// CPU that is asked for, in MIPS.
    pub asked_mips: f64,
    /// CPU of the machines that are awake, in MIPS.
    pub awake_mips: f64,
    /// Machines that are awake.
    pub active_machines: u32,
    /// Machines that give less than they are asked for.
    pub short_machines: u32,
    /// Instances that wait for a machine.
    pub waiting: u32,
    /// Migrations since the start.
    pub migrations: u64,
    /// Energy since the start, in kWh.
    pub energy_kwh: f64,
}

impl Point {
    pub(super) fn of(world: &World, meter: &Meter, at: Millis) -> Self {
        let awake = || world.machines().filter(|(_, host)| host.is_active());
        let alive = || {
            world
                .instances()
                .map(|(_, guest)| guest)
                .filter(|guest| guest.alive)
        };
        Self {
            at,
            watts: meter.watts(),
            asked_mips: alive().map(|guest| guest.asked).sum(),
            awake_mips: awake().map(|(spec, _)| spec.mips()).sum(),
            active_machines: counted(awake()),
            short_machines: counted(awake().filter(|(_, host)| host.short)),
            waiting: counted(alive().filter(|guest| guest.machine.is_none())),
            migrations: meter.migrations(),
            energy_kwh: meter.energy_kwh(),
        }
    }
}

fn counted<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}
