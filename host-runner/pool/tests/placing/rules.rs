//! The filters against an admission that was written without them: plain sums over the inventory, machine by machine.

use pool::inventory::{
    Activity, AffinityKind, AffinityTarget, DiskNeed, Instance, Inventory, Machine, MachineState, Needs,
    Storage,
};
use pool::placing::{Subject, passes, unmet};
use pool::{ImageState, Mib};
use proptest::prelude::*;

use crate::made_up::{any_inventory, gib, instance, instance_index, machine, machine_index, pool_of};

/// What the machine's other instances hold.
fn others<'a>(
    inventory: &'a Inventory,
    machine: &'a Machine,
    asked: &'a Instance,
) -> impl Iterator<Item = &'a Instance> + Clone {
    inventory
        .instances
        .iter()
        .filter(|other| other.machine == Some(machine.id) && other.id != asked.id)
}

fn admits(inventory: &Inventory, machine: &Machine, asked: &Instance) -> bool {
    let here = asked.machine == Some(machine.id);
    let takes = match machine.state {
        MachineState::Ready => true,
        MachineState::Draining => here,
        MachineState::Unreachable | MachineState::Asleep => false,
    };
    let needs = &asked.needs;
    let image = needs.image.as_ref().is_none_or(|name| {
        let mut images = machine.images.iter();
        images.any(|held| held.name == *name && held.state == ImageState::Ready)
    });
    let engine = needs.engine.map_or(!machine.engines.is_empty(), |engine| {
        machine.engines.contains(&engine)
    });
    takes
        && needs.pin.is_none_or(|pin| pin == machine.id)
        && (needs.hardware.is_none() || needs.hardware == machine.hardware)
        && image
        && engine
        && has_room(inventory, machine, asked)
        && neighbours_agree(inventory, machine, asked)
}

fn has_room(inventory: &Inventory, machine: &Machine, asked: &Instance) -> bool {
    let running = others(inventory, machine, asked).filter(|other| other.activity == Activity::Running);
    let with_overhead = |memory: Mib| u64::from(memory.0) + u64::from(machine.instance_overhead_mib.0);
    let memory: u64 = running
        .clone()
        .map(|other| with_overhead(other.needs.memory_mib))
        .sum();
    let vcpus: u32 = running.map(|other| other.needs.vcpus).sum();
    let offered = f64::from(machine.memory_mib.0 - machine.reserved.memory_mib.0) * machine.overcommit.memory;
    let limit = machine
        .overcommit
        .cpu
        .map(|ratio| (f64::from(machine.threads) - machine.reserved.threads) * ratio);
    let room_to_run = asked.activity == Activity::Stopped
        || (as_f64(memory + with_overhead(asked.needs.memory_mib)) <= offered
            && limit.is_none_or(|limit| f64::from(vcpus + asked.needs.vcpus) <= limit));
    asked.needs.vcpus <= machine.threads && room_to_run && has_disks(inventory, machine, asked)
}

/// Whatever goes where: what must be in a storage fits there, and all together fit in all.
fn has_disks(inventory: &Inventory, machine: &Machine, asked: &Instance) -> bool {
    let wanted: u64 = asked
        .needs
        .disks
        .iter()
        .map(|disk| u64::from(disk.size_mib.0))
        .sum();
    if asked.needs.disks.is_empty() {
        return true;
    }
    let held = others(inventory, machine, asked).flat_map(|other| &other.needs.disks);
    let on = |name: &str, disks: &mut dyn Iterator<Item = &DiskNeed>| {
        disks
            .filter(|disk| disk.storage.as_deref() == Some(name))
            .map(|disk| u64::from(disk.size_mib.0))
            .sum::<u64>()
    };
    // What asks for nothing finds it even where more is held than there is.
    let fits = |storage: &Storage| {
        let wanted = on(&storage.name, &mut asked.needs.disks.iter());
        let held = on(&storage.name, &mut held.clone());
        wanted == 0 || held + wanted <= u64::from(storage.capacity_mib.0)
    };
    let capacity: u64 = machine
        .storages
        .iter()
        .map(|storage| u64::from(storage.capacity_mib.0))
        .sum();
    let promised: u64 = held
        .clone()
        .filter(|disk| {
            disk.storage
                .as_ref()
                .is_none_or(|name| machine.storages.iter().any(|storage| storage.name == *name))
        })
        .map(|disk| u64::from(disk.size_mib.0))
        .sum();
    let each_fits = asked
        .needs
        .disks
        .iter()
        .filter_map(|disk| disk.storage.as_ref())
        .all(|name| {
            let storage = machine.storages.iter().find(|storage| storage.name == *name);
            storage.is_some_and(fits)
        });
    // Of several storages, one may hold more than it has while another is empty: then only what must be in one can be judged.
    let smallest = machine
        .storages
        .iter()
        .map(|storage| u64::from(storage.capacity_mib.0))
        .min();
    let is_clear = machine.storages.len() <= 1 || smallest.is_some_and(|smallest| promised <= smallest);
    each_fits && (wanted == 0 || !is_clear || promised + wanted <= capacity)
}

fn neighbours_agree(inventory: &Inventory, machine: &Machine, asked: &Instance) -> bool {
    let placed = |other: &&Instance| other.machine.is_some() && other.id != asked.id;
    let own = asked
        .needs
        .affinities
        .iter()
        .filter(|wish| wish.hard)
        .all(|wish| {
            let together = wish.kind == AffinityKind::Together;
            match &wish.target {
                AffinityTarget::Tag { name } => machine.tags.contains(name) == together,
                AffinityTarget::Site { name } => (machine.site.as_ref() == Some(name)) == together,
                AffinityTarget::Instance { id } => {
                    let other = inventory
                        .instances
                        .iter()
                        .filter(placed)
                        .find(|other| other.id == *id);
                    other.is_none_or(|other| (other.machine == Some(machine.id)) == together)
                }
                AffinityTarget::Group { name } => {
                    let mut members = inventory
                        .instances
                        .iter()
                        .filter(placed)
                        .filter(|one| one.needs.group.as_ref() == Some(name));
                    let here = members.clone().any(|one| one.machine == Some(machine.id));
                    if together {
                        here || members.next().is_none()
                    } else {
                        !here
                    }
                }
            }
        });
    // Whoever is placed would sign the same wishes again with the newcomer there.
    let theirs = inventory.instances.iter().filter(placed).all(|other| {
        other
            .needs
            .affinities
            .iter()
            .filter(|wish| wish.hard)
            .all(|wish| {
                let beside = other.machine == Some(machine.id);
                match (&wish.target, wish.kind) {
                    (AffinityTarget::Instance { id }, AffinityKind::Together) if *id == asked.id => beside,
                    (AffinityTarget::Instance { id }, AffinityKind::Apart) if *id == asked.id => !beside,
                    (AffinityTarget::Group { name }, kind) if asked.needs.group.as_ref() == Some(name) => {
                        let mut fellows = inventory.instances.iter().filter(placed);
                        let met_without =
                            fellows.any(|one| one.id != other.id && one.needs.group.as_ref() == Some(name));
                        match kind {
                            AffinityKind::Apart => !beside,
                            AffinityKind::Together => beside || met_without,
                        }
                    }
                    _ => true,
                }
            })
    });
    own && theirs
}

#[expect(clippy::cast_precision_loss, reason = "small sizes")]
fn as_f64(mib: u64) -> f64 {
    mib as f64
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_filter_passes_what_admission_would_refuse(inventory in any_inventory(4, 8)) {
        let pool = pool_of(&inventory);
        for (place, asked) in inventory.instances.iter().enumerate() {
            let subject = Subject::of(&pool, instance_index(place));
            for (number, machine) in inventory.machines.iter().enumerate() {
                let question = subject.on(machine_index(number));
                let passes = passes(&question);
                if passes {
                    prop_assert!(
                        admits(&inventory, machine, asked),
                        "{} on {}: {:?}", asked.name, machine.name, asked
                    );
                }
                let refusals = unmet(&question);
                prop_assert_eq!(passes, refusals.is_empty());
                for refusal in refusals {
                    prop_assert!(!refusal.to_string().is_empty());
                }
            }
        }
    }

    #[test]
    fn what_admission_takes_passes_where_disks_leave_no_choice(inventory in any_inventory(4, 8)) {
        let mut inventory = inventory;
        for machine in &mut inventory.machines {
            machine.storages.truncate(1);
        }
        let pool = pool_of(&inventory);
        for (place, asked) in inventory.instances.iter().enumerate() {
            let subject = Subject::of(&pool, instance_index(place));
            for (number, machine) in inventory.machines.iter().enumerate() {
                if admits(&inventory, machine, asked) {
                    let refusals = unmet(&subject.on(machine_index(number)));
                    prop_assert!(refusals.is_empty(), "{} on {}: {:?}", asked.name, machine.name, refusals);
                }
            }
        }
    }
}

/// Storages of 30 and of 25 GiB: the smaller disk must not take the larger one's only place.
#[test]
fn disks_find_their_places_in_whichever_order_they_are_listed() {
    let mut inventory = Inventory::empty();
    let mut holder = machine(0);
    holder.storages = [("fast", 30), ("local", 25)]
        .map(|(name, capacity)| Storage {
            name: name.into(),
            capacity_mib: gib(capacity),
        })
        .into();
    inventory.machines = vec![holder];
    for sizes in [[10, 30], [30, 10]] {
        let mut needs = Needs::new(1, gib(1));
        needs.disks = sizes
            .map(|size| DiskNeed {
                size_mib: gib(size),
                storage: None,
            })
            .into();
        inventory.instances = vec![instance(0, needs)];
        let pool = pool_of(&inventory);
        let refusals = unmet(&Subject::of(&pool, instance_index(0)).on(machine_index(0)));
        assert!(refusals.is_empty(), "{refusals:?}");
    }
}

/// The one whose storage is named is where it must be, whoever comes first.
#[test]
fn a_disk_that_may_be_anywhere_takes_no_room_that_another_one_must_have() {
    let mut inventory = Inventory::empty();
    let mut holder = machine(0);
    holder.storages = [("fast", 30), ("local", 25)]
        .map(|(name, capacity)| Storage {
            name: name.into(),
            capacity_mib: gib(capacity),
        })
        .into();
    inventory.machines = vec![holder];
    let with_disk = |number: usize, size: u32, storage: Option<&str>| {
        let mut needs = Needs::new(1, gib(1));
        needs.disks = vec![DiskNeed {
            size_mib: gib(size),
            storage: storage.map(str::to_owned),
        }];
        Instance {
            machine: Some(inventory.machines[0].id),
            ..instance(number, needs)
        }
    };
    let instances = vec![with_disk(0, 20, None), with_disk(1, 25, Some("fast"))];
    inventory.instances = instances;
    let pool = pool_of(&inventory);
    for storage in &pool.machine(machine_index(0)).storages {
        assert!(storage.promised_mib <= storage.capacity_mib, "{storage:?}");
    }
}
