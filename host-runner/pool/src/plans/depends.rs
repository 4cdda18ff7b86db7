//! What of a pool a plan depends on, so that it can be told later whether it still holds.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use ts_rs::TS;
use uuid::Uuid;

use super::plan::{Plan, PowerChange};
use crate::Pool;
use crate::inventory::{Activity, MachineState};
use crate::state::{Asked, AskedTarget, InstanceSeat, MachineIndex, MachineSeat};

/// A machine that a plan depends on, as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct MachineThen {
    /// The machine.
    pub machine: Uuid,
    /// Its name.
    pub name: String,
    /// A digest of its state and of all that it offers.
    pub offer: String,
    /// A digest of the instances on it and of what they need.
    pub held: String,
}

/// An instance that a plan moves, as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct InstanceThen {
    /// The instance.
    pub instance: Uuid,
    /// Its name.
    pub name: String,
    /// Where it was.
    pub machine: Option<Uuid>,
    /// A digest of what it needs.
    pub needs: String,
}

/// Why a plan holds no more: the first of the changes that matter.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize, TS)]
#[serde(tag = "changed", rename_all = "snake_case")]
pub enum Changed {
    /// A machine that it needs is no longer in the pool.
    #[error("the plan no longer holds: the machine {name} is gone")]
    MachineGone {
        /// The machine.
        machine: Uuid,
        /// Its name.
        name: String,
    },
    /// A machine's state, or something that it offers, is another.
    #[error("the plan no longer holds: the machine {name} has another state or offers something else")]
    MachineOffer {
        /// The machine.
        machine: Uuid,
        /// Its name.
        name: String,
    },
    /// Other instances are on a machine, or they need something else.
    #[error("the plan no longer holds: the instances on {name} are not the same, or need something else")]
    MachineHolds {
        /// The machine.
        machine: Uuid,
        /// Its name.
        name: String,
    },
    /// An instance that would be moved is no longer in the pool.
    #[error("the plan no longer holds: the instance {name} is gone")]
    InstanceGone {
        /// The instance.
        instance: Uuid,
        /// Its name.
        name: String,
    },
    /// An instance that would be moved is elsewhere.
    #[error("the plan no longer holds: the instance {name} is {}", Whereabouts(is.as_deref()))]
    InstanceElsewhere {
        /// The instance.
        instance: Uuid,
        /// Its name.
        name: String,
        /// The name of the machine where it is now; absent for none.
        is: Option<String>,
    },
    /// An instance that would be moved needs something else, or has been started or stopped.
    #[error("the plan no longer holds: the instance {name} needs something else, or was started or stopped")]
    InstanceNeeds {
        /// The instance.
        instance: Uuid,
        /// Its name.
        name: String,
    },
}

struct Whereabouts<'a>(Option<&'a str>);

impl fmt::Display for Whereabouts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, "on {name} now"),
            None => f.write_str("on no machine now"),
        }
    }
}

/// What a plan depends on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, TS)]
pub struct DependsOn {
    /// The machines that something leaves or goes to, that are woken or put to sleep, or that the plan is about.
    pub machines: Vec<MachineThen>,
    /// The instances that are moved.
    pub instances: Vec<InstanceThen>,
}

impl DependsOn {
    /// All of it as one digest.
    pub(super) fn fingerprint(&self) -> String {
        let mut digest = Digest::default();
        for machine in &self.machines {
            digest.id(machine.machine);
            digest.text(&machine.offer);
            digest.text(&machine.held);
        }
        for instance in &self.instances {
            digest.id(instance.instance);
            digest.option(instance.machine, Digest::id);
            digest.text(&instance.needs);
        }
        digest.hex()
    }
}

impl Plan {
    /// Whether the plan can still be carried out in this pool, which may be a later state of the one that it was made from: nothing that it
    /// depends on has changed. Usage may have, and whatever happens on other machines.
    ///
    /// # Errors
    /// What has changed; of several changes the first, instances before machines.
    pub fn still_valid(&self, pool: &Pool) -> Result<(), Changed> {
        for then in &self.depends_on.instances {
            check_instance(pool, then)?;
        }
        for then in &self.depends_on.machines {
            check_machine(pool, then)?;
        }
        Ok(())
    }
}

fn check_instance(pool: &Pool, then: &InstanceThen) -> Result<(), Changed> {
    let (instance, name) = (then.instance, then.name.clone());
    let Some(index) = pool.instance_of_id(instance) else {
        return Err(Changed::InstanceGone { instance, name });
    };
    let now = pool.instance(index);
    let machine = now.machine.map(|machine| pool.machine(machine));
    if machine.map(|seat| seat.id) != then.machine {
        let is = machine.map(|seat| seat.name.to_string());
        return Err(Changed::InstanceElsewhere { instance, name, is });
    }
    if needs_digest(pool, now) != then.needs {
        return Err(Changed::InstanceNeeds { instance, name });
    }
    Ok(())
}

fn check_machine(pool: &Pool, then: &MachineThen) -> Result<(), Changed> {
    let (machine, name) = (then.machine, then.name.clone());
    let Some(index) = pool.machine_of_id(machine) else {
        return Err(Changed::MachineGone { machine, name });
    };
    if offer_digest(pool, pool.machine(index)) != then.offer {
        return Err(Changed::MachineOffer { machine, name });
    }
    if held_digest(pool, index) != then.held {
        return Err(Changed::MachineHolds { machine, name });
    }
    Ok(())
}

/// What a plan of these moves and power changes depends on.
pub(super) fn depends_on(pool: &Pool, plan: &Plan, about: Option<Uuid>) -> DependsOn {
    let mut machines: Vec<Uuid> = about.into_iter().collect();
    let mut instances: Vec<Uuid> = Vec::new();
    for made in plan.steps.iter().flat_map(|step| &step.moves) {
        machines.extend(made.from);
        machines.push(made.to);
        instances.push(made.instance);
    }
    for change in &plan.power {
        let (PowerChange::Wake { machine } | PowerChange::Sleep { machine }) = change;
        machines.push(*machine);
    }
    machines.sort_unstable();
    machines.dedup();
    instances.sort_unstable();
    instances.dedup();
    DependsOn {
        machines: machines
            .into_iter()
            .filter_map(|id| Some(machine_then(pool, pool.machine_of_id(id)?)))
            .collect(),
        instances: instances
            .into_iter()
            .filter_map(|id| Some(instance_then(pool, pool.instance(pool.instance_of_id(id)?))))
            .collect(),
    }
}

fn machine_then(pool: &Pool, machine: MachineIndex) -> MachineThen {
    let seat = pool.machine(machine);
    MachineThen {
        machine: seat.id,
        name: seat.name.to_string(),
        offer: offer_digest(pool, seat),
        held: held_digest(pool, machine),
    }
}

fn instance_then(pool: &Pool, seat: &InstanceSeat) -> InstanceThen {
    InstanceThen {
        instance: seat.id,
        name: seat.name.to_string(),
        machine: seat.machine.map(|machine| pool.machine(machine).id),
        needs: needs_digest(pool, seat),
    }
}

fn offer_digest(pool: &Pool, seat: &MachineSeat) -> String {
    let words = pool.words();
    let mut digest = Digest::default();
    digest.number(match seat.state {
        MachineState::Ready => 0,
        MachineState::Draining => 1,
        MachineState::Unreachable => 2,
        MachineState::Asleep => 3,
    });
    digest.number(u64::from(seat.threads));
    digest.number(seat.offered_threads.to_bits());
    digest.option(seat.vcpus_max, Digest::number);
    digest.number(seat.memory_offered_mib);
    digest.number(seat.overhead_mib);
    for storage in &seat.storages {
        digest.text(words.storages.word(storage.name));
        digest.number(storage.capacity_mib);
    }
    digest.option(seat.hardware, |digest, name| {
        digest.text(words.hardware.word(name));
    });
    digest.option(seat.site, |digest, name| digest.text(words.sites.word(name)));
    // Sorted by number in the pool; which number a word has differs between pools.
    let mut tags: Vec<&str> = seat.tags.iter().map(|name| words.tags.word(*name)).collect();
    tags.sort_unstable();
    for tag in tags {
        digest.text(tag);
    }
    let mut images: Vec<(&str, bool)> = seat
        .images
        .iter()
        .map(|(name, state)| (words.images.word(*name), *state == crate::ImageState::Ready))
        .collect();
    images.sort_unstable();
    for (image, is_ready) in images {
        digest.text(image);
        digest.number(u64::from(is_ready));
    }
    for engine in &seat.engines {
        digest.engine(*engine);
    }
    digest.hex()
}

fn held_digest(pool: &Pool, machine: MachineIndex) -> String {
    let mut held: Vec<&InstanceSeat> = pool
        .machine(machine)
        .instances
        .iter()
        .map(|index| pool.instance(*index))
        .collect();
    held.sort_unstable_by_key(|seat| seat.id);
    let mut digest = Digest::default();
    for seat in held {
        digest.id(seat.id);
        digest.needs(pool, seat);
    }
    digest.hex()
}

fn needs_digest(pool: &Pool, seat: &InstanceSeat) -> String {
    let mut digest = Digest::default();
    digest.needs(pool, seat);
    digest.hex()
}

/// FNV-1a with 64 bits: tells states apart that came about by themselves. It is no protection against someone who wants two to look alike,
/// and need not be: whoever carries a plan out asks the machines again.
struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn number(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }

    fn id(&mut self, id: Uuid) {
        self.bytes(id.as_bytes());
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
        // No text contains this byte, so the next one cannot be taken for a part of it.
        self.bytes(&[0xff]);
    }

    fn option<T>(&mut self, value: Option<T>, with: impl FnOnce(&mut Self, T)) {
        self.bytes(&[u8::from(value.is_some())]);
        if let Some(value) = value {
            with(self, value);
        }
    }

    fn engine(&mut self, engine: crate::EngineKind) {
        match engine {
            crate::EngineKind::Qemu => self.number(1),
            crate::EngineKind::Microvm => self.number(2),
        }
    }

    fn needs(&mut self, pool: &Pool, seat: &InstanceSeat) {
        let words = pool.words();
        let asked: &Asked = &seat.asked;
        self.number(u64::from(seat.activity == Activity::Running));
        self.number(u64::from(asked.vcpus));
        self.number(asked.memory_mib);
        for disk in &asked.disks {
            self.number(disk.size_mib);
            self.option(disk.storage, |digest, name| {
                digest.text(words.storages.word(name));
            });
        }
        self.option(asked.image, |digest, name| digest.text(words.images.word(name)));
        self.option(asked.engine, Self::engine);
        self.option(asked.hardware, |digest, name| {
            digest.text(words.hardware.word(name));
        });
        self.option(asked.group, |digest, name| digest.text(words.groups.word(name)));
        for affinity in asked.affinities.iter().filter(|affinity| affinity.hard) {
            self.number(affinity.kind as u64);
            match affinity.target {
                AskedTarget::Instance(id) => self.id(id),
                AskedTarget::Group(name) => self.text(words.groups.word(name)),
                AskedTarget::Tag(name) => self.text(words.tags.word(name)),
                AskedTarget::Site(name) => self.text(words.sites.word(name)),
            }
        }
        self.option(asked.pin, |digest, pin| digest.id(pin.id));
        self.number(asked.mobility as u64);
    }

    fn hex(&self) -> String {
        format!("{:016x}", self.0)
    }
}
