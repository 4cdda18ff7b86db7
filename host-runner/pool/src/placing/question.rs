use uuid::Uuid;

use crate::Mib;
use crate::inventory::Activity;
use crate::state::{Asked, AskedTarget, Demand, InstanceIndex, MachineIndex, MachineSeat, Pool, Watchers};

/// What is to be placed, and under which conditions.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub(super) pool: &'a Pool,
    pub(super) asked: &'a Asked,
    pub(super) activity: Activity,
    pub(super) demand: Demand,
    pub(super) instance: Option<InstanceIndex>,
    pub(super) may_wake: bool,
    within_cpu: bool,
    /// Who has a hard wish about this instance.
    pub(super) watchers: Option<&'a Watchers>,
    /// Who has a hard wish about this instance's group.
    pub(super) group_watchers: Option<&'a Watchers>,
}

impl<'a> Subject<'a> {
    /// An instance that does not exist yet and is to run.
    pub fn new(pool: &'a Pool, asked: &'a Asked) -> Self {
        Self {
            pool,
            asked,
            activity: Activity::Running,
            demand: Demand::assumed(asked.vcpus),
            instance: None,
            may_wake: false,
            within_cpu: false,
            watchers: None,
            group_watchers: asked
                .group
                .and_then(|group| pool.watchers(AskedTarget::Group(group))),
        }
    }

    /// An instance of the pool, placed or not. What it holds itself on a machine does not stand in its way there.
    ///
    /// # Panics
    /// On an index of another pool.
    pub fn of(pool: &'a Pool, instance: InstanceIndex) -> Self {
        let seat = pool.instance(instance);
        Self {
            activity: seat.activity,
            demand: seat.demand,
            instance: Some(instance),
            ..Self::new(pool, &seat.asked).known_as(seat.id)
        }
    }

    /// Others may have wishes about an instance of this identity.
    #[must_use]
    pub fn known_as(self, id: Uuid) -> Self {
        Self {
            watchers: self.pool.watchers(AskedTarget::Instance(id)),
            ..self
        }
    }

    /// Whether it holds memory and CPU, or its disks alone.
    #[must_use]
    pub fn with_activity(self, activity: Activity) -> Self {
        Self { activity, ..self }
    }

    /// What it is expected to use of the CPU.
    #[must_use]
    pub fn with_demand(self, demand: Demand) -> Self {
        Self {
            demand: demand.sound(),
            ..self
        }
    }

    /// Whether machines that sleep may be woken for it.
    #[must_use]
    pub fn waking(self, may_wake: bool) -> Self {
        Self { may_wake, ..self }
    }

    /// Whether a machine must be expected to have CPU for it, too, where its use is foretold.
    #[must_use]
    pub fn within_cpu(self, within_cpu: bool) -> Self {
        Self { within_cpu, ..self }
    }

    /// Whether a machine's CPU can be a reason to refuse.
    pub(super) fn minds_cpu(&self) -> bool {
        self.within_cpu && self.is_running() && self.demand.measured && self.demand.mean > 0.0
    }

    /// Whether it is to hold memory and CPU.
    pub(super) fn is_running(&self) -> bool {
        self.activity == Activity::Running
    }

    /// Asks one machine.
    ///
    /// # Panics
    /// On an index of another pool.
    pub fn on(&self, machine: MachineIndex) -> Question<'_> {
        let seat = self.pool.machine(machine);
        let here = self
            .instance
            .is_some_and(|instance| self.pool.instance(instance).machine == Some(machine));
        Question {
            subject: self,
            machine,
            seat,
            here,
            telling: true,
        }
    }
}

/// One machine is asked for one instance.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    pub(super) subject: &'a Subject<'a>,
    pub(super) machine: MachineIndex,
    pub(super) seat: &'a MachineSeat,
    /// Whether the instance is on the machine already.
    pub(super) here: bool,
    /// Whether words are wanted, or only yes and no.
    telling: bool,
}

impl Question<'_> {
    /// The same question where yes or no is enough.
    pub(super) fn without_words(self) -> Self {
        Self {
            telling: false,
            ..self
        }
    }

    /// A word for a person; none where none is wanted, so that a plain no costs no memory.
    pub(super) fn word(&self, word: &str) -> String {
        if self.telling {
            word.to_owned()
        } else {
            String::new()
        }
    }

    /// An instance's name, for a person.
    pub(super) fn name_of(&self, instance: InstanceIndex) -> String {
        self.word(&self.subject.pool.instance(instance).name)
    }

    /// Whether the instance is to hold memory and CPU.
    pub(super) fn is_running(&self) -> bool {
        self.subject.is_running()
    }

    /// The instance itself where it is on the machine and holds memory and CPU there.
    pub(super) fn running_here(&self) -> Option<&Asked> {
        let instance = self.subject.instance.filter(|_| self.here)?;
        let seat = self.subject.pool.instance(instance);
        (seat.activity == Activity::Running).then_some(&seat.asked)
    }
}

/// MiB for a person, capped at what a `u32` holds.
pub(super) fn mib(size: u64) -> Mib {
    Mib(u32::try_from(size).unwrap_or(u32::MAX))
}

/// A count for a person, capped at what a `u32` holds.
pub(super) fn count(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
