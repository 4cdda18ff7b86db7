//! Orders that are hard to find, or are not there.

use uuid::Uuid;

use super::{Ordered, order};
use crate::inventory::{Activity, Instance, Inventory, Machine, Needs};
use crate::plans::options::CpuLimit;
use crate::plans::rules::Rules;
use crate::{Mib, Pool};

/// Machines with so much memory, and instances of so much on a machine of which each should be on another.
fn ordered(machines_gib: &[u32], instances: &[(usize, u32, usize)]) -> (Pool, Ordered) {
    let machine_id = |number: usize| Uuid::from_u128(number as u128 + 1);
    let machines: Vec<Machine> = (0..)
        .zip(machines_gib)
        .map(|(number, gib)| Machine::new(machine_id(number), format!("m{number}"), 64, Mib(gib * 1024)))
        .collect();
    let placed = (0..).zip(instances).map(|(number, (on, gib, _))| Instance {
        id: Uuid::from_u128(1_000 + number),
        name: format!("i{number}"),
        machine: Some(machine_id(*on)),
        activity: Activity::Running,
        needs: Needs::new(1, Mib(gib * 1024)),
        usage: None,
        moved_at_s: None,
    });
    let inventory = Inventory {
        machines,
        instances: placed.collect(),
        ..Inventory::empty()
    };
    let pool = Pool::new(&inventory, 0).unwrap();
    let numbers: Vec<_> = pool.machines().map(|(index, _)| index).collect();
    let goals: Vec<_> = pool
        .instances()
        .zip(instances)
        .map(|((index, _), (_, _, to))| (index, numbers[*to]))
        .collect();
    let rules = Rules::new(CpuLimit {
        load_max: None,
        deviations: 0.0,
    });
    let ordered = order(&pool, &goals, &rules);
    (pool, ordered)
}

fn sizes(ordered: &Ordered) -> Vec<usize> {
    ordered.steps.iter().map(Vec::len).collect()
}

#[test]
fn what_does_not_stand_in_each_others_way_goes_at_once() {
    let (_, ordered) = ordered(&[16, 16, 16], &[(0, 4, 1), (0, 4, 2), (1, 4, 2)]);
    assert_eq!(sizes(&ordered), [3]);
    assert!(ordered.blocked.is_empty());
}

#[test]
fn who_needs_anothers_room_waits_until_it_has_left() {
    let (_, ordered) = ordered(&[16, 16, 16], &[(0, 12, 1), (1, 12, 2)]);
    assert_eq!(sizes(&ordered), [1, 1]);
    assert_eq!(ordered.steps[0][0].instance.0, 1);
}

/// Both machines are full: neither can take the other's instance before its own has left.
#[test]
fn a_swap_between_full_machines_goes_through_a_third() {
    let (pool, ordered) = ordered(&[16, 16, 16], &[(0, 12, 1), (1, 12, 0)]);
    assert!(ordered.blocked.is_empty());
    assert_eq!(sizes(&ordered), [1, 1, 1]);
    let detour = ordered.steps[0][0];
    assert_eq!(detour.to.0, 2);
    assert!(detour.lets_go.is_some_and(|lets_go| lets_go != detour.instance));
    for (index, seat) in ordered.end.instances().take(2) {
        assert_ne!(
            Some(seat.machine),
            Some(pool.instance(index).machine),
            "they have changed places"
        );
        assert_ne!(seat.machine.map(|machine| machine.0), Some(2));
    }
}

#[test]
fn a_ring_of_three_full_machines_is_opened_once() {
    let (_, ordered) = ordered(&[16, 16, 16, 16], &[(0, 12, 1), (1, 12, 2), (2, 12, 0)]);
    assert!(ordered.blocked.is_empty());
    let detours = ordered.steps.iter().flatten().filter(|hop| hop.lets_go.is_some());
    assert_eq!(detours.count(), 1);
}

#[test]
fn a_swap_without_a_third_machine_is_left_out_with_the_reason() {
    let (pool, ordered) = ordered(&[16, 16], &[(0, 12, 1), (1, 12, 0)]);
    assert!(ordered.steps.is_empty());
    assert_eq!(ordered.blocked.len(), 2);
    assert!(ordered.blocked.iter().all(|blocked| !blocked.refusals.is_empty()));
    let places = |pool: &Pool| -> Vec<_> { pool.instances().map(|(_, seat)| seat.machine).collect() };
    assert_eq!(places(&ordered.end), places(&pool), "nothing has moved");
}
