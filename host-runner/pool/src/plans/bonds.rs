//! Those that must be on one machine: they find a place, and move, as one.

use super::rules::Rules;
use crate::Pool;
use crate::inventory::AffinityKind;
use crate::state::{AskedTarget, InstanceIndex, MachineIndex, Place};

/// Whether all find room there once none of them is elsewhere. The pool is left as it was.
pub(super) fn fit_together(
    pool: &mut Pool,
    rules: &Rules,
    members: &[InstanceIndex],
    to: MachineIndex,
) -> bool {
    let before: Vec<Option<Place>> = members.iter().map(|instance| pool.place_of(*instance)).collect();
    for instance in members {
        pool.unseat(*instance);
    }
    let fit = members.iter().all(|instance| {
        let fits = rules.fits(pool, *instance, to);
        if fits {
            pool.seat(*instance, to);
        }
        fits
    });
    for (instance, place) in members.iter().zip(before) {
        pool.put_back(*instance, place);
    }
    fit
}

/// Whether it must be with another, or another with it.
pub(super) fn is_bound(pool: &Pool, instance: InstanceIndex) -> bool {
    let seat = pool.instance(instance);
    let watched = |target| {
        pool.watchers(target)
            .is_some_and(|watchers| !watchers.together.is_empty())
    };
    seat.asked
        .hard_affinities()
        .any(|wish| wish.kind == AffinityKind::Together)
        || watched(AskedTarget::Instance(seat.id))
        || seat
            .asked
            .group
            .is_some_and(|group| watched(AskedTarget::Group(group)))
}

/// Whether one of them must be with the other.
pub(super) fn belong_together(pool: &Pool, one: InstanceIndex, other: InstanceIndex) -> bool {
    wants_with(pool, one, other) || wants_with(pool, other, one)
}

fn wants_with(pool: &Pool, one: InstanceIndex, other: InstanceIndex) -> bool {
    let other = pool.instance(other);
    pool.instance(one).asked.hard_affinities().any(|wish| {
        wish.kind == AffinityKind::Together
            && match wish.target {
                AskedTarget::Instance(id) => id == other.id,
                AskedTarget::Group(group) => other.asked.group == Some(group),
                AskedTarget::Tag(_) | AskedTarget::Site(_) => false,
            }
    })
}
