//! Machines that are too busy give instances away.

use super::seats::{Seat, Seats};
use super::{Left, Parameters, Reason};

/// Relieves every machine that is too busy, the busiest first. Returns which machines took something: nobody empties them now.
pub(super) fn relieve(seats: &mut Seats<'_>, parameters: &Parameters, left: &mut Vec<Left>) -> Vec<bool> {
    let busy = |seats: &Seats<'_>, machine: usize| seats.seat(machine).map_or(0.0, Seat::utilization);
    let mut hot: Vec<usize> = (0..seats.len())
        .filter(|&machine| busy(seats, machine) > parameters.hot)
        .collect();
    hot.sort_by(|&a, &b| busy(seats, b).total_cmp(&busy(seats, a)));

    let mut closed = vec![false; seats.len()];
    mark(&mut closed, &hot);
    let mut took = vec![false; seats.len()];
    for machine in hot {
        let mut targets = Vec::new();
        while let Some(short) = shortage(seats, machine, parameters.relief_z) {
            let Some((instance, to)) = next(seats, machine, short, parameters, &closed) else {
                left.push(Left::TooBusy { machine });
                break;
            };
            seats.shift(instance, to, Reason::Relieve);
            targets.push(to);
        }
        mark(&mut took, &targets);
    }
    took
}

fn mark(flags: &mut [bool], machines: &[usize]) {
    for &machine in machines {
        if let Some(flag) = flags.get_mut(machine) {
            *flag = true;
        }
    }
}

/// CPU that is missing on the machine; `None` where nothing is.
fn shortage(seats: &Seats<'_>, machine: usize, z: f64) -> Option<f64> {
    let room = seats.seat(machine)?.room(z);
    (room < 0.0).then_some(-room)
}

/// The instance that leaves next, and where it goes.
///
/// One move is better than two: the cheapest to move (the product of memory and load, which a migration withholds) among
/// those that end the shortage alone, else the one that ends most of it.
fn next(
    seats: &Seats<'_>,
    machine: usize,
    short: f64,
    parameters: &Parameters,
    closed: &[bool],
) -> Option<(usize, usize)> {
    let mut leaving: Vec<(usize, f64, f64)> = (seats.seat(machine)?.residents.iter())
        .filter_map(|&index| Some((index, seats.instance(index)?)))
        .filter(|(_, instance)| instance.movable && instance.demand.mean > 0.0)
        .map(|(index, instance)| {
            (
                index,
                instance.demand.mean,
                instance.memory * instance.demand.mean,
            )
        })
        .collect();
    leaving.sort_by(|&(_, a_mean, a_cost), &(_, b_mean, b_cost)| {
        let (a_ends, b_ends) = (a_mean >= short, b_mean >= short);
        b_ends.cmp(&a_ends).then(if a_ends && b_ends {
            a_cost.total_cmp(&b_cost)
        } else {
            b_mean.total_cmp(&a_mean)
        })
    });
    leaving.into_iter().find_map(|(instance, ..)| {
        let awake = seats.roomiest(instance, parameters.relief_z, closed);
        let to = awake.or_else(|| seats.sleeper(instance, parameters.relief_z))?;
        Some((instance, to))
    })
}
