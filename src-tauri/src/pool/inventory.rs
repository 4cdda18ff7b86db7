//! The live picture as decisions read it: one inventory, made of what the machines said last and what this desktop knows beside it.

use std::collections::BTreeMap;

use api::Timestamp;
use api::seen::{instance_seen, machine_seen, machine_unseen};
use pool::inventory::{self, INVENTORY_FORMAT, Inventory, MachineState};
use uuid::Uuid;

use super::picture::LivePicture;
use super::usage::MEANS_MAX;
use crate::contract::{Link, PoolMachine};

/// How much of the past an inventory carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PastCarried {
    /// The last hour: enough for one choice, and quick to copy while somebody drags.
    LastHour,
    /// All that is kept.
    Whole,
}

impl PastCarried {
    fn means(self) -> usize {
        match self {
            Self::LastHour => 12,
            Self::Whole => MEANS_MAX,
        }
    }
}

impl LivePicture {
    /// All machines and instances as decisions see them at `now`.
    ///
    /// It always passes [`Inventory::check`], whatever the machines say. Its version is the one under which this state is, or will be,
    /// published.
    pub fn inventory(&self, now: Timestamp, past: PastCarried) -> Inventory {
        let of_host = self.machines_of_hosts();
        Inventory {
            format: INVENTORY_FORMAT,
            version: self.version_of_now(),
            taken_at_s: now.unix_ms().div_euclid(1000),
            machines: self
                .machines()
                .map(|machine| self.machine_now(machine, past))
                .collect(),
            instances: self
                .placed_by_id()
                .map(|placed| {
                    let usage = self.instance_loads.series(placed.instance.id, 1.0, past.means());
                    inventory::Instance {
                        moved_at_s: self
                            .moved_at(placed.instance.id)
                            .map(|at| at.unix_ms().div_euclid(1000)),
                        ..instance_seen(&placed.instance, placed.machine, &of_host, usage)
                    }
                })
                .collect(),
        }
    }

    /// The pool's identity of each host that is in it.
    pub fn machines_of_hosts(&self) -> BTreeMap<Uuid, Uuid> {
        self.machines()
            .filter_map(|machine| Some((machine.host.as_ref()?.id, machine.id)))
            .collect()
    }

    fn machine_now(&self, machine: &PoolMachine, past: PastCarried) -> inventory::Machine {
        let Some(host) = &machine.host else {
            return machine_unseen(machine.id, &machine.name);
        };
        let seen = machine_seen(
            machine.id,
            &machine.name,
            host,
            machine.usage.as_ref(),
            &machine.images,
        );
        let threads = f64::from(seen.threads);
        inventory::Machine {
            state: state_of(machine),
            usage: self.machine_loads.series(machine.id, threads, past.means()),
            ..seen
        }
    }
}

fn state_of(machine: &PoolMachine) -> MachineState {
    match (&machine.link, machine.draining) {
        (Link::Connected { .. }, false) => MachineState::Ready,
        (Link::Connected { .. }, true) => MachineState::Draining,
        (Link::Connecting | Link::Unreachable { .. } | Link::Refused { .. }, _) => MachineState::Unreachable,
    }
}
