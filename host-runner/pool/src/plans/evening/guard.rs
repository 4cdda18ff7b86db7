//! Minds what failures would do: no move may leave more of them unrecoverable, or more instances stranded, than there were.

use std::collections::{BTreeMap, BTreeSet};

use crate::Pool;
use crate::placing::{Exposure, Policy, Recoverability};
use crate::state::{InstanceIndex, MachineIndex};

/// Beyond so many failures that strand something each move would look at all of them again. Whoever searches then does so without a guard,
/// and cuts the plan back where it does harm.
const FAILURES_MAX: u32 = 64;

/// In how large a pool each move is minded: it takes a look at all failures that count on the room, and each of these at the whole pool.
const PLACED_MAX: u32 = 200;

/// How many machines are refused to one instance before it stays where it is, for this round.
const TARGETS_MAX: u32 = 4;

/// How many refusals a search bears in all: each has cost a look at several failures.
const REFUSALS_MAX: u32 = 400;

pub(super) struct Guard {
    kept: Recoverability,
    allowed: Exposure,
    barred: BTreeSet<(InstanceIndex, MachineIndex)>,
    refusals: BTreeMap<InstanceIndex, u32>,
    refusals_left: u32,
}

impl Guard {
    /// For a pool that may become this, and no worse; `None` where that cannot be minded move by move.
    pub(super) fn of(pool: &Pool, allowed: Exposure) -> Option<Self> {
        if allowed.failures > FAILURES_MAX || pool.placed() > PLACED_MAX {
            return None;
        }
        let kept = Recoverability::new(pool, &Policy::default()).looking_once();
        Some(Self {
            // Who looks once sees no less harm than there is before anything moves.
            allowed: allowed.or(kept.exposure()),
            kept,
            barred: BTreeSet::new(),
            refusals: BTreeMap::new(),
            refusals_left: REFUSALS_MAX,
        })
    }

    /// What was refused may be asked again: the pool has changed.
    pub(super) fn begin_round(&mut self) {
        self.barred.clear();
        self.refusals.clear();
    }

    /// Whether a move has been refused already.
    pub(super) fn bars(&self, instance: InstanceIndex, to: MachineIndex) -> bool {
        self.refusals_left == 0
            || self
                .refusals
                .get(&instance)
                .is_some_and(|refused| *refused >= TARGETS_MAX)
            || self.barred.contains(&(instance, to))
    }

    /// Whether no failure suffers if all of these move. They are taken as made then, and barred else.
    pub(super) fn admits(&mut self, pool: &Pool, moves: &[(InstanceIndex, MachineIndex)]) -> bool {
        if self.refusals_left == 0 {
            return false;
        }
        for (instance, to) in moves {
            self.kept.seat(pool, *instance, *to);
        }
        if !self.kept.exposure().is_worse_than(self.allowed) {
            return true;
        }
        for (instance, _) in moves {
            if let Some(back) = pool.instance(*instance).machine {
                self.kept.seat(pool, *instance, back);
            }
        }
        self.refusals_left -= 1;
        if let &[(instance, to)] = moves {
            self.barred.insert((instance, to));
            *self.refusals.entry(instance).or_default() += 1;
        }
        false
    }

    /// A move that must be made is made, whatever that does to failures; from then on nothing may be worse than that.
    pub(super) fn insist(&mut self, pool: &Pool, instance: InstanceIndex, to: MachineIndex) {
        self.follow(pool, instance, to);
        self.allowed = self.allowed.or(self.kept.exposure());
    }

    /// A move is made, admitted or not.
    pub(super) fn follow(&mut self, pool: &Pool, instance: InstanceIndex, to: MachineIndex) {
        if self.kept.machine_of(instance) != Some(to) {
            self.kept.seat(pool, instance, to);
        }
    }
}
