//! The pool in figures, and the machine that comes nearest to taking what none can.

use uuid::Uuid;

use super::order::Blocked;
use super::plan::{LeftOut, LeftOutReason, PoolState, Recovery, Stranded};
use super::rules::{Rules, mobility};
use crate::inventory::MachineState;
use crate::placing::{self, Exposure, Policy, lacking};
use crate::state::{InstanceIndex, MachineIndex};
use crate::{Pool, Refusal};

/// The pool at one moment, in figures.
pub fn pool_state(pool: &Pool) -> PoolState {
    figures(pool, judge(pool).verdict)
}

/// The same where the verdict on failures is known.
pub(super) fn figures(pool: &Pool, recovery: Recovery) -> PoolState {
    let awake = || {
        pool.machines()
            .map(|(_, seat)| seat)
            .filter(|seat| matches!(seat.state, MachineState::Ready | MachineState::Draining))
    };
    PoolState {
        mean_load: pool.imbalance().mean(),
        highest_cpu_load: awake().map(|seat| seat.load().cpu).fold(0.0, f64::max),
        imbalance: pool.imbalance().value(),
        recovery,
        power_w: awake().map(|seat| seat.watts(seat.load().cpu)).sum(),
        machines_awake: count(awake()),
        instances_placed: count(pool.instances().filter(|(_, seat)| seat.machine.is_some())),
    }
}

/// Up to how many placed instances every failure is tried. That many take some 20 ms, and half a second where every failure strands something.
const JUDGED_MAX: u32 = 100_000;

/// What failures would do to a pool.
#[derive(Debug, Clone)]
pub(super) struct Judged {
    pub(super) verdict: Recovery,
    /// Which of them strand how many instances; `None` where nobody has looked.
    failures: Option<Vec<(MachineIndex, u32)>>,
}

impl Judged {
    /// The same as a measure.
    pub(super) fn exposure(&self) -> Option<Exposure> {
        let failures = self.failures.as_ref()?;
        Some(Exposure::of(failures.iter().map(|(_, stranded)| *stranded)))
    }

    /// Whether more failures could not be recovered than is allowed, or these would strand more; never where nobody has looked.
    pub(super) fn is_worse_than(&self, allowed: Option<Exposure>) -> bool {
        match (self.exposure(), allowed) {
            (Some(own), Some(allowed)) => own.is_worse_than(allowed),
            (None, _) | (_, None) => false,
        }
    }

    /// The first failure that strands more instances than before, as a reason to refuse.
    pub(super) fn worse_failure(&self, before: &Self, pool: &Pool) -> Option<Refusal> {
        let count = |judged: &Self, machine| {
            let mut failures = judged.failures.iter().flatten();
            failures
                .find(|(failure, _)| *failure == machine)
                .map_or(0, |(_, count)| *count)
        };
        let mut failures = self.failures.iter().flatten();
        let (failure, stranded) = failures.find(|(machine, stranded)| *stranded > count(before, *machine))?;
        Some(Refusal::BreaksRecovery {
            failure: pool.machine(*failure).name.to_string(),
            stranded: *stranded,
        })
    }
}

/// Whether every failure can be recovered; not judged in a very large pool.
pub(super) fn judge(pool: &Pool) -> Judged {
    judge_within(pool, None)
}

/// The same, no further than to where it is worse than allowed.
pub(super) fn judge_within(pool: &Pool, allowed: Option<Exposure>) -> Judged {
    if pool.placed() > JUDGED_MAX {
        return Judged {
            verdict: Recovery::NotJudged,
            failures: None,
        };
    }
    let (verdict, failures) = placing::judge(pool, &Policy::default(), allowed);
    Judged {
        verdict,
        failures: Some(failures),
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

/// An instance that finds no place, with the machine that lacks least.
pub(super) fn stranded(pool: &Pool, instance: InstanceIndex, rules: &Rules) -> Stranded {
    let (nearest, mut refusals) = nearest(pool, instance, rules);
    let held = pool.instance(instance);
    if let (Some(own), Err(LeftOutReason::Fixed)) = (held.machine, mobility(held)) {
        // No machine refuses it for that: it is its own wish.
        let machine = pool.machine(own).name.to_string();
        refusals.insert(0, Refusal::PinnedElsewhere { machine });
    }
    Stranded {
        instance: held.id,
        name: held.name.to_string(),
        nearest,
        refusals,
    }
}

/// An instance that has a place, and no way there that breaks nothing; else, as it has none, with the machine that lacks least.
pub(super) fn stranded_or_blocked(
    pool: &Pool,
    instance: InstanceIndex,
    blocked: &[Blocked],
    rules: &Rules,
) -> Stranded {
    let Some(blocked) = blocked.iter().find(|blocked| blocked.instance == instance) else {
        return stranded(pool, instance, rules);
    };
    let held = pool.instance(instance);
    Stranded {
        instance: held.id,
        name: held.name.to_string(),
        nearest: Some(pool.machine(blocked.to).id),
        refusals: blocked.refusals.clone(),
    }
}

/// An instance that stays where it is.
pub(super) fn left_out(pool: &Pool, instance: InstanceIndex, reason: LeftOutReason) -> LeftOut {
    let held = pool.instance(instance);
    LeftOut {
        instance: Some(held.id),
        name: Some(held.name.to_string()),
        reason,
    }
}

/// The machine other than its own that lacks least, the first of equals, as in [`placing::no_place`]; and why it refuses.
pub(super) fn nearest(pool: &Pool, instance: InstanceIndex, rules: &Rules) -> (Option<Uuid>, Vec<Refusal>) {
    let own = pool.instance(instance).machine;
    let mut best: Option<(f64, MachineIndex, Vec<Refusal>)> = None;
    for (machine, _) in pool.machines().filter(|(machine, _)| own != Some(*machine)) {
        let refusals = rules.refusals(pool, instance, machine);
        let lack = refusals.iter().map(lacking).sum::<f64>();
        if best.as_ref().is_none_or(|(least, _, _)| lack < *least) {
            best = Some((lack, machine, refusals));
        }
    }
    match best {
        Some((_, machine, refusals)) => (Some(pool.machine(machine).id), refusals),
        None => (None, Vec::new()),
    }
}
