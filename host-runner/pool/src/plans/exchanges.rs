//! Moves that pay only together: whoever takes another's place may raise the imbalance until the other has gone, too.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::plan::{Move, MoveReason, Step};

/// Names, with each move for evenness' sake that by itself gains nothing, those that it pays with. `gains` has what each move of the steps
/// lowers the imbalance by, in their order.
pub(super) fn name_exchanges(steps: &mut [Step], gains: &[f64]) {
    let named = {
        let moves: Vec<(&Move, f64)> = steps
            .iter()
            .flat_map(|step| &step.moves)
            .zip(gains.iter().copied())
            .collect();
        Together::of(&moves).named(&moves)
    };
    let moves = steps.iter_mut().flat_map(|step| &mut step.moves);
    for (made, reason) in moves.zip(named) {
        if let Some(reason) = reason {
            made.reason = reason;
        }
    }
}

/// Which moves pay together, each by its number.
struct Together {
    /// For each move, the set that it is in; most are in one of their own.
    set_of: Vec<usize>,
    sets: Vec<BTreeSet<usize>>,
    /// What each set lowers the imbalance by.
    gains: Vec<f64>,
}

impl Together {
    fn of(moves: &[(&Move, f64)]) -> Self {
        let mut together = Self {
            set_of: (0..moves.len()).collect(),
            sets: (0..moves.len()).map(|number| BTreeSet::from([number])).collect(),
            gains: moves.iter().map(|(_, gain)| *gain).collect(),
        };
        let touching = touching(moves);
        let mut best_first: Vec<usize> = Vec::new();
        for (number, (made, gain)) in moves.iter().enumerate() {
            if !is_for_evenness(made) || *gain > 0.0 {
                continue;
            }
            let mut near: Vec<usize> = made
                .from
                .iter()
                .chain([&made.to])
                .filter_map(|machine| touching.get(machine))
                .flatten()
                .copied()
                .collect();
            near.sort_by_key(|other| {
                moves
                    .get(*other)
                    .map(|(other, _)| Reverse(closeness(made, other)))
            });
            together.join_until_it_pays(number, &near);
            if together.gain_of(number) <= 0.0 {
                if best_first.is_empty() {
                    best_first.extend(0..moves.len());
                    best_first.sort_by(|a, b| together.gain_of(*b).total_cmp(&together.gain_of(*a)));
                }
                together.join_until_it_pays(number, &best_first);
            }
        }
        together
    }

    /// Joins a move's set with those of others that gain something, one after the other, as far as it takes.
    fn join_until_it_pays(&mut self, number: usize, others: &[usize]) {
        for other in others {
            if self.gain_of(number) > 0.0 {
                return;
            }
            if self.gain_of(*other) > 0.0 {
                self.join(number, *other);
            }
        }
    }

    fn set(&self, number: usize) -> Option<&BTreeSet<usize>> {
        self.sets.get(*self.set_of.get(number)?)
    }

    fn gain_of(&self, number: usize) -> f64 {
        let gain = self.set_of.get(number).and_then(|set| self.gains.get(*set));
        gain.copied().unwrap_or(0.0)
    }

    fn join(&mut self, one: usize, other: usize) {
        let (Some(&into), Some(&from)) = (self.set_of.get(one), self.set_of.get(other)) else {
            return;
        };
        if into == from {
            return;
        }
        let members = self.sets.get_mut(from).map(std::mem::take).unwrap_or_default();
        for member in &members {
            if let Some(set) = self.set_of.get_mut(*member) {
                *set = into;
            }
        }
        if let Some(set) = self.sets.get_mut(into) {
            set.extend(members);
        }
        let gained = self.gains.get_mut(from).map(std::mem::take).unwrap_or_default();
        if let Some(gain) = self.gains.get_mut(into) {
            *gain += gained;
        }
    }

    /// The reason of each move that pays with others only.
    fn named(&self, moves: &[(&Move, f64)]) -> Vec<Option<MoveReason>> {
        let reason = |(number, (made, _)): (usize, &(&Move, f64))| {
            let set = self.set(number).filter(|set| set.len() > 1)?;
            let mut with: Vec<Uuid> = Vec::new();
            for (other, _) in set.iter().filter_map(|member| moves.get(*member)) {
                if other.instance != made.instance && !with.contains(&other.instance) {
                    with.push(other.instance);
                }
            }
            is_for_evenness(made).then(|| MoveReason::Exchange {
                with,
                gain: self.gain_of(number),
            })
        };
        moves.iter().enumerate().map(reason).collect()
    }
}

fn is_for_evenness(made: &Move) -> bool {
    matches!(made.reason, MoveReason::Balance { .. })
}

/// Which moves leave a machine or come to it.
fn touching(moves: &[(&Move, f64)]) -> BTreeMap<Uuid, Vec<usize>> {
    let mut touching: BTreeMap<Uuid, Vec<usize>> = BTreeMap::new();
    for (number, (made, _)) in moves.iter().enumerate() {
        for machine in made.from.iter().chain([&made.to]) {
            touching.entry(*machine).or_default().push(number);
        }
    }
    touching
}

/// How much another has to do with a move: it changes places with it; or comes where it was or leaves where it goes.
fn closeness(made: &Move, other: &Move) -> u8 {
    u8::from(made.from == Some(other.to)) + u8::from(other.from == Some(made.to))
}
