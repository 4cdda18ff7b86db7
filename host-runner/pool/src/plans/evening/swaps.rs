//! Swaps: two instances change places where no single move helps.

use super::Evening;
use super::rows::{Amount, Row, Slope, gain};
use crate::inventory::MachineState;
use crate::state::{InstanceIndex, MachineIndex};

/// How many of the machines that are furthest from the mean are looked at.
const FURTHEST_MAX: usize = 48;

/// With how many others each of them is compared.
const PARTNERS_MAX: usize = 24;

/// How many of the swaps that would gain are tried, the best first.
const TRIES_MAX: usize = 16;

#[derive(Debug, Clone, Copy)]
struct Swap {
    gain: f64,
    one: InstanceIndex,
    other: InstanceIndex,
}

impl Evening<'_> {
    /// Makes one round of swaps, at most one for each machine that is far from the mean. Whether there was any.
    pub(super) fn swap_some(&mut self) -> bool {
        let mut any = false;
        let slope = Slope::of(self.pool.imbalance());
        let mut furthest: Vec<(f64, MachineIndex)> = self
            .rows
            .iter()
            .map(|row| (slope.badness(&row.load), row.machine))
            .collect();
        furthest.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        furthest.truncate(FURTHEST_MAX);
        for (_, machine) in furthest {
            if self.is_content() || self.moves_left < 2 {
                break;
            }
            if let Some(swap) = self.best_swap(machine) {
                self.swap(&swap);
                any = true;
            }
        }
        any
    }

    fn best_swap(&mut self, machine: MachineIndex) -> Option<Swap> {
        let mut swaps = self.swaps_that_gain(machine);
        swaps.sort_by(|a, b| {
            b.gain
                .total_cmp(&a.gain)
                .then((a.one, a.other).cmp(&(b.one, b.other)))
        });
        swaps
            .into_iter()
            .take(TRIES_MAX)
            .find(|swap| self.can_swap(swap) && self.admits_swap(swap))
    }

    fn swaps_that_gain(&self, machine: MachineIndex) -> Vec<Swap> {
        let Some(here) = self.rows.row(machine) else {
            return Vec::new();
        };
        let mine = self.with_amounts(machine);
        let mut swaps = Vec::new();
        for there in self.partners(here) {
            let theirs = self.with_amounts(there.machine);
            for (one, one_amount) in &mine {
                for (other, other_amount) in &theirs {
                    let more = one_amount.minus(other_amount);
                    let gain = gain(self.pool.imbalance(), &[(here, &more, -1.0), (there, &more, 1.0)]);
                    if gain > self.must_gain(*one) + self.must_gain(*other) {
                        swaps.push(Swap {
                            gain,
                            one: *one,
                            other: *other,
                        });
                    }
                }
            }
        }
        swaps
    }

    fn with_amounts(&self, machine: MachineIndex) -> Vec<(InstanceIndex, Amount)> {
        self.free_on(machine)
            .into_iter()
            .map(|instance| (instance, Amount::of(&self.pool, instance)))
            .collect()
    }

    /// The machines whose loads lie most on the other side of the mean.
    fn partners(&self, here: &Row) -> Vec<&Row> {
        let mean = self.pool.imbalance().mean().dimensions();
        let mut partners: Vec<(f64, &Row)> = self
            .rows
            .iter()
            .filter(|row| row.machine != here.machine)
            .map(|row| {
                let loads = here.load.iter().zip(row.load).zip(mean);
                let opposed: f64 = loads
                    .map(|((here, there), mean)| (here - mean) * (there - mean))
                    .sum();
                (opposed, row)
            })
            .collect();
        partners.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.machine.cmp(&b.1.machine)));
        partners.truncate(PARTNERS_MAX);
        partners.into_iter().map(|(_, row)| row).collect()
    }

    /// Whether both fit where the other was, and there is a way: one goes first and stands beside the other for a while, or waits elsewhere
    /// at the price of one move more.
    fn can_swap(&mut self, swap: &Swap) -> bool {
        let Swap { gain, one, other } = *swap;
        let (Some(here), Some(there)) = (self.pool.instance(one).machine, self.pool.instance(other).machine)
        else {
            return false;
        };
        let is_direct = self.rules.fits(&self.pool, one, there) || self.rules.fits(&self.pool, other, here);
        let must = self.must_gain(one) + self.must_gain(other);
        let is_worth_waiting = gain > 1.5 * must;
        let has_way = is_direct || (is_worth_waiting && self.has_waiting_room(one, here, there));
        has_way && self.fit_swapped(one, other)
    }

    fn admits_swap(&mut self, swap: &Swap) -> bool {
        let place = |instance| self.pool.instance(instance).machine;
        let (Some(here), Some(there)) = (place(swap.one), place(swap.other)) else {
            return false;
        };
        self.admits(&[(swap.one, there), (swap.other, here)])
    }

    /// Whether both fit where the other is, once they are there.
    pub(super) fn fit_swapped(&mut self, one: InstanceIndex, other: InstanceIndex) -> bool {
        let (Some(here), Some(there)) = (self.pool.instance(one).machine, self.pool.instance(other).machine)
        else {
            return false;
        };
        let places = [one, other].map(|instance| (instance, self.pool.place_of(instance)));
        self.pool.unseat(one);
        self.pool.unseat(other);
        let mut fits = self.rules.fits(&self.pool, one, there);
        if fits {
            self.pool.seat(one, there);
            fits = self.rules.fits(&self.pool, other, here);
        }
        for (instance, place) in places {
            self.pool.put_back(instance, place);
        }
        fits
    }

    fn has_waiting_room(&self, instance: InstanceIndex, here: MachineIndex, there: MachineIndex) -> bool {
        self.pool.machines().any(|(machine, seat)| {
            seat.state == MachineState::Ready
                && machine != here
                && machine != there
                && self.rules.fits(&self.pool, instance, machine)
        })
    }

    fn swap(&mut self, swap: &Swap) {
        let places = (
            self.pool.instance(swap.one).machine,
            self.pool.instance(swap.other).machine,
        );
        if let (Some(here), Some(there)) = places {
            self.seat(swap.one, there);
            self.seat(swap.other, here);
        }
    }
}
