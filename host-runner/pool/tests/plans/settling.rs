//! A balance is whole: what it does for evenness' sake is paid for, nothing goes to and fro, and nothing is left for a next one.
//!
//! Each pool was found by the properties, and is as small as it could be made.

use pool::Mib;
use pool::inventory::{Instance, Inventory, Machine, Mobility, Storage};
use pool::plans::{BalanceOptions, MoveReason, Plan, balance};

use crate::support::{
    ChosenMoves, apart_from_group, applied, disk, goes_to_and_fro, instance, inventory, machine, machine_id,
    moves, pool,
};

/// A machine's threads, its memory in GiB, what each instance needs beside its own in MiB, and whether it has one storage, both or none.
type Shape = (u32, u32, u32, usize);

struct Held(Instance);

/// An instance on a machine, with its vCPUs, its memory in GiB and the threads that it uses.
fn on(machine: usize, vcpus: u32, memory_gib: u32, used: f64) -> Held {
    Held(instance(0, machine, vcpus, memory_gib, used))
}

impl Held {
    /// A size in GiB, and the storage unless the machine may choose.
    fn with_disk(mut self, size_gib: u32, storage: Option<&str>) -> Self {
        self.0.needs.disks = vec![disk(size_gib, storage)];
        self
    }

    fn in_group(mut self) -> Self {
        self.0.needs.group = Some("replicas".into());
        self.0.needs.affinities = vec![apart_from_group("replicas")];
        self
    }

    fn cold(mut self) -> Self {
        self.0.needs.mobility = Mobility::Cold;
        self
    }

    fn fixed(mut self) -> Self {
        self.0.needs.mobility = Mobility::Fixed;
        self
    }

    fn pinned(mut self) -> Self {
        self.0.needs.pin = self.0.machine;
        self
    }
}

fn made_of(machines: &[Shape], instances: &[Held]) -> Inventory {
    let machines = machines.iter().enumerate();
    let machines = machines.map(|(number, shape)| shaped(number, *shape)).collect();
    let instances = instances.iter().enumerate();
    let instances = instances.map(|(number, held)| Instance {
        id: crate::support::instance_id(number),
        name: format!("instance-{number}"),
        ..held.0.clone()
    });
    inventory(machines, instances.collect())
}

fn shaped(number: usize, (threads, memory_gib, overhead_mib, storages): Shape) -> Machine {
    let mut machine = machine(number, threads, memory_gib);
    machine.overcommit.cpu = Some(2.0);
    machine.instance_overhead_mib = Mib(overhead_mib);
    let storage = |(name, capacity_gib): (&str, u32)| Storage {
        name: name.into(),
        capacity_mib: Mib(capacity_gib * 1024),
    };
    machine.storages = [("fast", 100), ("large", 200)]
        .into_iter()
        .take(storages)
        .map(storage)
        .collect();
    machine
}

/// What holds for each of them, and the plan.
fn is_whole(inventory: &Inventory) -> Plan {
    let options = BalanceOptions::default();
    let plan = balance(&pool(inventory), &options).unwrap();
    let chosen = ChosenMoves::of(inventory, &plan);
    assert!(
        chosen.are_paid_for(inventory, &options),
        "{chosen:?} of {:?}",
        plan.steps
    );
    assert_eq!(goes_to_and_fro(&plan), None, "{:?}", plan.steps);
    let again = balance(&pool(&applied(inventory, &plan)), &options).unwrap();
    assert_eq!(moves(&again), 0, "{:?} after {:?}", again.steps, plan.steps);
    plan
}

/// Three would move together. Two of them wait for each other's room, and without them the third makes the pool less even.
fn two_that_wait_for_each_other() -> Inventory {
    let machines = [(8, 19, 64, 0), (8, 32, 64, 0)];
    let instances = [
        on(1, 1, 4, 0.0).fixed(),
        on(0, 4, 8, 3.2),
        on(0, 2, 3, 0.0),
        on(1, 1, 8, 0.0).fixed(),
        on(1, 2, 6, 1.1),
        on(0, 4, 2, 2.7),
        on(1, 1, 9, 0.0),
    ];
    made_of(&machines, &instances)
}

#[test]
fn of_moves_that_pay_only_together_none_is_made_where_not_all_can_be() {
    let plan = is_whole(&two_that_wait_for_each_other());
    assert!(plan.after.imbalance <= plan.before.imbalance);
}

/// The half of an exchange that can be made is worth taking back, and then making again.
fn half_an_exchange_each_way() -> Inventory {
    let machines = [
        (8, 28, 0, 2),
        (24, 43, 64, 2),
        (8, 23, 64, 1),
        (24, 38, 64, 2),
        (16, 21, 64, 2),
    ];
    let instances = [
        on(0, 1, 1, 0.0).with_disk(7, Some("fast")).fixed(),
        on(4, 2, 2, 1.6),
        on(3, 4, 5, 1.1).with_disk(47, Some("fast")),
        on(4, 1, 7, 0.0).with_disk(42, Some("fast")),
        on(2, 1, 9, 0.7).with_disk(26, Some("fast")),
        on(3, 2, 1, 1.3).with_disk(46, Some("large")),
        on(4, 4, 1, 1.3).with_disk(18, Some("fast")).in_group(),
        on(1, 1, 3, 0.07).with_disk(20, Some("fast")),
        on(1, 4, 9, 3.2).with_disk(47, Some("fast")),
        on(3, 1, 4, 0.7).with_disk(8, Some("fast")),
        on(4, 3, 4, 2.9),
        on(1, 2, 9, 0.0).with_disk(9, Some("fast")),
        on(0, 3, 7, 1.6),
        on(1, 1, 3, 0.0).with_disk(12, Some("large")).fixed(),
        on(0, 2, 12, 1.3),
        on(2, 4, 12, 0.8).in_group(),
        on(3, 3, 8, 2.7),
        on(3, 1, 3, 0.2).with_disk(30, None),
        on(0, 4, 3, 2.7).with_disk(49, None),
        on(3, 2, 6, 1.0).with_disk(13, Some("large")),
        on(0, 4, 3, 3.9).with_disk(31, Some("large")),
        on(1, 4, 4, 3.1).with_disk(14, None),
        on(3, 1, 8, 0.6),
        on(4, 1, 2, 0.2),
        on(1, 4, 7, 0.9).with_disk(32, None),
        on(1, 4, 7, 1.1).with_disk(16, Some("fast")),
    ];
    made_of(&machines, &instances)
}

#[test]
fn a_leg_is_not_taken_back_by_the_next() {
    let plan = is_whole(&half_an_exchange_each_way());
    assert!(plan.before.highest_cpu_load > 0.95 && plan.after.highest_cpu_load < 0.95);
}

/// When the disk that may be anywhere came to its machine, another storage had room than has when all moves are made.
fn disks_that_a_next_look_lays_out_anew() -> Inventory {
    let machines = [(8, 19, 0, 2), (24, 40, 0, 2)];
    let instances = [
        on(0, 4, 4, 0.0).with_disk(35, Some("fast")),
        on(1, 1, 4, 0.0).with_disk(24, None),
        on(0, 3, 5, 0.0).fixed(),
        on(1, 1, 2, 0.0).with_disk(53, Some("large")),
        on(1, 1, 3, 0.0).with_disk(8, Some("large")),
        on(1, 1, 3, 0.0).with_disk(39, Some("large")),
        on(0, 2, 1, 1.4).with_disk(42, Some("fast")),
    ];
    made_of(&machines, &instances)
}

#[test]
fn what_a_next_look_makes_room_for_moves_at_once() {
    let plan = is_whole(&disks_that_a_next_look_lays_out_anew());
    assert_eq!(moves(&plan), 3, "{:?}", plan.steps);
}

/// After some moves fewer instances would be stranded by a failure than before: a search that minds that finds other moves.
fn less_harm_on_the_way() -> Inventory {
    let machines = [
        (8, 23, 64, 2),
        (24, 34, 64, 2),
        (24, 40, 64, 1),
        (24, 22, 64, 2),
        (8, 36, 64, 2),
        (16, 28, 64, 1),
        (16, 19, 64, 2),
    ];
    let instances = [
        on(3, 4, 9, 3.2).with_disk(51, Some("large")),
        on(5, 1, 4, 0.9).with_disk(45, Some("fast")).in_group(),
        on(4, 1, 2, 0.0).with_disk(6, Some("fast")),
        on(1, 3, 11, 0.8),
        on(0, 4, 3, 2.1).with_disk(47, Some("large")),
        on(1, 1, 2, 0.8).with_disk(52, Some("large")),
        on(3, 2, 5, 1.3).with_disk(52, Some("large")).in_group(),
        on(5, 2, 7, 0.2),
        on(6, 1, 7, 0.0).with_disk(56, Some("fast")),
        on(4, 4, 7, 2.7).with_disk(59, Some("fast")),
        on(5, 2, 5, 1.1),
        on(3, 2, 1, 1.7).with_disk(51, Some("large")).pinned(),
        on(4, 3, 11, 3.0).with_disk(21, None),
        on(0, 1, 12, 0.0),
        on(0, 2, 1, 1.4),
        on(4, 2, 12, 1.8),
        on(1, 1, 7, 0.71),
        on(5, 2, 7, 0.3),
        on(1, 2, 12, 0.5).with_disk(58, Some("fast")),
        on(2, 1, 7, 0.9),
        on(6, 3, 11, 0.0).with_disk(33, Some("large")),
        on(2, 1, 9, 0.6),
        on(2, 1, 7, 0.5).with_disk(25, Some("fast")),
        on(5, 1, 4, 0.0).with_disk(20, Some("fast")).pinned(),
        on(3, 4, 4, 1.3).with_disk(38, Some("fast")),
        on(0, 3, 3, 2.9),
        on(2, 3, 10, 0.8),
    ];
    made_of(&machines, &instances)
}

#[test]
fn what_failures_may_do_is_judged_anew_from_leg_to_leg() {
    let plan = is_whole(&less_harm_on_the_way());
    assert!(
        plan.after.imbalance < 0.9 * plan.before.imbalance,
        "{:?}",
        plan.after
    );
}

/// Two can change places only while a third is elsewhere, which comes back.
fn one_in_the_way_of_two() -> Inventory {
    let machines = [(8, 47, 64, 2), (8, 18, 0, 2), (8, 25, 0, 1)];
    let instances = [
        on(0, 1, 11, 0.8).with_disk(19, Some("large")),
        on(2, 2, 12, 0.9).with_disk(25, None),
        on(1, 2, 11, 0.8).with_disk(12, None),
        on(0, 2, 10, 0.5).with_disk(18, Some("large")),
        on(1, 2, 5, 0.6),
        on(0, 2, 8, 1.6).with_disk(5, Some("large")),
        on(2, 3, 6, 2.6).with_disk(57, Some("fast")),
        on(0, 1, 6, 0.0).with_disk(38, Some("large")),
        on(0, 1, 6, 0.0).with_disk(57, Some("large")),
    ];
    made_of(&machines, &instances)
}

#[test]
fn what_leaves_and_comes_back_makes_room_and_says_for_whom() {
    let plan = is_whole(&one_in_the_way_of_two());
    let made = || plan.steps.iter().flat_map(|step| &step.moves);
    let first = made().next().unwrap();
    let its_own: Vec<_> = made().filter(|made| made.instance == first.instance).collect();
    assert_eq!(its_own.last().unwrap().to, machine_id(1), "it comes back");
    let MoveReason::MakesRoom { instance } = first.reason else {
        panic!("it leaves for another's sake: {first:?}");
    };
    assert!(made().any(|made| made.instance == instance && made.to == machine_id(1)));
}

/// An exchange pays as things are, and no more once the overloaded machine is relieved, which can be had without it.
fn less_to_gain_once_relieved() -> Inventory {
    let machines = [
        (16, 37, 64, 2),
        (16, 35, 64, 2),
        (8, 26, 64, 1),
        (8, 28, 64, 2),
        (8, 23, 64, 2),
        (16, 32, 64, 1),
        (16, 22, 64, 2),
    ];
    let instances = [
        on(0, 1, 11, 0.0).cold(),
        on(0, 2, 12, 1.7946).fixed(),
        on(1, 3, 8, 0.0403).fixed(),
        on(6, 2, 2, 1.3749).with_disk(58, Some("fast")).cold(),
        on(6, 1, 4, 0.0).with_disk(36, Some("fast")).fixed(),
        on(6, 1, 10, 0.0),
        on(1, 4, 11, 2.8939).fixed(),
        on(4, 1, 2, 0.0).in_group().fixed(),
        on(3, 1, 11, 0.0).with_disk(1, Some("large")).fixed(),
        on(1, 1, 8, 0.0).fixed(),
        on(3, 3, 9, 2.735).fixed(),
        on(2, 2, 3, 1.6672).with_disk(16, Some("fast")).cold(),
        on(0, 4, 9, 0.0).with_disk(2, Some("fast")).fixed(),
        on(4, 1, 4, 0.0).pinned(),
        on(5, 1, 9, 0.0).in_group().fixed(),
        on(4, 2, 8, 0.4072).with_disk(1, Some("large")).cold(),
        on(5, 2, 9, 1.4058).with_disk(22, None).fixed(),
        on(5, 4, 9, 0.0).with_disk(15, Some("fast")).cold(),
        on(2, 4, 8, 3.2243).with_disk(41, None).cold(),
        on(1, 4, 2, 0.5989).with_disk(2, Some("fast")).fixed(),
        on(2, 2, 6, 1.3464).cold(),
        on(1, 1, 3, 0.2517).cold(),
        on(3, 1, 2, 0.0).with_disk(1, Some("fast")).fixed(),
        on(4, 1, 6, 0.0).cold(),
        on(2, 3, 6, 1.807).fixed(),
    ];
    made_of(&machines, &instances)
}

#[test]
fn what_must_be_done_comes_first_and_evenness_is_weighed_after_it() {
    let plan = is_whole(&less_to_gain_once_relieved());
    let first = &plan.steps[0].moves[0];
    assert!(
        matches!(first.reason, MoveReason::Overload { .. }),
        "{:?}",
        plan.steps
    );
}

/// Only where the small one goes has memory for one that the overloaded machine must be rid of.
fn one_in_the_way_of_relief() -> Inventory {
    let machines = [(16, 45, 64, 0), (8, 32, 64, 0), (16, 46, 64, 0)];
    let instances = [
        on(0, 9, 43, 5.76).fixed(),
        on(0, 1, 1, 0.08),
        on(1, 4, 1, 2.63),
        on(1, 12, 27, 8.27).fixed(),
        on(2, 21, 41, 13.0).fixed(),
    ];
    made_of(&machines, &instances)
}

#[test]
fn what_makes_room_for_what_must_be_done_need_not_pay_for_itself() {
    let plan = is_whole(&one_in_the_way_of_relief());
    assert_eq!(moves(&plan), 2, "{:?}", plan.steps);
    let last = &plan.steps.last().unwrap().moves[0];
    assert!(
        matches!(last.reason, MoveReason::Overload { .. }),
        "{:?}",
        plan.steps
    );
}
