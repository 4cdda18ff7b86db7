use std::collections::{BTreeSet, HashMap};

use super::names::{Groups, Name};
use super::{Asked, AskedTarget, InstanceIndex, MachineIndex};
use crate::inventory::AffinityKind;

/// Which instances of some set are on which machines.
#[derive(Debug, Clone, Default)]
pub struct Presence {
    seats: BTreeSet<(MachineIndex, InstanceIndex)>,
}

impl Presence {
    /// Whether none has a machine.
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// How many have a machine.
    pub fn len(&self) -> usize {
        self.seats.len()
    }

    /// Those on one machine, in the order of their indices.
    pub fn on(&self, machine: MachineIndex) -> impl Iterator<Item = InstanceIndex> {
        let range = (machine, InstanceIndex(0))..=(machine, InstanceIndex(u32::MAX));
        self.seats.range(range).map(|(_, instance)| *instance)
    }

    /// All with their machines, machine by machine.
    pub fn seats(&self) -> impl Iterator<Item = (MachineIndex, InstanceIndex)> {
        self.seats.iter().copied()
    }

    /// Whether any but `except` is on the machine.
    pub fn any_on(&self, machine: MachineIndex, except: Option<InstanceIndex>) -> bool {
        self.on(machine).any(|instance| Some(instance) != except)
    }

    /// Whether any but `except` has a machine.
    pub fn any(&self, except: Option<InstanceIndex>) -> bool {
        self.seats().any(|(_, instance)| Some(instance) != except)
    }

    fn change(&mut self, machine: MachineIndex, instance: InstanceIndex, there: bool) {
        if there {
            self.seats.insert((machine, instance));
        } else {
            self.seats.remove(&(machine, instance));
        }
    }
}

/// Who, of those that have a machine, has a hard wish about one target.
#[derive(Debug, Clone, Default)]
pub struct Watchers {
    /// Those that must be where it is.
    pub together: Presence,
    /// Those that must be where it is not.
    pub apart: Presence,
}

/// Who is where, by what others may want of it: found without looking at any machine's instances.
#[derive(Debug, Clone, Default)]
pub(super) struct Neighbourhood {
    // Looked up, never walked: their order decides nothing.
    groups: HashMap<Name<Groups>, Presence>,
    watchers: HashMap<AskedTarget, Watchers>,
}

impl Neighbourhood {
    /// Where a group's instances are; `None` where none of it ever had a machine.
    pub fn group(&self, group: Name<Groups>) -> Option<&Presence> {
        self.groups.get(&group)
    }

    /// Who must be near or far from an instance or a group.
    pub fn watchers(&self, target: AskedTarget) -> Option<&Watchers> {
        self.watchers.get(&target)
    }

    /// An instance has come to a machine, or has left it.
    pub fn change(&mut self, asked: &Asked, machine: MachineIndex, instance: InstanceIndex, there: bool) {
        if let Some(group) = asked.group {
            self.groups
                .entry(group)
                .or_default()
                .change(machine, instance, there);
        }
        for affinity in asked.hard_affinities() {
            // Tags and sites do not come and go.
            if !matches!(affinity.target, AskedTarget::Instance(_) | AskedTarget::Group(_)) {
                continue;
            }
            let watchers = self.watchers.entry(affinity.target).or_default();
            match affinity.kind {
                AffinityKind::Together => watchers.together.change(machine, instance, there),
                AffinityKind::Apart => watchers.apart.change(machine, instance, there),
            }
        }
    }
}
