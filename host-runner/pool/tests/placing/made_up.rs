//! Pools and instances that proptest makes up: small worlds, so that rules meet each other often.

use pool::inventory::{
    Activity, Affinity, AffinityKind, AffinityTarget, DiskNeed, Instance, Inventory, Machine, MachineState,
    Needs, Storage,
};
use pool::state::{InstanceIndex, MachineIndex};
use pool::{EngineKind, ImageAvailability, ImageState, Mib, Pool};
use proptest::prelude::*;
use uuid::Uuid;

pub fn machine_id(number: usize) -> Uuid {
    Uuid::from_u128(0x1_0000 + number as u128)
}

pub fn instance_id(number: usize) -> Uuid {
    Uuid::from_u128(0x2_0000 + number as u128)
}

#[expect(clippy::expect_used, reason = "a test's own numbers")]
pub fn machine_index(number: usize) -> MachineIndex {
    MachineIndex(u32::try_from(number).expect("a small number"))
}

#[expect(clippy::expect_used, reason = "a test's own numbers")]
pub fn instance_index(number: usize) -> InstanceIndex {
    InstanceIndex(u32::try_from(number).expect("a small number"))
}

#[expect(clippy::expect_used, reason = "a test's own inventories")]
pub fn pool_of(inventory: &Inventory) -> Pool {
    Pool::new(inventory, inventory.taken_at_s).expect("what was made up is valid")
}

/// A machine with room for a few instances.
pub fn machine(number: usize) -> Machine {
    let mut machine = Machine::new(machine_id(number), format!("m{number}"), 8, Mib(16 * 1024));
    machine.storages = vec![Storage {
        name: "local".into(),
        capacity_mib: Mib(100 * 1024),
    }];
    machine.images = vec![ImageAvailability {
        name: "debian".into(),
        state: ImageState::Ready,
    }];
    machine
}

/// A running instance that has no machine.
pub fn instance(number: usize, needs: Needs) -> Instance {
    Instance {
        id: instance_id(number),
        name: format!("i{number}"),
        machine: None,
        activity: Activity::Running,
        needs,
        usage: None,
        moved_at_s: None,
    }
}

pub fn gib(size: u32) -> Mib {
    Mib(size * 1024)
}

pub fn hard(kind: AffinityKind, target: AffinityTarget) -> Affinity {
    Affinity {
        kind,
        target,
        hard: true,
    }
}

fn word(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(words).prop_map(str::to_owned)
}

const SITES: &[&str] = &["north", "south"];
const TAGS: &[&str] = &["ssd", "gpu"];
const GROUPS: &[&str] = &["web", "db"];
const STORAGES: &[&str] = &["local", "fast"];

pub fn any_machine(number: usize) -> impl Strategy<Value = Machine> {
    let kind = (
        prop::sample::select(vec![
            MachineState::Ready,
            MachineState::Ready,
            MachineState::Ready,
            MachineState::Draining,
            MachineState::Unreachable,
            MachineState::Asleep,
        ]),
        prop::option::of(word(SITES)),
        prop::sample::subsequence(TAGS, 0..=2),
        prop::option::of(word(&["zen3", "zen4"])),
        prop::sample::select(vec![
            Some(ImageState::Ready),
            Some(ImageState::Ready),
            Some(ImageState::Corrupt),
            None,
        ]),
        prop::bool::weighted(0.9),
    );
    let size = (
        1_u32..12,
        1_u32..24,
        0_u32..3,
        prop::sample::select(vec![None, Some(0.5), Some(1.0), Some(4.0)]),
        prop::sample::select(vec![0.5, 1.0, 1.5]),
        0_u32..200,
        prop::sample::subsequence(STORAGES, 0..=2),
        1_u32..60,
    );
    (kind, size).prop_map(
        move |(
            (state, site, tags, hardware, image, has_engine),
            (threads, memory, reserved, cpu, overcommit, overhead, storages, disk),
        )| {
            let mut machine = machine(number);
            machine.state = state;
            machine.site = site;
            machine.tags = tags.into_iter().map(str::to_owned).collect();
            machine.hardware = hardware;
            machine.images.retain_mut(|held| match image {
                Some(state) => {
                    held.state = state;
                    true
                }
                None => false,
            });
            if !has_engine {
                machine.engines.clear();
            }
            machine.threads = threads;
            machine.memory_mib = gib(memory);
            machine.reserved.memory_mib = gib(reserved.min(memory));
            machine.reserved.threads = f64::from(threads) / 4.0;
            machine.overcommit.cpu = cpu;
            machine.overcommit.memory = overcommit;
            machine.instance_overhead_mib = Mib(overhead);
            machine.storages = storages
                .into_iter()
                .map(|name| Storage {
                    name: name.into(),
                    capacity_mib: gib(disk),
                })
                .collect();
            machine
        },
    )
}

fn any_affinity(instances: usize) -> impl Strategy<Value = Affinity> {
    let target = prop_oneof![
        (0..instances.max(1)).prop_map(|number| AffinityTarget::Instance {
            id: instance_id(number)
        }),
        word(GROUPS).prop_map(|name| AffinityTarget::Group { name }),
        word(TAGS).prop_map(|name| AffinityTarget::Tag { name }),
        word(SITES).prop_map(|name| AffinityTarget::Site { name }),
    ];
    let kind = prop::sample::select(vec![AffinityKind::Together, AffinityKind::Apart]);
    (kind, target, any::<bool>()).prop_map(|(kind, target, hard)| Affinity { kind, target, hard })
}

pub fn any_needs(machines: usize, instances: usize) -> impl Strategy<Value = Needs> {
    let size = (1_u32..6, 1_u32..10);
    let disks = prop::collection::vec((0_u32..30, prop::option::weighted(0.3, word(STORAGES))), 0..3);
    let kind = (
        prop::option::weighted(0.5, Just("debian".to_owned())),
        prop::option::weighted(0.5, Just(EngineKind::Qemu)),
        prop::option::weighted(0.2, word(&["zen3", "zen4"])),
        prop::option::weighted(0.5, word(GROUPS)),
        prop::collection::vec(any_affinity(instances), 0..3),
        prop::option::weighted(0.2, 0..machines.max(1)),
        prop::option::weighted(0.1, 0..machines.max(1)),
    );
    (size, disks, kind).prop_map(
        move |((vcpus, memory), disks, (image, engine, hardware, group, affinities, hint, pin))| {
            let mut needs = Needs::new(vcpus, gib(memory));
            needs.disks = disks
                .into_iter()
                .map(|(size, storage)| DiskNeed {
                    size_mib: gib(size),
                    storage,
                })
                .collect();
            needs.image = image;
            needs.engine = engine;
            needs.hardware = hardware;
            needs.group = group;
            needs.affinities = affinities;
            needs.hint = hint.filter(|_| machines > 0).map(machine_id);
            needs.pin = pin.filter(|_| machines > 0).map(machine_id);
            needs
        },
    )
}

/// A pool in which instances are anywhere, whether they fit or not.
pub fn any_inventory(machines_most: usize, instances_most: usize) -> impl Strategy<Value = Inventory> {
    (1..=machines_most, 1..=instances_most).prop_flat_map(|(machines, instances)| {
        let all: Vec<_> = (0..machines).map(any_machine).collect();
        let held = (
            any_needs(machines, instances),
            prop::option::weighted(0.6, 0..machines),
            prop::bool::weighted(0.8),
        );
        (all, prop::collection::vec(held, instances)).prop_map(|(machines, instances)| {
            let mut inventory = Inventory::empty();
            inventory.machines = machines;
            inventory.instances = instances
                .into_iter()
                .enumerate()
                .map(|(number, (needs, on, running))| Instance {
                    machine: on.map(machine_id),
                    activity: if running {
                        Activity::Running
                    } else {
                        Activity::Stopped
                    },
                    ..instance(number, needs)
                })
                .collect();
            inventory
        })
    })
}
