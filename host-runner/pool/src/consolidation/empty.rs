//! Machines that others can do without are emptied, and sleep.

use super::seats::Seats;
use super::{Left, Parameters, Reason};

/// Empties machines, one after the other, until no further one can be. `spared` are not touched as sources.
/// Returns those that are empty now.
pub(super) fn empty(
    seats: &mut Seats<'_>,
    parameters: &Parameters,
    spared: Vec<bool>,
    left: &mut Vec<Left>,
) -> Vec<usize> {
    let mut tried = spared;
    let mut closed = vec![false; seats.len()];
    let mut emptied = Vec::new();
    while let Some(machine) = easiest(seats, &tried) {
        set(&mut tried, machine, true);
        set(&mut closed, machine, true);
        match empty_one(seats, machine, parameters, &closed) {
            Ok(()) => emptied.push(machine),
            Err(reason) => {
                left.push(reason);
                set(&mut closed, machine, false);
            }
        }
    }
    emptied
}

fn set(flags: &mut [bool], machine: usize, value: bool) {
    if let Some(flag) = flags.get_mut(machine) {
        *flag = value;
    }
}

/// The machine to empty next: the least efficient, among those the one with the fewest instances, then with the least load.
fn easiest(seats: &Seats<'_>, tried: &[bool]) -> Option<usize> {
    let candidates = tried.iter().enumerate().filter(|(_, tried)| !**tried);
    candidates
        .filter_map(|(machine, _)| Some((machine, seats.seat(machine)?)))
        .filter(|(_, seat)| !seat.residents.is_empty())
        .min_by(|(_, a), (_, b)| {
            (b.watts_per_cpu().total_cmp(&a.watts_per_cpu()))
                .then_with(|| a.residents.len().cmp(&b.residents.len()))
                .then_with(|| a.utilization().total_cmp(&b.utilization()))
        })
        .map(|(machine, _)| machine)
}

/// Moves all of a machine's instances away, the busiest first; or none, and says what is in the way.
fn empty_one(
    seats: &mut Seats<'_>,
    machine: usize,
    parameters: &Parameters,
    closed: &[bool],
) -> Result<(), Left> {
    let mut leaving = seats
        .seat(machine)
        .map(|seat| seat.residents.clone())
        .unwrap_or_default();
    let held = leaving
        .iter()
        .find(|&&index| seats.instance(index).is_none_or(|instance| !instance.movable));
    if let Some(&instance) = held {
        return Err(Left::HeldBy { machine, instance });
    }
    let mean = |index: &usize| {
        seats
            .instance(*index)
            .map_or(0.0, |instance| instance.demand.mean)
    };
    leaving.sort_by(|a, b| mean(b).total_cmp(&mean(a)));
    for (done, &instance) in leaving.iter().enumerate() {
        let Some(to) = seats.roomiest(instance, parameters.pack_z, closed) else {
            seats.take_back(leaving.get(..done).unwrap_or_default(), machine, Reason::Empty);
            return Err(Left::NoRoomFor { machine, instance });
        };
        seats.shift(instance, to, Reason::Empty);
    }
    Ok(())
}
