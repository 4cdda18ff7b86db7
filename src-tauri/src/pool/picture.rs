//! The picture itself: plain values, changed by what sessions see, with a record of what has not been published yet.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use api::{Event, EventBody, HostUsage, Instance, InstanceUsage, Snapshot, Timestamp};
use uuid::Uuid;

use super::usage::Pasts;
use super::whereabouts::{Sight, Whereabouts};
use crate::activity::{Observed, observe, observe_deleted};
use crate::contract::{Link, PlacedInstance, PoolChange, PoolMachine, PoolPicture};

/// How many machines and instances that were only measured a change carries at most: about 400 KiB of JSON, which a window reads
/// between two frames.
pub const MEASURED_PER_PUSH: usize = 500;

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
    /// Of machines of the pool only, as shares of all their threads.
    pub(super) machine_loads: Pasts,
    /// Of instances of the picture only, in threads.
    pub(super) instance_loads: Pasts,
    whereabouts: Whereabouts,
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
    /// Nothing but measurements of these changed.
    measured_machines: Queue,
    measured_instances: Queue,
}

impl Pending {
    fn nothing_urgent(&self) -> bool {
        self.machines.is_empty()
            && self.removed_machines.is_empty()
            && self.instances.is_empty()
            && self.removed_instances.is_empty()
    }

    fn measured(&self) -> usize {
        self.measured_machines.len() + self.measured_instances.len()
    }
}

/// How soon a change is to reach the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Nothing has changed.
    None,
    /// Only measurements have, and not many.
    Calm,
    /// Somebody may be waiting for it, or there is more than fits into one push.
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
        match (self.pending.nothing_urgent(), self.pending.measured()) {
            (false, _) => Urgency::Urgent,
            (true, 0) => Urgency::None,
            (true, measured) if measured > MEASURED_PER_PUSH => Urgency::Urgent,
            (true, _) => Urgency::Calm,
        }
    }

    /// What has changed since the last call, as the next version; `None` where nothing has. Of what was only measured, the
    /// [`MEASURED_PER_PUSH`] that have waited longest come along, the others wait for the next call.
    pub fn take_change(&mut self) -> Option<PoolChange> {
        self.take(MEASURED_PER_PUSH)
    }

    /// All that has changed since the last call, as the next version, however much it is; `None` where nothing has.
    pub fn take_whole_change(&mut self) -> Option<PoolChange> {
        self.take(usize::MAX)
    }

    fn take(&mut self, measured_max: usize) -> Option<PoolChange> {
        if self.urgency() == Urgency::None {
            return None;
        }
        let pending = &mut self.pending;
        let mut machines = std::mem::take(&mut pending.machines);
        machines.extend(pending.measured_machines.take(measured_max));
        let measured_left = measured_max.saturating_sub(machines.len());
        let mut instances = std::mem::take(&mut pending.instances);
        instances.extend(pending.measured_instances.take(measured_left));
        let removed_machines = std::mem::take(&mut pending.removed_machines);
        let removed_instances = std::mem::take(&mut pending.removed_instances);
        let from = self.version;
        self.version = from.wrapping_add(1);
        Some(PoolChange {
            from,
            to: self.version,
            machines: self
                .machines()
                .filter(|machine| machines.contains(&machine.id))
                .cloned()
                .collect(),
            removed_machines: removed_machines.into_iter().collect(),
            instances: instances
                .iter()
                .filter_map(|id| self.instances.get(id).cloned())
                .collect(),
            removed_instances: removed_instances.into_iter().collect(),
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

    /// The version under which the state of now was published, or will be with the next change.
    pub(super) fn version_of_now(&self) -> u32 {
        match self.urgency() {
            Urgency::None => self.version,
            Urgency::Calm | Urgency::Urgent => self.version.wrapping_add(1),
        }
    }

    /// All instances, in the order of their ids: what is decided must not depend on how they happen to lie in memory.
    pub(super) fn placed_by_id(&self) -> impl Iterator<Item = &PlacedInstance> {
        let mut placed: Vec<&PlacedInstance> = self.instances.values().collect();
        placed.sort_unstable_by_key(|placed| placed.instance.id);
        placed.into_iter()
    }

    /// The names of all instances, in no order.
    pub fn instance_names(&self) -> impl Iterator<Item = &str> {
        self.instances
            .values()
            .map(|placed| placed.instance.spec.name.as_str())
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
        self.pending.machines.insert(id);
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
        self.pending.measured_machines.forget(id);
        self.machine_loads.forget(id);
        self.pending.removed_machines.insert(id);
    }

    /// Changes the state of a machine's link; the rest of what is shown of it stays.
    pub fn set_link(&mut self, id: Uuid, link: Link) {
        let Some(seen) = self.seen_mut(id) else { return };
        if seen.machine.link == link {
            return;
        }
        seen.machine.link = link;
        self.pending.machines.insert(id);
    }

    /// Changes whether a machine is given new instances; answers the machine.
    pub fn set_draining(&mut self, id: Uuid, draining: bool) -> Option<&PoolMachine> {
        let seen = self.machines.iter_mut().find(|seen| seen.machine.id == id)?;
        if seen.machine.draining != draining {
            seen.machine.draining = draining;
            self.pending.machines.insert(id);
        }
        Some(&seen.machine)
    }

    /// Remembers how busy a machine was, as a share of all its threads.
    pub fn remember_machine_load(&mut self, id: Uuid, at: Timestamp, share: f64) {
        self.machine_loads.take(id, at, share);
    }

    /// Remembers how busy a machine and its instances were; `at` is by the desktop's clock.
    pub fn remember_loads(
        &mut self,
        id: Uuid,
        at: Timestamp,
        host: &HostUsage,
        instances: &[(Uuid, InstanceUsage)],
    ) {
        if self.machine(id).is_none() {
            return;
        }
        self.remember_machine_load(id, at, host.cpu_percent / 100.0);
        for (instance, usage) in instances {
            if self.is_on(*instance, id) {
                self.instance_loads.take(*instance, at, usage.cpu_percent / 100.0);
            }
        }
    }

    /// Takes where an instance was seen by an earlier run.
    pub fn recall_sight(&mut self, sight: Sight) {
        self.whereabouts.recall(sight);
    }

    /// Where instances were seen since the last call, to be written down.
    pub fn take_sights(&mut self) -> Vec<Sight> {
        self.whereabouts.take_unwritten()
    }

    /// See [`Sight::moved_at`].
    pub(super) fn moved_at(&self, instance: Uuid) -> Option<Timestamp> {
        self.whereabouts.moved_at(instance)
    }

    /// Another machine of the pool that is the same host.
    pub fn same_host(&self, id: Uuid, host: Uuid) -> Option<SameMachine> {
        self.machines()
            .find(|other| other.id != id && other.host.as_ref().is_some_and(|facts| facts.id == host))
            .map(|other| SameMachine {
                name: other.name.clone(),
            })
    }

    /// Replaces all that is shown of a machine; `at` is by the desktop's clock. What differs from the picture before was missed, and is observed now, unless this is
    /// the first sight of the machine.
    ///
    /// # Errors
    /// Another machine of the pool is the same host; nothing changes then.
    pub fn apply_snapshot(
        &mut self,
        id: Uuid,
        snapshot: Snapshot,
        link: Link,
        at: Timestamp,
    ) -> Result<Vec<Observed>, SameMachine> {
        if let Some(same) = self.same_host(id, snapshot.host.id) {
            return Err(same);
        }
        let Some(seen) = self.seen_mut(id) else {
            return Ok(Vec::new());
        };
        let witnessed = std::mem::replace(&mut seen.witnessed, true);
        let host = snapshot.host.id;
        seen.machine.host = Some(snapshot.host);
        seen.machine.usage = Some(snapshot.usage);
        seen.machine.images = snapshot.images;
        seen.machine.link = link;
        self.pending.machines.insert(id);

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
            let instance_id = instance.id;
            observed.extend(self.put_instance(id, instance, at));
            if self.is_on(instance_id, id) {
                self.whereabouts.saw(instance_id, host, at);
            }
        }
        if !witnessed {
            observed.clear();
        }
        Ok(observed)
    }

    /// Applies one event of a machine and answers what there is to tell about it; `at` is by the desktop's clock.
    pub fn apply_event(&mut self, id: Uuid, event: Event, at: Timestamp) -> Vec<Observed> {
        if self.machine(id).is_none() {
            return Vec::new();
        }
        match event.body {
            EventBody::InstanceChanged { instance } => self.put_instance(id, instance, at),
            EventBody::InstanceDeleted { id: gone } => {
                let ours = self.is_on(gone, id);
                let dropped = if ours { self.drop_instance(gone) } else { None };
                dropped
                    .map(|placed| observe_deleted(&placed.instance))
                    .into_iter()
                    .collect()
            }
            EventBody::UsageSampled { host, instances } => {
                if let Some(seen) = self.seen_mut(id) {
                    seen.machine.usage = Some(host);
                    self.pending.measured_machines.push(id);
                }
                for (instance, usage) in instances {
                    if let Some(placed) = self.instances.get_mut(&instance)
                        && placed.machine == id
                    {
                        placed.instance.usage = Some(usage);
                        self.pending.measured_instances.push(instance);
                    }
                }
                Vec::new()
            }
            EventBody::ImagesChanged { images } => {
                if let Some(seen) = self.seen_mut(id) {
                    seen.machine.images = images;
                    self.pending.machines.insert(id);
                }
                Vec::new()
            }
        }
    }

    /// Shows an instance whose create was answered, unless it is there already: its events may have been faster than the answer, and
    /// newer. `at` is by the desktop's clock.
    pub fn show_created(&mut self, machine: Uuid, instance: &Instance, at: Timestamp) -> Vec<Observed> {
        if self.instances.contains_key(&instance.id) || self.machine(machine).is_none() {
            return Vec::new();
        }
        self.put_instance(machine, instance.clone(), at)
    }

    /// Ids are unique in the world by construction; where two machines claim one, the first that was seen keeps it, so that a copied
    /// or lying machine cannot take another's instance out of the window.
    fn put_instance(&mut self, machine: Uuid, instance: Instance, at: Timestamp) -> Vec<Observed> {
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
        let is_new = before.is_none();
        let observed = observe(before.map(|placed| &placed.instance), &instance);
        self.instances.insert(id, PlacedInstance { machine, instance });
        self.pending.removed_instances.remove(&id);
        self.pending.instances.insert(id);
        let host = self
            .machine(machine)
            .and_then(|machine| Some(machine.host.as_ref()?.id));
        if let Some(host) = host.filter(|_| is_new) {
            self.whereabouts.saw(id, host, at);
        }
        observed
    }

    fn drop_instance(&mut self, id: Uuid) -> Option<PlacedInstance> {
        let placed = self.instances.remove(&id)?;
        self.pending.instances.remove(&id);
        self.pending.measured_instances.forget(id);
        self.instance_loads.forget(id);
        self.whereabouts.lost(id);
        self.pending.removed_instances.insert(id);
        Some(placed)
    }

    fn is_on(&self, instance: Uuid, machine: Uuid) -> bool {
        self.instances
            .get(&instance)
            .is_some_and(|placed| placed.machine == machine)
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
}

/// Ids in the order in which they came, each once.
#[derive(Debug, Default)]
struct Queue {
    order: VecDeque<Uuid>,
    held: HashSet<Uuid>,
}

impl Queue {
    fn len(&self) -> usize {
        self.held.len()
    }

    fn push(&mut self, id: Uuid) {
        if self.held.insert(id) {
            self.order.push_back(id);
        }
    }

    fn forget(&mut self, id: Uuid) {
        if self.held.remove(&id) {
            self.order.retain(|held| *held != id);
        }
    }

    /// The first `max` of them.
    fn take(&mut self, max: usize) -> Vec<Uuid> {
        let count = self.order.len().min(max);
        let taken: Vec<Uuid> = self.order.drain(..count).collect();
        for id in &taken {
            self.held.remove(id);
        }
        taken
    }
}
