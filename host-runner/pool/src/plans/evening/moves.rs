//! Single moves, the one that gains most first.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::{Among, Evening};
use crate::state::{InstanceIndex, MachineIndex};

/// What an instance's best move gained when it was looked at; the pool may have changed since.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Chance {
    gain: f64,
    instance: InstanceIndex,
}

impl Eq for Chance {}

impl Ord for Chance {
    /// The larger gain is greater; of equals the earlier instance.
    fn cmp(&self, other: &Self) -> Ordering {
        self.gain
            .total_cmp(&other.gain)
            .then(other.instance.cmp(&self.instance))
    }
}

impl PartialOrd for Chance {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Evening<'_> {
    /// Moves as long as any move gains more than it costs.
    pub(super) fn move_all(&mut self) {
        while !self.is_content() {
            let mut chances = self.all_chances();
            if chances.is_empty() {
                return;
            }
            self.take(&mut chances);
        }
    }

    /// Every free instance whose move would gain enough.
    fn all_chances(&self) -> BinaryHeap<Chance> {
        let mut chances = Vec::new();
        for (instance, seat) in self.pool.instances() {
            let is_candidate = seat
                .machine
                .is_some_and(|machine| self.rows.row(machine).is_some());
            if is_candidate && self.is_free(instance) {
                chances.extend(self.chance(instance).map(|(chance, _)| chance));
            }
        }
        BinaryHeap::from(chances)
    }

    fn chance(&self, instance: InstanceIndex) -> Option<(Chance, MachineIndex)> {
        let (gain, to) = self.best_target(instance, Among::NotRefused)?;
        (gain > self.must_gain(instance)).then_some((Chance { gain, instance }, to))
    }

    /// Takes the best chance until none is left. Gains mostly shrink as the pool becomes even, so the greatest is looked at again before
    /// it is taken; those that grew are found by the next look at all.
    fn take(&mut self, chances: &mut BinaryHeap<Chance>) {
        while !self.is_content() {
            let Some(first) = chances.pop() else {
                return;
            };
            let Some((now, to)) = self.chance(first.instance) else {
                continue;
            };
            if chances.peek().is_some_and(|next| *next > now) {
                chances.push(now);
                continue;
            }
            if !self.admits(&[(now.instance, to)]) {
                chances.extend(self.chance(now.instance).map(|(chance, _)| chance));
                continue;
            }
            self.seat(now.instance, to);
            chances.extend(self.chance(now.instance).map(|(chance, _)| chance));
        }
    }

    /// Moves back what has moved but matters so little now that the move is not worth its cost. Whether there was any.
    pub(super) fn take_back_what_hardly_helps(&mut self) -> bool {
        let moved: Vec<(InstanceIndex, MachineIndex)> = self
            .pool
            .instances()
            .zip(&self.origin)
            .filter(|((_, seat), origin)| seat.machine != **origin)
            .filter_map(|((instance, _), origin)| Some((instance, (*origin)?)))
            .collect();
        let mut any = false;
        for (instance, origin) in moved {
            let saved = self.needed.get(instance.0 as usize).copied().unwrap_or(0.0);
            let gain = self.rows.gain(&self.pool, instance, origin);
            if gain.is_some_and(|gain| gain + saved > 0.0)
                && self.rules.fits(&self.pool, instance, origin)
                && self.admits(&[(instance, origin)])
            {
                self.seat(instance, origin);
                any = true;
            }
        }
        any
    }
}
