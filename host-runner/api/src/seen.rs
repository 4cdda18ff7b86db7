//! What an agent says of itself, in an inventory's words: every decision reads machines and instances in this form.
//!
//! What is said beyond any sense is held to the nearest sense, so that one machine cannot keep the others from being chosen.

use std::collections::BTreeMap;

use pool::ImageAvailability;
use pool::inventory::{
    self, Activity, DiskNeed, MachineState, Mobility, Needs, Reported, Reserved, Storage, UsageSeries,
};
use uuid::Uuid;

use crate::{EngineKind, EngineRequest, HostFacts, HostUsage, Image, Instance, InstanceSpec, Mib, RunState};

/// An agent keeps all disks in its state directory: one storage, the same on all machines.
pub const STORAGE: &str = "default";

/// More threads than this no inventory holds.
const THREADS_MAX: u32 = 65_536;

/// More vCPUs than this no inventory holds.
const VCPUS_MAX: u32 = 1_024;

/// A machine whose agent has answered, ready and without a history; `id` and `name` are what the pool calls it.
pub fn machine_seen(
    id: Uuid,
    name: &str,
    host: &HostFacts,
    usage: Option<&HostUsage>,
    images: &[Image],
) -> inventory::Machine {
    inventory::Machine {
        reserved: Reserved {
            threads: 0.0,
            memory_mib: host.memory_total_mib.saturating_sub(host.memory_offered_mib),
        },
        instance_overhead_mib: host.instance_overhead_mib,
        // All of the file system: what other files take, and what the owner does not offer, is missing in what the agent says is free.
        storages: usage
            .map(|usage| Storage {
                name: STORAGE.to_owned(),
                capacity_mib: usage.disk_total_mib,
            })
            .into_iter()
            .collect(),
        reported: usage.map(|usage| Reported {
            memory_free_mib: usage.memory_free_mib,
            disk_free_mib: usage.disk_free_mib,
        }),
        hardware: Some(hardware_class(host)),
        images: images
            .iter()
            .map(|image| ImageAvailability {
                name: image.name.clone(),
                state: image.state,
            })
            .collect(),
        engines: host.engines.clone(),
        ..inventory::Machine::new(
            id,
            name,
            host.threads.clamp(1, THREADS_MAX),
            host.memory_total_mib,
        )
    }
}

/// A machine that nobody has seen yet: known by name alone, and out of reach.
pub fn machine_unseen(id: Uuid, name: &str) -> inventory::Machine {
    inventory::Machine {
        state: MachineState::Unreachable,
        engines: Vec::new(),
        ..inventory::Machine::new(id, name, 1, Mib::ZERO)
    }
}

/// An instance on `machine`; `of_host` gives the pool's identity of each host that is in it.
pub fn instance_seen(
    instance: &Instance,
    machine: Uuid,
    of_host: &BTreeMap<Uuid, Uuid>,
    usage: Option<UsageSeries>,
) -> inventory::Instance {
    inventory::Instance {
        id: instance.id,
        name: instance.spec.name.clone(),
        machine: Some(machine),
        activity: activity(instance),
        needs: needs_of(&instance.spec, of_host),
        usage,
        moved_at_s: None,
    }
}

/// What a spec asks of whoever holds it; `of_host` gives the pool's identity of each host that is in it.
pub fn needs_of(spec: &InstanceSpec, of_host: &BTreeMap<Uuid, Uuid>) -> Needs {
    let wishes = &spec.placement;
    let in_pool = |host: Option<Uuid>| of_host.get(&host?).copied();
    let pin = in_pool(wishes.pin);
    let disk = DiskNeed {
        size_mib: spec.disk_mib,
        storage: None,
    };
    Needs {
        disks: Some(disk)
            .filter(|disk| disk.size_mib > Mib::ZERO)
            .into_iter()
            .collect(),
        image: Some(spec.image.clone()),
        engine: match spec.engine_needed() {
            EngineRequest::Auto => None,
            EngineRequest::Qemu => Some(EngineKind::Qemu),
            EngineRequest::Microvm => Some(EngineKind::Microvm),
        },
        group: wishes.group.clone(),
        affinities: wishes.affinities.clone(),
        hint: in_pool(wishes.hint),
        pin,
        priority: wishes.priority,
        // Tied to a host that this pool does not have, it stays where it is.
        mobility: if wishes.pin.is_some() && pin.is_none() {
            Mobility::Fixed
        } else {
            wishes.mobility
        },
        ..Needs::new(spec.vcpus.clamp(1, VCPUS_MAX), spec.memory_mib)
    }
}

/// Guests see the CPU that they run on, so they move live only to another of its model; an emulated CPU is the same everywhere.
fn hardware_class(host: &HostFacts) -> String {
    if host.hardware_virtualization.available && !host.cpu_model.is_empty() {
        host.cpu_model.clone()
    } else if host.hardware_virtualization.available {
        host.arch.clone()
    } else {
        format!("emulated {}", host.arch)
    }
}

/// As far as it can be told from outside, memory is promised to what runs, is meant to run, or has not yet stopped.
fn activity(instance: &Instance) -> Activity {
    let alive = match instance.state {
        RunState::Starting | RunState::Running | RunState::Paused | RunState::Stopping => true,
        RunState::Creating | RunState::Stopped | RunState::Failed | RunState::Deleting => false,
    };
    if alive || instance.wanted_running {
        Activity::Running
    } else {
        Activity::Stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec_tied_to(pin: Option<Uuid>) -> InstanceSpec {
        let spec = r#"{"name":"web-1","image":"tiny-linux","vcpus":1,"memory_mib":64}"#;
        let mut spec: InstanceSpec = serde_json::from_str(spec).unwrap();
        spec.placement.pin = pin;
        spec
    }

    #[test]
    fn an_instance_that_is_tied_to_a_machine_outside_of_the_pool_stays_where_it_is() {
        let (host, in_pool) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let of_host = BTreeMap::from([(host, in_pool)]);
        let tied = |pin| {
            let needs = needs_of(&spec_tied_to(pin), &of_host);
            (needs.pin, needs.mobility)
        };
        assert_eq!(tied(Some(host)), (Some(in_pool), Mobility::Live));
        assert_eq!(tied(Some(Uuid::from_u128(3))), (None, Mobility::Fixed));
        assert_eq!(tied(None), (None, Mobility::Live));
    }

    #[test]
    fn a_network_with_a_limit_needs_the_engine_that_keeps_to_it() {
        let mut spec = spec_tied_to(None);
        let needed = |spec: &InstanceSpec| needs_of(spec, &BTreeMap::new()).engine;
        assert_eq!(needed(&spec), None);
        spec.network_limit.frames_per_second = Some(1_000);
        assert_eq!(needed(&spec), Some(EngineKind::Microvm));
        spec.engine = EngineRequest::Microvm;
        assert_eq!(needed(&spec), Some(EngineKind::Microvm));
    }
}
