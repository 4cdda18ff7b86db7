//! What an agent says of itself, in an inventory's words.

use std::collections::BTreeSet;

use api::{EngineRequest, HostFacts, RunState};
use pool::ImageAvailability;
use pool::inventory::{
    Activity, DiskNeed, Instance, Inventory, Machine, Mobility, Needs, Reported, Reserved, Storage,
};
use uuid::Uuid;

use super::agents::Reading;

/// An agent keeps all disks in its state directory: one storage, the same on all machines.
const STORAGE: &str = "default";

pub(super) fn machine(reading: &Reading) -> Machine {
    let (facts, usage) = (&reading.snapshot.host, &reading.snapshot.usage);
    Machine {
        reserved: Reserved {
            threads: 0.0,
            memory_mib: facts.memory_total_mib.saturating_sub(facts.memory_offered_mib),
        },
        instance_overhead_mib: crate::engines::memory_overhead(facts.hardware_virtualization.available),
        storages: vec![Storage {
            name: STORAGE.to_owned(),
            capacity_mib: usage.disk_promised_mib.saturating_add(usage.disk_free_mib),
        }],
        reported: Some(Reported {
            memory_free_mib: usage.memory_free_mib,
            disk_free_mib: usage.disk_free_mib,
        }),
        hardware: Some(hardware_class(facts)),
        images: (reading.snapshot.images.iter())
            .map(|image| ImageAvailability {
                name: image.name.clone(),
                state: image.state,
            })
            .collect(),
        engines: facts.engines.clone(),
        usage: reading.history.machine.series(),
        ..Machine::new(
            facts.id,
            facts.hostname.clone(),
            facts.threads,
            facts.memory_total_mib,
        )
    }
}

/// Guests see the CPU that they run on, so they move live only to another of its model; an emulated CPU is the same everywhere.
fn hardware_class(facts: &HostFacts) -> String {
    if facts.hardware_virtualization.available && !facts.cpu_model.is_empty() {
        facts.cpu_model.clone()
    } else if facts.hardware_virtualization.available {
        facts.arch.clone()
    } else {
        format!("emulated {}", facts.arch)
    }
}

pub(super) fn instances(reading: &Reading) -> impl Iterator<Item = Instance> {
    let machine = reading.snapshot.host.id;
    reading.snapshot.instances.iter().map(move |instance| {
        let spec = &instance.spec;
        let disk = DiskNeed {
            size_mib: spec.disk_mib,
            storage: None,
        };
        Instance {
            id: instance.id,
            name: spec.name.clone(),
            machine: Some(machine),
            activity: activity(instance),
            needs: Needs {
                disks: Some(disk)
                    .filter(|disk| disk.size_mib > api::Mib::ZERO)
                    .into_iter()
                    .collect(),
                image: Some(spec.image.clone()),
                engine: match spec.engine {
                    EngineRequest::Auto => None,
                    EngineRequest::Qemu => Some(api::EngineKind::Qemu),
                },
                group: spec.placement.group.clone(),
                affinities: spec.placement.affinities.clone(),
                hint: spec.placement.hint,
                pin: spec.placement.pin,
                priority: spec.placement.priority,
                mobility: spec.placement.mobility,
                ..Needs::new(spec.vcpus, spec.memory_mib)
            },
            usage: (reading.history.instances.get(&instance.id)).and_then(super::history::Samples::series),
            moved_at_s: None,
        }
    })
}

/// An instance that is tied to a machine which is not in the document stays where it is: nothing else is known of its machine.
///
/// Returns the names of those that this happened to.
pub(super) fn loosen_pins(inventory: &mut Inventory) -> Vec<String> {
    let machines: BTreeSet<Uuid> = inventory.machines.iter().map(|machine| machine.id).collect();
    let mut loosened = Vec::new();
    for instance in &mut inventory.instances {
        let needs = &mut instance.needs;
        if needs.pin.is_some_and(|pin| !machines.contains(&pin)) {
            needs.pin = None;
            needs.mobility = Mobility::Fixed;
            loosened.push(instance.name.clone());
        }
    }
    loosened
}

/// Memory is promised to what runs, is meant to run, or has not yet stopped: see [`crate::admission`].
fn activity(instance: &api::Instance) -> Activity {
    let holds_memory = match instance.state {
        RunState::Starting | RunState::Running | RunState::Paused | RunState::Stopping => true,
        RunState::Creating | RunState::Stopped | RunState::Failed | RunState::Deleting => false,
    };
    if holds_memory || instance.wanted_running {
        Activity::Running
    } else {
        Activity::Stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_that_is_tied_to_a_machine_outside_of_the_document_stays_where_it_is() {
        let mut inventory = Inventory::empty();
        let id = Uuid::from_u128;
        inventory
            .machines
            .push(Machine::new(id(1), "atlas", 4, api::Mib(4_096)));
        for (number, pin) in [(10, Some(id(1))), (11, Some(id(2))), (12, None)] {
            let mut needs = Needs::new(1, api::Mib(64));
            needs.pin = pin;
            inventory.instances.push(Instance {
                id: id(number),
                name: format!("i-{number}"),
                machine: Some(id(1)),
                activity: Activity::Running,
                needs,
                usage: None,
                moved_at_s: None,
            });
        }
        assert!(inventory.check().is_err());
        assert_eq!(loosen_pins(&mut inventory), ["i-11"]);
        assert!(inventory.check().is_ok());
        let [kept, loosened, free] = &inventory.instances[..] else {
            panic!("three instances")
        };
        assert_eq!((kept.needs.pin, loosened.needs.pin), (Some(id(1)), None));
        assert_eq!(
            (loosened.needs.mobility, free.needs.mobility),
            (Mobility::Fixed, Mobility::Live)
        );
    }
}
