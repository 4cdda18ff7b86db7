//! What moves are worth: what must be done is done, and what is done for evenness' sake is paid for.

use super::draft::{Moment, gain_of};
use super::legs::Search;
use super::order::Hop;
use super::plan::MoveReason;
use crate::Pool;

/// What there is that must be done: less is better, and a broken wish weighs more than any load.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Strain {
    /// How many instances are where a wish of theirs forbids it.
    pub(super) misplaced: usize,
    /// How many threads too many are in use on overloaded machines.
    pub(super) overload_threads: f64,
}

impl Strain {
    /// Sums of measured floats differ in their last digits by the order in which they were made.
    const TOLERANCE_THREADS: f64 = 1e-9;

    pub(super) fn is_nothing(self) -> bool {
        self == Self::default()
    }

    pub(super) fn is_less_than(self, other: Self) -> bool {
        self.misplaced < other.misplaced
            || (self.misplaced == other.misplaced
                && self.overload_threads < other.overload_threads - Self::TOLERANCE_THREADS)
    }
}

/// What some moves are worth together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Worth {
    /// How many of them had to be made.
    pub(super) needed: usize,
    /// How many were made for evenness' sake, detours among them.
    pub(super) chosen: usize,
    /// By how much less even the pool would be without these, less what they cost.
    pub(super) chosen_net: f64,
    /// What all of them gain, less what they cost.
    net: f64,
}

impl Worth {
    /// Whether what was made for evenness' sake is worth its cost.
    pub(super) fn is_paid_for(self) -> bool {
        self.chosen == 0 || self.chosen_net > 0.0
    }

    /// Whether moves that change the strain from one to another are worth it.
    pub(super) fn pays(self, before: Strain, after: Strain) -> bool {
        let is_progress = after.is_less_than(before) || (!before.is_less_than(after) && self.net > 0.0);
        is_progress && self.is_paid_for()
    }
}

/// What the first move is worth, the first two, and so on to all of them.
pub(super) fn worths(search: &dyn Search, from: &Pool, hops: impl Iterator<Item = Hop>) -> Vec<Worth> {
    let before = from.imbalance().value();
    let mut pool = from.clone();
    let mut without_chosen = from.clone();
    let (mut needed, mut chosen) = (0, 0);
    let (mut cost, mut chosen_cost) = (0.0, 0.0);
    hops.map(|hop| {
        let own = search.needed_gain(&pool, hop.instance);
        cost += own;
        if must_be_made(search, &pool, hop) {
            needed += 1;
            without_chosen.seat(hop.instance, hop.to);
        } else {
            chosen += 1;
            chosen_cost += own;
        }
        pool.seat(hop.instance, hop.to);
        let after = pool.imbalance().value();
        Worth {
            needed,
            chosen,
            chosen_net: without_chosen.imbalance().value() - after - chosen_cost,
            net: before - after - cost,
        }
    })
    .collect()
}

fn must_be_made(search: &dyn Search, pool: &Pool, hop: Hop) -> bool {
    let moment = Moment {
        pool,
        hop,
        from: pool.instance(hop.instance).machine,
        gain: gain_of(pool, hop),
    };
    hop.lets_go.is_none() && !matches!(search.reason(&moment), MoveReason::Balance { .. })
}
