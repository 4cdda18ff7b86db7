//! The pool as decisions see it: an inventory with its words turned into numbers, and sums that follow every change at once.

mod anew;
mod asked;
mod demand;
mod disks;
mod index;
mod load;
mod names;
mod presence;
mod seat;

use std::collections::HashMap;

use uuid::Uuid;

use anew::Rest;
use presence::Neighbourhood;

use crate::forecast::Effort;
use crate::inventory::{Activity, Instance, Inventory, InventoryError, Machine, MachineState};

pub use asked::{Asked, AskedAffinity, AskedDisk, AskedTarget, Pin};
pub use demand::Demand;
pub use disks::{DiskMisfit, GivenBack};
pub use index::{DIRECTIONS, Index, Marks, Node, Point, Reach, weighed};
pub use load::{Imbalance, Load};
pub use names::{Groups, HardwareClasses, Images, Name, Names, Sites, Storages, Tags, Vocabularies};
pub use presence::{Presence, Watchers};
pub use seat::{InstanceSeat, MachineSeat, StorageRoom};

/// A machine's place in a [`Pool`]: the number of its place in the inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineIndex(pub u32);

/// An instance's place in a [`Pool`]: the number of its place in the inventory, or later for one that was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceIndex(pub u32);

/// Where an instance was: its machine, and the storages of its disks there.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    machine: MachineIndex,
    disk_places: Box<[Option<u32>]>,
}

/// What all machines of a pool offer together.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Offered {
    /// Threads.
    pub threads: f64,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Disk, MiB.
    pub disk_mib: u64,
}

/// The pool as decisions see it.
///
/// Invariants: an instance is in the list of exactly the machine that it names, or of none; every machine's promises are the sums over
/// its list (and what its agent counts beside it); the imbalance is that of the machines that are ready.
#[derive(Debug, Clone)]
pub struct Pool {
    version: u32,
    now_s: i64,
    words: Vocabularies,
    machines: Vec<MachineSeat>,
    instances: Vec<InstanceSeat>,
    // Looked up, never walked: their order decides nothing.
    machine_numbers: HashMap<Uuid, MachineIndex>,
    instance_numbers: HashMap<Uuid, InstanceIndex>,
    neighbourhood: Neighbourhood,
    imbalance: Imbalance,
    /// How well demands are foretold.
    effort: Effort,
    offered: Offered,
    /// How many instances have a machine.
    placed: u32,
    /// Made when it is first asked for.
    index: Option<Index>,
    /// Machines that have changed since the index was refreshed, some more than once.
    changed: Vec<MachineIndex>,
}

impl Pool {
    /// Makes a pool of an inventory, as seen at `now_s` (seconds since 1970-01-01 UTC).
    ///
    /// # Errors
    /// What [`Inventory::check`] finds.
    pub fn new(inventory: &Inventory, now_s: i64) -> Result<Self, InventoryError> {
        inventory.check()?;
        let mut pool = Self {
            version: inventory.version,
            now_s,
            words: Vocabularies::default(),
            machines: Vec::with_capacity(inventory.machines.len()),
            instances: Vec::with_capacity(inventory.instances.len()),
            machine_numbers: HashMap::with_capacity(inventory.machines.len()),
            instance_numbers: HashMap::with_capacity(inventory.instances.len()),
            neighbourhood: Neighbourhood::default(),
            imbalance: Imbalance::default(),
            effort: Demand::effort_for(series(inventory)),
            offered: Offered::default(),
            placed: 0,
            index: None,
            changed: Vec::new(),
        };
        for machine in &inventory.machines {
            pool.take_in_machine(machine);
        }
        for instance in &inventory.instances {
            pool.take_in_instance(instance);
        }
        pool.lay_out_disks();
        for machine in &inventory.machines {
            pool.account_for_the_rest(machine);
        }
        Ok(pool)
    }

    /// The version of the snapshot that it was made from.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The moment that decisions are made for, in seconds since 1970-01-01 UTC.
    pub fn now_s(&self) -> i64 {
        self.now_s
    }

    /// All words.
    pub fn words(&self) -> &Vocabularies {
        &self.words
    }

    /// All machines with their places.
    pub fn machines(&self) -> impl ExactSizeIterator<Item = (MachineIndex, &MachineSeat)> {
        self.machines
            .iter()
            .enumerate()
            .map(|(number, seat)| (MachineIndex(to_u32(number)), seat))
    }

    /// All instances with their places.
    pub fn instances(&self) -> impl ExactSizeIterator<Item = (InstanceIndex, &InstanceSeat)> {
        self.instances
            .iter()
            .enumerate()
            .map(|(number, seat)| (InstanceIndex(to_u32(number)), seat))
    }

    /// A machine.
    ///
    /// # Panics
    /// On an index of another pool.
    pub fn machine(&self, machine: MachineIndex) -> &MachineSeat {
        &self.machines[machine.0 as usize]
    }

    /// An instance.
    ///
    /// # Panics
    /// On an index of another pool.
    pub fn instance(&self, instance: InstanceIndex) -> &InstanceSeat {
        &self.instances[instance.0 as usize]
    }

    /// The machine of this identity.
    pub fn machine_of_id(&self, id: Uuid) -> Option<MachineIndex> {
        self.machine_numbers.get(&id).copied()
    }

    /// The instance of this identity.
    pub fn instance_of_id(&self, id: Uuid) -> Option<InstanceIndex> {
        self.instance_numbers.get(&id).copied()
    }

    /// What all machines offer together, whatever their state.
    pub fn offered(&self) -> Offered {
        self.offered
    }

    /// How many instances have a machine.
    pub fn placed(&self) -> u32 {
        self.placed
    }

    /// Where the instances of a group are; `None` where none of it ever had a machine.
    pub fn group(&self, group: Name<Groups>) -> Option<&Presence> {
        self.neighbourhood.group(group)
    }

    /// Which placed instances have a hard wish about an instance or a group; `None` where none ever had.
    pub fn watchers(&self, target: AskedTarget) -> Option<&Watchers> {
        self.neighbourhood.watchers(target)
    }

    /// How unevenly the ready machines are loaded.
    pub fn imbalance(&self) -> &Imbalance {
        &self.imbalance
    }

    /// Puts an instance on a machine. Nothing is checked: filters do that before.
    pub fn seat(&mut self, instance: InstanceIndex, machine: MachineIndex) {
        self.unseat(instance);
        let asked = &self.instances[instance.0 as usize].asked;
        let disk_places = self.machines[machine.0 as usize].disk_places(&asked.disks);
        self.seat_with(instance, machine, disk_places);
    }

    fn seat_with(&mut self, instance: InstanceIndex, machine: MachineIndex, disk_places: Box<[Option<u32>]>) {
        let held = &mut self.instances[instance.0 as usize];
        held.machine = Some(machine);
        held.disk_places = disk_places;
        self.machines[machine.0 as usize].instances.push(instance);
        self.promise(instance, machine, Change::Made);
    }

    /// Where an instance is, to put it back there after something was tried.
    pub(crate) fn place_of(&self, instance: InstanceIndex) -> Option<Place> {
        let held = self.instance(instance);
        held.machine.map(|machine| Place {
            machine,
            disk_places: held.disk_places.clone(),
        })
    }

    /// Puts an instance back where it was, its disks included: a disk that names no storage would else go where there is most room now.
    pub(crate) fn put_back(&mut self, instance: InstanceIndex, place: Option<Place>) {
        self.unseat(instance);
        if let Some(Place { machine, disk_places }) = place {
            self.seat_with(instance, machine, disk_places);
        }
    }

    /// Takes an instance from its machine; one without a machine stays as it is.
    pub fn unseat(&mut self, instance: InstanceIndex) {
        let Some(machine) = self.instances[instance.0 as usize].machine.take() else {
            return;
        };
        self.machines[machine.0 as usize]
            .instances
            .retain(|held| *held != instance);
        self.promise(instance, machine, Change::TakenBack);
    }

    /// Adds an instance that has no machine yet.
    pub fn add_instance(&mut self, id: Uuid, name: &str, asked: Asked) -> InstanceIndex {
        let demand = Demand::assumed(asked.vcpus);
        self.push_instance(InstanceSeat {
            id,
            name: name.into(),
            asked,
            activity: Activity::Running,
            machine: None,
            demand,
            moved_at_s: None,
            disk_places: Box::default(),
        })
    }

    /// Adds a machine, with nothing on it.
    ///
    /// It is taken as it is: [`Inventory::check`] is for whoever has it from outside.
    pub fn add_machine(&mut self, machine: &Machine) -> MachineIndex {
        let index = MachineIndex(to_u32(self.machines.len()));
        self.take_in_machine(machine);
        self.account_for_the_rest(machine);
        index
    }

    /// Adds an instance as an inventory has it, on its machine if it names one of this pool.
    pub fn add_known_instance(&mut self, instance: &Instance) -> InstanceIndex {
        let index = InstanceIndex(to_u32(self.instances.len()));
        self.take_in_instance(instance);
        index
    }

    /// Adds a double of an instance, without a machine: it needs and uses the same, and nobody finds it by the instance's identity. It
    /// stands for what a move holds on its target while the source still has the instance.
    pub fn add_double(&mut self, of: InstanceIndex) -> InstanceIndex {
        let double = InstanceSeat {
            machine: None,
            disk_places: Box::default(),
            ..self.instance(of).clone()
        };
        let index = InstanceIndex(to_u32(self.instances.len()));
        self.instances.push(double);
        index
    }

    /// Takes in the instances, without their machines, and the words that a later state of the same pool has beyond this one.
    pub fn learn_from(&mut self, later: &Self) {
        if later.instances.len() <= self.instances.len() {
            return;
        }
        self.words.clone_from(&later.words);
        for seat in later.instances.iter().skip(self.instances.len()) {
            self.push_instance(InstanceSeat {
                machine: None,
                disk_places: Box::default(),
                ..seat.clone()
            });
        }
    }

    /// Changes whether a machine takes instances.
    pub fn set_machine_state(&mut self, machine: MachineIndex, state: MachineState) {
        self.note_change(machine);
        let seat = &mut self.machines[machine.0 as usize];
        let before = seat.is_balanced();
        seat.state = state;
        match (before, seat.is_balanced()) {
            (true, false) => self.imbalance.remove(seat.load()),
            (false, true) => self.imbalance.add(seat.load()),
            (true, true) | (false, false) => {}
        }
    }

    /// Changes what an instance is expected to use.
    pub fn set_demand(&mut self, instance: InstanceIndex, demand: Demand) {
        let demand = demand.sound();
        let seat = &mut self.instances[instance.0 as usize];
        let before = std::mem::replace(&mut seat.demand, demand);
        let (Some(machine), Activity::Running) = (seat.machine, seat.activity) else {
            return;
        };
        self.change_machine(machine, |seat| {
            seat.demand.remove(before);
            seat.demand.add(demand);
        });
    }

    /// Brings the index up to date with every change since. Searches are fast after it, and look at every machine without it.
    pub fn refresh_index(&mut self) {
        let index = match &mut self.index {
            Some(index)
                if self.changed.len() <= index.machines_count()
                    && index.machines_count() == self.machines.len() =>
            {
                index
            }
            // Nothing is kept of an index that is all but wholly out of date, or knows nothing of a machine that was added.
            index => index.insert(Index::new(self.machines.iter().map(Point::of))),
        };
        // Who tries things out changes the same few machines again and again.
        self.changed.sort_unstable();
        self.changed.dedup();
        for machine in self.changed.drain(..) {
            if let Some(seat) = self.machines.get(machine.0 as usize) {
                index.change(machine, Point::of(seat));
            }
        }
        index.settle();
    }

    /// The index, if it is up to date.
    pub fn index(&self) -> Option<&Index> {
        self.index.as_ref().filter(|_| self.changed.is_empty())
    }

    fn note_change(&mut self, machine: MachineIndex) {
        // Beyond one for each machine, the index is made anew, and which ones have changed is of no interest.
        if self
            .index
            .as_ref()
            .is_some_and(|index| self.changed.len() <= index.machines_count())
        {
            self.changed.push(machine);
        }
    }

    fn push_instance(&mut self, seat: InstanceSeat) -> InstanceIndex {
        let index = InstanceIndex(to_u32(self.instances.len()));
        self.instance_numbers.insert(seat.id, index);
        self.instances.push(seat);
        index
    }

    /// Every change of a machine's sums goes through here, so that the imbalance follows.
    fn change_machine(&mut self, machine: MachineIndex, change: impl FnOnce(&mut MachineSeat)) {
        self.note_change(machine);
        let seat = &mut self.machines[machine.0 as usize];
        let before = seat.load();
        change(seat);
        if seat.is_balanced() {
            self.imbalance.change(before, seat.load());
        }
    }

    fn promise(&mut self, instance: InstanceIndex, machine: MachineIndex, change: Change) {
        self.note_change(machine);
        let held = &mut self.instances[instance.0 as usize];
        let seat = &mut self.machines[machine.0 as usize];
        let before = seat.load();
        let there = matches!(change, Change::Made);
        self.placed = if there {
            self.placed + 1
        } else {
            self.placed.saturating_sub(1)
        };
        self.neighbourhood.change(&held.asked, machine, instance, there);
        for (disk, place) in held.asked.disks.iter().zip(&held.disk_places) {
            if let Some(storage) = place.and_then(|place| seat.storages.get_mut(place as usize)) {
                change.apply(&mut storage.promised_mib, disk.size_mib);
            }
        }
        if held.activity == Activity::Running {
            change.apply(&mut seat.vcpus_promised, u64::from(held.asked.vcpus));
            change.apply(
                &mut seat.memory_promised_mib,
                held.asked.memory_mib + seat.overhead_mib,
            );
            match change {
                Change::Made => seat.demand.add(held.demand),
                Change::TakenBack => seat.demand.remove(held.demand),
            }
        }
        if seat.is_balanced() {
            self.imbalance.change(before, seat.load());
        }
    }

    fn take_in_machine(&mut self, machine: &Machine) {
        let index = MachineIndex(to_u32(self.machines.len()));
        self.machine_numbers.insert(machine.id, index);
        let seat = machine_seat(&mut self.words, machine);
        if seat.is_balanced() {
            self.imbalance.add(seat.load());
        }
        self.offered.threads += seat.offered_threads;
        self.offered.memory_mib += seat.memory_offered_mib;
        self.offered.disk_mib += seat
            .storages
            .iter()
            .map(|storage| storage.capacity_mib)
            .sum::<u64>();
        self.machines.push(seat);
    }

    fn take_in_instance(&mut self, instance: &Instance) {
        let asked = self.ask(&instance.needs);
        let demand = instance
            .usage
            .as_ref()
            .and_then(|usage| Demand::of_usage(usage, self.now_s, f64::from(asked.vcpus), self.effort))
            .unwrap_or_else(|| Demand::assumed(asked.vcpus));
        let index = self.push_instance(InstanceSeat {
            id: instance.id,
            name: instance.name.as_str().into(),
            asked,
            activity: instance.activity,
            machine: None,
            demand,
            moved_at_s: instance.moved_at_s,
            disk_places: Box::default(),
        });
        if let Some(machine) = instance.machine.and_then(|id| self.machine_of_id(id)) {
            self.seat(index, machine);
        }
    }
}

/// How many things were measured.
fn series(inventory: &Inventory) -> usize {
    let machines = inventory
        .machines
        .iter()
        .filter(|machine| machine.usage.is_some());
    let instances = inventory
        .instances
        .iter()
        .filter(|instance| instance.usage.is_some());
    machines.count() + instances.count()
}

#[derive(Clone, Copy)]
enum Change {
    Made,
    TakenBack,
}

impl Change {
    fn apply(self, sum: &mut u64, amount: u64) {
        *sum = match self {
            Self::Made => sum.saturating_add(amount),
            Self::TakenBack => sum.saturating_sub(amount),
        };
    }
}

fn machine_seat(words: &mut Vocabularies, machine: &Machine) -> MachineSeat {
    let mut tags: Box<[_]> = machine.tags.iter().map(|word| words.tags.learn(word)).collect();
    tags.sort_unstable();
    let mut images: Box<[_]> = machine
        .images
        .iter()
        .map(|image| (words.images.learn(&image.name), image.state))
        .collect();
    images.sort_unstable_by_key(|(name, _)| *name);
    let offered_mib = machine.memory_mib.saturating_sub(machine.reserved.memory_mib);
    MachineSeat {
        id: machine.id,
        name: machine.name.as_str().into(),
        state: machine.state,
        threads: machine.threads,
        offered_threads: (f64::from(machine.threads) - machine.reserved.threads).max(0.0),
        vcpus_max: machine
            .overcommit
            .cpu
            .map(|ratio| floor((f64::from(machine.threads) - machine.reserved.threads) * ratio)),
        vcpus_promised: 0,
        memory_offered_mib: floor(f64::from(offered_mib.0) * machine.overcommit.memory),
        memory_promised_mib: 0,
        overhead_mib: u64::from(machine.instance_overhead_mib.0),
        storages: machine
            .storages
            .iter()
            .map(|storage| StorageRoom {
                name: words.storages.learn(&storage.name),
                capacity_mib: u64::from(storage.capacity_mib.0),
                promised_mib: 0,
            })
            .collect(),
        disk_unaccounted_mib: 0,
        demand: Demand::default(),
        rest: Rest::default(),
        hardware: machine.hardware.as_deref().map(|word| words.hardware.learn(word)),
        tags,
        site: machine.site.as_deref().map(|word| words.sites.learn(word)),
        images,
        engines: machine.engines.as_slice().into(),
        power: machine.power.clone(),
        migration_mib_per_s: machine.migration_mib_per_s,
        instances: Vec::new(),
    }
}

fn to_u32(number: usize) -> u32 {
    // INSTANCES_MAX and MACHINES_MAX are far below.
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float's cast saturates, and nothing negative is offered"
)]
fn floor(value: f64) -> u64 {
    value.max(0.0).floor() as u64
}
