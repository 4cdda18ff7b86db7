//! In small pools the search wanders: it takes random moves and swaps, for a while even those that make things worse, and keeps the best
//! place that it comes by (simulated annealing). That finds what no single move or swap leads to.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Evening;
use super::rows::{Amount, gain};
use crate::state::{InstanceIndex, MachineIndex};

/// In how large a pool: above this many instances that may move, the walk is too short to find anything.
const FREE_MAX: usize = 2_000;

/// How many steps are tried for each choice of instance and machine, and at least and at most in all.
const TRIES_PER_CHOICE: usize = 40;
const TRIES_MIN: usize = 12_000;
const TRIES_MAX: usize = 60_000;

/// What the walk must gain at least, as a share of the imbalance: so that a pool that was just evened out is left alone.
const GAIN_MIN: f64 = 0.01;

/// How much worse a step may be at first and in the end, as shares of what a step usually changes.
const HEAT_FIRST: f64 = 0.3;
const HEAT_LAST: f64 = 0.003;

/// From how many steps that is learnt.
const SAMPLES: usize = 64;

/// Whether among so many instances that may move a walk is worth it.
pub(super) fn is_small_enough(free: usize) -> bool {
    free <= FREE_MAX
}

/// Where the walk leads through.
struct Land {
    random: ChaCha8Rng,
    free: Vec<InstanceIndex>,
    machines: Vec<MachineIndex>,
}

impl Land {
    fn tries(&self) -> usize {
        let choices = self.free.len().saturating_mul(self.machines.len());
        choices
            .saturating_mul(TRIES_PER_CHOICE)
            .clamp(TRIES_MIN, TRIES_MAX)
    }

    fn instance(&mut self) -> Option<InstanceIndex> {
        let place = self.random.random_range(0..self.free.len().max(1));
        self.free.get(place).copied()
    }

    fn machine(&mut self) -> Option<MachineIndex> {
        let place = self.random.random_range(0..self.machines.len().max(1));
        self.machines.get(place).copied()
    }
}

/// What was done, to be taken back.
#[derive(Default)]
struct Walk {
    steps: Vec<(InstanceIndex, MachineIndex)>,
    /// How good the place is: gained imbalance less the moves' cost.
    height: f64,
    best: f64,
    steps_to_best: usize,
}

/// A change of one or two instances' places.
#[derive(Clone, Copy)]
struct Stride {
    one: InstanceIndex,
    to: MachineIndex,
    /// The other one of a swap.
    other: Option<InstanceIndex>,
    height: f64,
}

impl Evening<'_> {
    /// Walks about, and stays at the best place if that is enough better. Whether it has walked at all.
    pub(super) fn wander(&mut self) -> bool {
        let free: Vec<InstanceIndex> = self
            .pool
            .instances()
            .filter(|(index, seat)| {
                self.is_free(*index)
                    && seat
                        .machine
                        .is_some_and(|machine| self.rows.row(machine).is_some())
            })
            .map(|(index, _)| index)
            .collect();
        let machines: Vec<MachineIndex> = self.rows.iter().map(|row| row.machine).collect();
        if free.is_empty() || !is_small_enough(free.len()) || machines.len() < 2 || self.is_content() {
            return false;
        }
        let mut land = Land {
            random: ChaCha8Rng::seed_from_u64(self.options.how.seed),
            free,
            machines,
        };
        let mut walk = Walk::default();
        let mut heat = HEAT_FIRST * self.usual_change(&mut land);
        let tries = land.tries();
        #[expect(clippy::cast_precision_loss, reason = "at most TRIES_MAX")]
        let cooling = (HEAT_LAST / HEAT_FIRST).powf(1.0 / tries as f64);
        for _ in 0..tries {
            heat *= cooling;
            let luck: f64 = land.random.random_range(0.0..1.0);
            if let Some(stride) = self
                .some_stride(&mut land)
                .filter(|stride| stride.height > heat * luck.ln())
            {
                self.take_stride(stride, &mut walk);
            }
        }
        let imbalance = self.pool.imbalance().value();
        let stay = if walk.best > GAIN_MIN * imbalance {
            walk.steps_to_best
        } else {
            0
        };
        while walk.steps.len() > stay {
            if let Some((instance, before)) = walk.steps.pop() {
                self.seat(instance, before);
            }
        }
        true
    }

    /// How much a step changes, one way or the other.
    fn usual_change(&self, land: &mut Land) -> f64 {
        let mut sum = 0.0;
        let mut count = 0.0;
        for _ in 0..SAMPLES {
            if let Some(stride) = self.some_stride(land) {
                sum += stride.height.abs();
                count += 1.0;
            }
        }
        if count > 0.0 { sum / count } else { 0.0 }
    }

    /// A move to some machine, or a swap with some other.
    fn some_stride(&self, land: &mut Land) -> Option<Stride> {
        let one = land.instance()?;
        if land.random.random_range(0..3) == 0 {
            self.swap_with(one, land.instance()?)
        } else {
            self.stride_to(one, land.machine()?)
        }
    }

    /// What the place of an instance costs: nothing where it was when the round began.
    fn cost_of(&self, instance: InstanceIndex, machine: MachineIndex) -> f64 {
        let origin = self.origin.get(instance.0 as usize).copied().flatten();
        if origin == Some(machine) {
            return 0.0;
        }
        self.needed.get(instance.0 as usize).copied().unwrap_or(0.0)
    }

    fn stride_to(&self, one: InstanceIndex, to: MachineIndex) -> Option<Stride> {
        let from = self.pool.instance(one).machine.filter(|from| *from != to)?;
        let gained = self.rows.gain(&self.pool, one, to)?;
        Some(Stride {
            one,
            to,
            other: None,
            height: gained + self.cost_of(one, from) - self.cost_of(one, to),
        })
    }

    fn swap_with(&self, one: InstanceIndex, other: InstanceIndex) -> Option<Stride> {
        let here = self.pool.instance(one).machine?;
        let there = self.pool.instance(other).machine.filter(|there| *there != here)?;
        let more = Amount::of(&self.pool, one).minus(&Amount::of(&self.pool, other));
        let gained = gain(
            self.pool.imbalance(),
            &[
                (self.rows.row(here)?, &more, -1.0),
                (self.rows.row(there)?, &more, 1.0),
            ],
        );
        let before = self.cost_of(one, here) + self.cost_of(other, there);
        let after = self.cost_of(one, there) + self.cost_of(other, here);
        Some(Stride {
            one,
            to: there,
            other: Some(other),
            height: gained + before - after,
        })
    }

    fn take_stride(&mut self, stride: Stride, walk: &mut Walk) {
        let Some(from) = self.pool.instance(stride.one).machine else {
            return;
        };
        let moves = self.moves_for(stride.one, stride.to)
            + stride.other.map_or(0, |other| self.moves_for(other, from));
        if moves > self.moves_left {
            return;
        }
        match stride.other {
            None => {
                if !self.rules.fits(&self.pool, stride.one, stride.to) {
                    return;
                }
                self.seat(stride.one, stride.to);
                walk.steps.push((stride.one, from));
            }
            Some(other) => {
                if !self.fit_swapped(stride.one, other) {
                    return;
                }
                self.seat(stride.one, stride.to);
                self.seat(other, from);
                walk.steps.push((stride.one, from));
                walk.steps.push((other, stride.to));
            }
        }
        walk.height += stride.height;
        if walk.height > walk.best {
            walk.best = walk.height;
            walk.steps_to_best = walk.steps.len();
        }
    }
}
