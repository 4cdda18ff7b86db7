//! What machines use beside the instances that an inventory knows, and a pool as if it had just been read from one.

use super::presence::Neighbourhood;
use super::{Demand, Imbalance, InstanceIndex, MachineIndex, MachineSeat, Pool, to_u32};
use crate::inventory::Machine;

/// What a machine uses and promises beyond the instances that the inventory knows.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rest {
    pub(super) demand: Demand,
    memory_mib: u64,
    disk_mib: u64,
}

impl MachineSeat {
    fn take_in(&mut self, rest: Rest) {
        self.demand.add(rest.demand);
        self.memory_promised_mib = self.memory_promised_mib.saturating_add(rest.memory_mib);
        self.disk_unaccounted_mib = self.disk_unaccounted_mib.saturating_add(rest.disk_mib);
        self.rest = rest;
    }
}

impl Pool {
    /// The same pool as if it had just been read from an inventory in which everything is where it is now.
    ///
    /// A pool that has seen moves knows where each disk went at its move, and its sums have rounded on the way; a new inventory tells neither.
    /// Whoever promises what a next look will find looks at this.
    #[must_use]
    pub(crate) fn seated_anew(&self) -> Self {
        let mut anew = self.clone();
        anew.index = None;
        anew.changed.clear();
        anew.neighbourhood = Neighbourhood::default();
        anew.imbalance = Imbalance::default();
        anew.placed = 0;
        let mut rests = Vec::with_capacity(anew.machines.len());
        for seat in &mut anew.machines {
            rests.push(std::mem::take(&mut seat.rest));
            seat.instances.clear();
            seat.vcpus_promised = 0;
            seat.memory_promised_mib = 0;
            seat.disk_unaccounted_mib = 0;
            seat.demand = Demand::default();
            for storage in &mut seat.storages {
                storage.promised_mib = 0;
            }
            if seat.is_balanced() {
                anew.imbalance.add(seat.load());
            }
        }
        // In the order of an inventory: sums round by their order.
        for number in 0..anew.instances.len() {
            if let Some(machine) = anew
                .instances
                .get_mut(number)
                .and_then(|seat| seat.machine.take())
            {
                anew.seat(InstanceIndex(to_u32(number)), machine);
            }
        }
        anew.lay_out_disks();
        for (number, rest) in rests.into_iter().enumerate() {
            anew.change_machine(MachineIndex(to_u32(number)), |seat| seat.take_in(rest));
        }
        anew
    }

    /// Finds out what a machine uses and promises beyond its instances.
    pub(super) fn account_for_the_rest(&mut self, machine: &Machine) {
        let Some(index) = self.machine_of_id(machine.id) else {
            return;
        };
        let measured = machine
            .usage
            .as_ref()
            .and_then(|usage| Demand::of_usage(usage, self.now_s, f64::from(machine.threads), self.effort));
        self.change_machine(index, |seat| {
            let mut rest = Rest::default();
            if let Some(measured) = measured {
                rest.demand.mean = (measured.mean - seat.demand.mean).max(0.0);
                rest.demand.variance = (measured.variance - seat.demand.variance).max(0.0);
            }
            if let Some(reported) = machine.reported {
                // The agent's figure is already after the overhead of one more instance.
                let free = seat.memory_free_mib().saturating_sub(seat.overhead_mib);
                rest.memory_mib = free.saturating_sub(u64::from(reported.memory_free_mib.0));
                let free = seat.disk_free_mib();
                rest.disk_mib = free.saturating_sub(u64::from(reported.disk_free_mib.0));
            }
            seat.take_in(rest);
        });
    }
}
