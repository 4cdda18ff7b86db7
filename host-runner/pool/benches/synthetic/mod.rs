//! Made-up pools for benchmarks: machines of four sizes, instances of many, a tenth of them in groups that keep apart; from a seed.

use pool::inventory::{
    Affinity, AffinityKind, AffinityTarget, DiskNeed, Instance, Inventory, Machine, Needs, Storage,
};
use pool::{ImageAvailability, ImageState, Mib};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

/// Instances to a machine.
pub const INSTANCES_EACH: usize = 10;

const IMAGES: [&str; 3] = ["debian-13", "tiny-linux", "windows-2025"];
const SITES: [&str; 4] = ["north", "south", "east", "west"];

/// A pool of `machines` machines, and ten times as many instances without a place, which fill it by a little more than half.
pub fn inventory(machines: usize, seed: u64) -> Inventory {
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    let mut inventory = Inventory::empty();
    inventory.machines = (0..machines).map(|number| machine(number, &mut chance)).collect();
    inventory.instances = (0..machines * INSTANCES_EACH)
        .map(|number| instance(number, &mut chance))
        .collect();
    inventory
}

fn machine(number: usize, chance: &mut ChaCha8Rng) -> Machine {
    let (threads, memory_gib, disk_gib) = [
        (16, 64, 1_000),
        (32, 128, 2_000),
        (64, 256, 4_000),
        (96, 384, 8_000),
    ][chance.random_range(0..4)];
    let mut machine = Machine::new(
        id(1, number),
        format!("machine-{number}"),
        threads,
        Mib(memory_gib * 1024),
    );
    machine.reserved.memory_mib = Mib(2_048);
    machine.instance_overhead_mib = Mib(64);
    machine.overcommit.cpu = Some(4.0);
    machine.storages = vec![Storage {
        name: "local".into(),
        capacity_mib: Mib(disk_gib * 1024),
    }];
    machine.hardware = Some(["zen2", "zen3", "zen4"][chance.random_range(0..3)].into());
    machine.site = Some(SITES[chance.random_range(0..4)].into());
    if chance.random_bool(0.3) {
        machine.tags.push("ssd".into());
    }
    machine.images = IMAGES
        .iter()
        .take(chance.random_range(2..=3))
        .map(|name| ImageAvailability {
            name: (*name).into(),
            state: ImageState::Ready,
        })
        .collect();
    machine
}

fn instance(number: usize, chance: &mut ChaCha8Rng) -> Instance {
    let vcpus = [1, 2, 2, 4, 4, 8][chance.random_range(0..6)];
    let memory_gib = vcpus * [1, 2, 4][chance.random_range(0..3)];
    let mut needs = Needs::new(vcpus, Mib(memory_gib * 1024));
    needs.disks = vec![DiskNeed {
        size_mib: Mib([10, 20, 50, 100][chance.random_range(0..4)] * 1024),
        storage: None,
    }];
    needs.image = Some(IMAGES[chance.random_range(0..3)].into());
    let mut wish = |kind, target| {
        needs.affinities.push(Affinity {
            kind,
            target,
            hard: true,
        });
    };
    if chance.random_bool(0.05) {
        wish(AffinityKind::Together, AffinityTarget::Tag { name: "ssd".into() });
    }
    if chance.random_bool(0.05) {
        let name = SITES[chance.random_range(0..4)].to_owned();
        wish(AffinityKind::Together, AffinityTarget::Site { name });
    }
    if number.is_multiple_of(INSTANCES_EACH) {
        // Threes that keep apart.
        let name = format!("group-{}", number / (3 * INSTANCES_EACH));
        wish(AffinityKind::Apart, AffinityTarget::Group { name: name.clone() });
        needs.group = Some(name);
    }
    Instance {
        id: id(2, number),
        name: format!("instance-{number}"),
        machine: None,
        activity: pool::inventory::Activity::Running,
        needs,
        usage: None,
        moved_at_s: None,
    }
}

fn id(kind: u128, number: usize) -> Uuid {
    Uuid::from_u128((kind << 64) | number as u128)
}
