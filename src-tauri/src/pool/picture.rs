//! The picture itself: plain values, changed by what sessions see, with a record of what has not been published yet.

use std::collections::{BTreeSet, HashMap};

use api::{Event, EventBody, Instance, Snapshot};
use pool::{ImageAvailability, Machine, Mib, Readiness};
use uuid::Uuid;

use crate::activity::{Observed, observe, observe_deleted};
use crate::contract::{Link, PlacedInstance, PoolChange, PoolMachine, PoolPicture};

/// Two addresses of the pool lead to one machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is the same machine as {name}")]
pub struct SameMachine {
    /// The name of the one that was there first.
    pub name: String,
}

/// All machines and instances as last seen, and what has changed since the last published version.
///
/// Pure: no clock, no I/O. Every change is whole and may be applied twice, so that a reader who has a newer picture than a delta's
/// start loses nothing.
#[derive(Debug, Default)]
pub struct LivePicture {
    version: u32,
    machines: Vec<Seen>,
    instances: HashMap<Uuid, PlacedInstance>,
    pending: Pending,
}

#[derive(Debug)]
struct Seen {
    machine: PoolMachine,
    /// True from the first snapshot of this run on: only then is a difference something that happened.
    witnessed: bool,
}

#[derive(Debug, Default)]
struct Pending {
    machines: BTreeSet<Uuid>,
    removed_machines: BTreeSet<Uuid>,
    instances: BTreeSet<Uuid>,
    removed_instances: BTreeSet<Uuid>,
    /// Something other than a measurement changed.
    urgent: bool,
}

/// How soon a change is to reach the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Nothing has changed.
    None,
    /// Only measurements have.
    Calm,
    /// Somebody may be waiting for it.
    Urgent,
}

impl LivePicture {
    /// The whole at the last published version; take the pending change first, or it is not in the version's number.
    pub fn picture(&self) -> PoolPicture {
        let mut instances: Vec<PlacedInstance> = self.instances.values().cloned().collect();
        instances.sort_by_key(|placed| (placed.instance.created_at, placed.instance.id));
        PoolPicture {
            version: self.version,
            machines: self.machines.iter().map(|seen| seen.machine.clone()).collect(),
            instances,
        }
    }

    /// How soon [`take_change`](Self::take_change) should be called.
    pub fn urgency(&self) -> Urgency {
        let pending = &self.pending;
        let nothing = pending.machines.is_empty()
            && pending.removed_machines.is_empty()
            && pending.instances.is_empty()
            && pending.removed_instances.is_empty();
        match (nothing, pending.urgent) {
            (true, _) => Urgency::None,
            (false, false) => Urgency::Calm,
            (false, true) => Urgency::Urgent,
        }
    }

    /// What has changed since the last call, as the next version; `None` where nothing has.
    pub fn take_change(&mut self) -> Option<PoolChange> {
        if self.urgency() == Urgency::None {
            return None;
        }
        let pending = std::mem::take(&mut self.pending);
        let from = self.version;
        self.version = from.wrapping_add(1);
        Some(PoolChange {
            from,
            to: self.version,
            machines: self
                .machines
                .iter()
                .filter(|seen| pending.machines.contains(&seen.machine.id))
                .map(|seen| seen.machine.clone())
                .collect(),
            removed_machines: pending.removed_machines.into_iter().collect(),
            instances: pending
                .instances
                .iter()
                .filter_map(|id| self.instances.get(id).cloned())
                .collect(),
            removed_instances: pending.removed_instances.into_iter().collect(),
        })
    }

    /// A machine of the pool, by its identity there.
    pub fn machine(&self, id: Uuid) -> Option<&PoolMachine> {
        self.machines
            .iter()
            .map(|seen| &seen.machine)
            .find(|machine| machine.id == id)
    }

    /// All machines, in the order in which they were added.
    pub fn machines(&self) -> impl Iterator<Item = &PoolMachine> {
        self.machines.iter().map(|seen| &seen.machine)
    }

    /// An instance, by its id.
    pub fn instance(&self, id: Uuid) -> Option<&PlacedInstance> {
        self.instances.get(&id)
    }

    /// The names of all instances, in no order.
    pub fn instance_names(&self) -> impl Iterator<Item = &str> {
        self.instances
            .values()
            .map(|placed| placed.instance.spec.name.as_str())
    }

    /// The machines as placement sees them. One without a working link, or never seen, is unreachable.
    pub fn placement(&self) -> Vec<Machine> {
        self.machines().map(placement_of).collect()
    }

    /// Puts a machine at the end of the picture; one that is there already is replaced. The identity of a machine that left is never
    /// used again: whoever adds the same machine anew gives it another.
    pub fn add_machine(&mut self, machine: PoolMachine) {
        let id = machine.id;
        match self.seen_mut(id) {
            Some(seen) => seen.machine = machine,
            None => self.machines.push(Seen {
                machine,
                witnessed: false,
            }),
        }
        self.touch_machine(id, true);
    }

    /// Takes a machine and its instances out of the picture. Nothing is observed: on the machine all goes on.
    pub fn remove_machine(&mut self, id: Uuid) {
        let before = self.machines.len();
        self.machines.retain(|seen| seen.machine.id != id);
        if self.machines.len() == before {
            return;
        }
        for gone in self.instances_of(id) {
            self.drop_instance(gone);
        }
        self.pending.machines.remove(&id);
        self.pending.removed_machines.insert(id);
        self.pending.urgent = true;
    }

    /// Changes the state of a machine's link; the rest of what is shown of it stays.
    pub fn set_link(&mut self, id: Uuid, link: Link) {
        let Some(seen) = self.seen_mut(id) else { return };
        if seen.machine.link == link {
            return;
        }
        seen.machine.link = link;
        self.touch_machine(id, true);
    }

    /// Another machine of the pool that is the same host.
    pub fn same_host(&self, id: Uuid, host: Uuid) -> Option<SameMachine> {
        self.machines()
            .find(|other| other.id != id && other.host.as_ref().is_some_and(|facts| facts.id == host))
            .map(|other| SameMachine {
                name: other.name.clone(),
            })
    }

    /// Replaces all that is shown of a machine. What differs from the picture before was missed, and is observed now, unless this is
    /// the first sight of the machine.
    ///
    /// # Errors
    /// Another machine of the pool is the same host; nothing changes then.
    pub fn apply_snapshot(
        &mut self,
        id: Uuid,
        snapshot: Snapshot,
        link: Link,
    ) -> Result<Vec<Observed>, SameMachine> {
        if let Some(same) = self.same_host(id, snapshot.host.id) {
            return Err(same);
        }
        let Some(seen) = self.seen_mut(id) else {
            return Ok(Vec::new());
        };
        let witnessed = std::mem::replace(&mut seen.witnessed, true);
        seen.machine.host = Some(snapshot.host);
        seen.machine.usage = Some(snapshot.usage);
        seen.machine.images = snapshot.images;
        seen.machine.link = link;
        self.touch_machine(id, true);

        let mut observed = Vec::new();
        let kept: BTreeSet<Uuid> = snapshot.instances.iter().map(|instance| instance.id).collect();
        for gone in self.instances_of(id) {
            if !kept.contains(&gone)
                && let Some(placed) = self.drop_instance(gone)
            {
                observed.push(observe_deleted(&placed.instance));
            }
        }
        for instance in snapshot.instances {
            observed.extend(self.put_instance(id, instance));
        }
        if !witnessed {
            observed.clear();
        }
        Ok(observed)
    }

    /// Applies one event of a machine and answers what there is to tell about it.
    pub fn apply_event(&mut self, id: Uuid, event: Event) -> Vec<Observed> {
        if self.machine(id).is_none() {
            return Vec::new();
        }
        match event.body {
            EventBody::InstanceChanged { instance } => self.put_instance(id, instance),
            EventBody::InstanceDeleted { id: gone } => {
                let ours = self
                    .instances
                    .get(&gone)
                    .is_some_and(|placed| placed.machine == id);
                let dropped = if ours { self.drop_instance(gone) } else { None };
                dropped
                    .map(|placed| observe_deleted(&placed.instance))
                    .into_iter()
                    .collect()
            }
            EventBody::UsageSampled { host, instances } => {
                if let Some(seen) = self.seen_mut(id) {
                    seen.machine.usage = Some(host);
                    self.touch_machine(id, false);
                }
                for (instance, usage) in instances {
                    if let Some(placed) = self.instances.get_mut(&instance)
                        && placed.machine == id
                    {
                        placed.instance.usage = Some(usage);
                        self.pending.instances.insert(instance);
                    }
                }
                Vec::new()
            }
            EventBody::ImagesChanged { images } => {
                if let Some(seen) = self.seen_mut(id) {
                    seen.machine.images = images;
                    self.touch_machine(id, true);
                }
                Vec::new()
            }
        }
    }

    /// Shows an instance whose create was answered, unless it is there already: its events may have been faster than the answer, and
    /// newer.
    pub fn show_created(&mut self, machine: Uuid, instance: &Instance) -> Vec<Observed> {
        if self.instances.contains_key(&instance.id) || self.machine(machine).is_none() {
            return Vec::new();
        }
        self.put_instance(machine, instance.clone())
    }

    /// Ids are unique in the world by construction; where two machines claim one, the first that was seen keeps it, so that a copied
    /// or lying machine cannot take another's instance out of the window.
    fn put_instance(&mut self, machine: Uuid, instance: Instance) -> Vec<Observed> {
        let id = instance.id;
        let before = self.instances.get(&id);
        if let Some(placed) = before
            && placed.machine != machine
        {
            tracing::warn!(%machine, holder = %placed.machine, instance = %id, "two machines claim one instance");
            return Vec::new();
        }
        if before.is_some_and(|placed| placed.instance == instance) {
            return Vec::new();
        }
        let observed = observe(before.map(|placed| &placed.instance), &instance);
        self.instances.insert(id, PlacedInstance { machine, instance });
        self.pending.removed_instances.remove(&id);
        self.pending.instances.insert(id);
        self.pending.urgent = true;
        observed
    }

    fn drop_instance(&mut self, id: Uuid) -> Option<PlacedInstance> {
        let placed = self.instances.remove(&id)?;
        self.pending.instances.remove(&id);
        self.pending.removed_instances.insert(id);
        self.pending.urgent = true;
        Some(placed)
    }

    fn instances_of(&self, machine: Uuid) -> Vec<Uuid> {
        self.instances
            .iter()
            .filter(|(_, placed)| placed.machine == machine)
            .map(|(id, _)| *id)
            .collect()
    }

    fn seen_mut(&mut self, id: Uuid) -> Option<&mut Seen> {
        self.machines.iter_mut().find(|seen| seen.machine.id == id)
    }

    fn touch_machine(&mut self, id: Uuid, urgent: bool) {
        self.pending.machines.insert(id);
        self.pending.urgent |= urgent;
    }
}

/// What placement may count on: a machine without a working link offers nothing new, whatever it offered when last seen.
fn placement_of(machine: &PoolMachine) -> Machine {
    let host = machine.host.as_ref();
    let usage = machine.usage.as_ref();
    let connected = matches!(machine.link, Link::Connected { .. });
    Machine {
        id: machine.id,
        name: machine.name.clone(),
        readiness: if connected && host.is_some() {
            Readiness::Ready
        } else {
            Readiness::Unreachable
        },
        threads: host.map_or(0, |host| host.threads),
        memory_offered: host.map_or(Mib::ZERO, |host| host.memory_offered_mib),
        memory_free: usage.map_or(Mib::ZERO, |usage| usage.memory_free_mib),
        disk_free: usage.map_or(Mib::ZERO, |usage| usage.disk_free_mib),
        cpu_load: usage.map_or(0.0, |usage| usage.cpu_percent / 100.0),
        images: machine
            .images
            .iter()
            .map(|image| ImageAvailability {
                name: image.name.clone(),
                state: image.state,
            })
            .collect(),
        engines: host.map(|host| host.engines.clone()).unwrap_or_default(),
    }
}
