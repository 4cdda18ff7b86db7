//! What a move may do: the filters of placement, a limit for CPU, and who may move at all.

use super::options::CpuLimit;
use super::plan::LeftOutReason;
use crate::inventory::{Activity, Mobility};
use crate::placing::{Subject, passes, unmet};
use crate::state::{Demand, InstanceIndex, InstanceSeat, MachineIndex};
use crate::{Pool, Refusal};

/// Sums of measured floats differ in their last digits by the order in which they were made.
const TOLERANCE_THREADS: f64 = 1e-9;

/// What a target must fulfil: everything that placement asks of it, and a limit for its CPU.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    cpu: CpuLimit,
}

impl Rules {
    pub(super) fn new(cpu: CpuLimit) -> Self {
        Self { cpu }
    }

    /// The limit for CPU.
    #[cfg(feature = "optimal")]
    pub(super) fn cpu(&self) -> CpuLimit {
        self.cpu
    }

    /// Whether the machine may take the instance as the pool is now.
    pub(super) fn fits(&self, pool: &Pool, instance: InstanceIndex, machine: MachineIndex) -> bool {
        self.has_cpu_for(pool, instance, machine) && passes(&Subject::of(pool, instance).on(machine))
    }

    /// Whether the machine may take the instance by everything but its CPU, once it is awake.
    pub(super) fn fits_but_for_cpu(pool: &Pool, instance: InstanceIndex, machine: MachineIndex) -> bool {
        passes(&Subject::of(pool, instance).waking(true).on(machine))
    }

    /// Why it may not; empty where it may.
    pub(super) fn refusals(
        &self,
        pool: &Pool,
        instance: InstanceIndex,
        machine: MachineIndex,
    ) -> Vec<Refusal> {
        let mut refusals = unmet(&Subject::of(pool, instance).on(machine));
        refusals.extend(self.too_busy(pool, instance, machine));
        refusals
    }

    /// Whether the machine's CPU stays within the limit with the instance.
    pub(super) fn has_cpu_for(&self, pool: &Pool, instance: InstanceIndex, machine: MachineIndex) -> bool {
        self.room(pool, instance, machine)
            .is_none_or(|(expected, limit)| expected <= limit + TOLERANCE_THREADS)
    }

    /// The same for so much demand on a machine that offers so many threads.
    pub(super) fn allows_cpu(&self, demand: Demand, offered_threads: f64) -> bool {
        self.cpu.load_max.is_none_or(|load_max| {
            demand.with_margin(self.cpu.deviations) <= load_max * offered_threads + TOLERANCE_THREADS
        })
    }

    fn too_busy(&self, pool: &Pool, instance: InstanceIndex, machine: MachineIndex) -> Option<Refusal> {
        let (expected, limit) = self.room(pool, instance, machine)?;
        if expected <= limit + TOLERANCE_THREADS {
            return None;
        }
        Some(Refusal::too_busy(
            expected,
            limit,
            pool.machine(machine).offered_threads,
        ))
    }

    /// The threads that would be in use, and those that may be; `None` where that has no limit.
    fn room(&self, pool: &Pool, instance: InstanceIndex, machine: MachineIndex) -> Option<(f64, f64)> {
        let held = pool.instance(instance);
        let load_max = self.cpu.load_max?;
        if held.activity == Activity::Stopped {
            return None;
        }
        let seat = pool.machine(machine);
        let mut demand = seat.demand;
        demand.add(held.demand);
        let expected = demand.with_margin(self.cpu.deviations);
        Some((expected, load_max * seat.offered_threads))
    }
}

/// Whether a plan may move an instance that has a machine, and if not, why.
pub(super) fn mobility(instance: &InstanceSeat) -> Result<Mobility, LeftOutReason> {
    if instance.asked.pin.is_some() {
        return Err(LeftOutReason::Pinned);
    }
    match (instance.asked.mobility, instance.activity) {
        (Mobility::Fixed, _) => Err(LeftOutReason::Fixed),
        (Mobility::Live, Activity::Running) => Ok(Mobility::Live),
        (Mobility::Live, Activity::Stopped) | (Mobility::Cold, _) => Ok(Mobility::Cold),
    }
}

/// The wish about its neighbourhood that is broken where the instance is: it came there otherwise, or the wish is newer. What a machine
/// offers may have become less under an instance that runs; that is no reason to move it.
pub(super) fn broken_wish(pool: &Pool, instance: InstanceIndex) -> Option<Refusal> {
    let seat = pool.instance(instance);
    seat.asked.hard_affinities().next()?;
    let question = Subject::of(pool, instance);
    unmet(&question.on(seat.machine?)).into_iter().find(|refusal| {
        matches!(
            refusal,
            Refusal::NotApart { .. }
                | Refusal::NotTogether { .. }
                | Refusal::TagMissing { .. }
                | Refusal::TagForbidden { .. }
                | Refusal::SiteWrong { .. }
                | Refusal::SiteForbidden { .. }
        )
    })
}

/// How long an instance that was moved lately stays put yet, in seconds; `None` where it may move again. A move in the future is one of a
/// clock ahead of ours: it counts as just done.
pub(super) fn cooling_s(instance: &InstanceSeat, now_s: i64, cooldown_s: u32) -> Option<u32> {
    let since = now_s.saturating_sub(instance.moved_at_s?).max(0);
    let remaining = i64::from(cooldown_s).saturating_sub(since);
    u32::try_from(remaining).ok().filter(|remaining| *remaining > 0)
}
