//! Our own policy: the pool's consolidation, on virtual time.

use serde::{Deserialize, Serialize};

use super::Policy;
use crate::consolidation::{
    Constraints, DemandParameters, Instance, Machine, Parameters, consolidate, expect,
};
use crate::simulation::time::Millis;
use crate::simulation::world::{Guest, HISTORY_MIN, Host, InstanceSpec, MachineSpec, MemoryMode, World};

/// Everything that can be set about the policy [`Consolidate`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How demand is expected.
    pub demand: DemandParameters,
    /// When machines are relieved and emptied.
    pub plan: Parameters,
    /// How long an instance stays after a move, in seconds.
    pub cooldown_s: u64,
}

/// What [`crate::simulation::tune`] chose on the PlanetLab days; `docs/decisions/0009-planetlab-policy.md` tells how.
impl Default for Settings {
    fn default() -> Self {
        Self {
            demand: DemandParameters {
                fast_half_life: 2.0,
                slow_half_life: 36.0,
                fast_share: 0.6,
                prior_deviation: 0.1,
                prior_samples: 3.0,
            },
            plan: Parameters {
                hot: 0.9,
                relief_z: 0.5,
                pack_z: 1.0,
            },
            cooldown_s: 1800,
        }
    }
}

/// Consolidates at each decision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Consolidate {
    settings: Settings,
}

impl Consolidate {
    /// The policy with these settings.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }
}

impl Policy for Consolidate {
    /// The machine that is already awake, is most efficient, and has the least memory left; else one that sleeps.
    fn place(&mut self, world: &World, instance: usize) -> Option<usize> {
        let rank = |(index, (spec, host)): &(usize, (&MachineSpec, &Host))| {
            let efficiency = spec.power.full_watts() / spec.mips();
            (!host.is_active(), efficiency, world.memory_free_mb(*index))
        };
        (world.machines().enumerate())
            .filter(|(index, _)| world.admits_first(*index, instance))
            .min_by(|a, b| {
                let (a, b) = (rank(a), rank(b));
                a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.total_cmp(&b.2))
            })
            .map(|(index, _)| index)
    }

    fn decide(&mut self, world: &World, now: Millis) -> Vec<(usize, usize)> {
        let memory_counts = world.memory_mode() == MemoryMode::Memory;
        let machines: Vec<Machine> = world
            .machines()
            .map(|(spec, host)| machine(spec, host, memory_counts))
            .collect();
        let settled = world
            .instances()
            .enumerate()
            .filter_map(|(index, (spec, guest))| {
                let at = guest.machine.filter(|_| guest.migration.is_none())?;
                Some((index, self.instance(spec, guest, at, now)))
            });
        let (indices, instances): (Vec<usize>, Vec<Instance>) = settled.unzip();
        let mut cores = Cores::of(world, &indices);
        let outcome = consolidate(&machines, &instances, &self.settings.plan, &mut cores);
        let moves = outcome.moves.into_iter();
        moves
            .filter_map(|found| Some((*indices.get(found.instance)?, found.to)))
            .collect()
    }
}

impl Consolidate {
    fn instance(&self, spec: &InstanceSpec, guest: &Guest, at: usize, now: Millis) -> Instance {
        let cooldown = Millis::from_seconds(self.settings.cooldown_s);
        Instance {
            machine: at,
            demand: expect(guest.history(HISTORY_MIN), spec.mips(), &self.settings.demand),
            memory: spec.memory_mb,
            movable: guest.moved_at.is_none_or(|moved| now - moved >= cooldown),
        }
    }
}

fn machine(spec: &MachineSpec, host: &Host, memory_counts: bool) -> Machine {
    Machine {
        cpu: spec.mips(),
        memory: if memory_counts {
            spec.memory_mb
        } else {
            f64::INFINITY
        },
        full_watts: spec.power.full_watts(),
        awake: host.is_active(),
        open: !host.failed,
    }
}

/// No instance goes where a core is slower than what one of its vCPUs has asked for.
struct Cores {
    offered: Vec<f64>,
    wanted: Vec<f64>,
}

impl Cores {
    fn of(world: &World, indices: &[usize]) -> Self {
        let busiest = |index: &usize| {
            let (spec, guest) = world.instance(*index)?;
            let most = guest.history(HISTORY_MIN).iter().copied().fold(0.0, f64::max);
            Some(most / f64::from(spec.vcpus))
        };
        Self {
            offered: world.machines().map(|(spec, _)| spec.core_mips).collect(),
            wanted: indices
                .iter()
                .map(|index| busiest(index).unwrap_or_default())
                .collect(),
        }
    }
}

impl Constraints for Cores {
    fn allows(&self, instance: usize, machine: usize) -> bool {
        match (self.wanted.get(instance), self.offered.get(machine)) {
            (Some(wanted), Some(offered)) => wanted <= offered,
            _ => false,
        }
    }
}
