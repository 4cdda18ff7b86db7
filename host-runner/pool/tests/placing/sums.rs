//! What the pool keeps as sums is what summing up again gives, however it came there.

use pool::Pool;
use pool::inventory::{Activity, MachineState};
use pool::state::{Demand, Imbalance, InstanceIndex, Point};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::made_up::{any_inventory, instance_index, machine, machine_index, pool_of};

/// A change of the pool.
#[derive(Debug, Clone, Copy)]
pub enum Change {
    Seat(usize, usize),
    Unseat(usize),
    State(usize, MachineState),
    Demand(usize, f64),
    Machine,
}

pub fn any_change() -> impl Strategy<Value = Change> {
    let states = vec![
        MachineState::Ready,
        MachineState::Draining,
        MachineState::Unreachable,
        MachineState::Asleep,
    ];
    prop_oneof![
        4 => (any::<usize>(), any::<usize>()).prop_map(|(instance, machine)| Change::Seat(instance, machine)),
        2 => any::<usize>().prop_map(Change::Unseat),
        1 => (any::<usize>(), prop::sample::select(states)).prop_map(|(machine, state)| Change::State(machine, state)),
        1 => (any::<usize>(), 0.0..4.0_f64).prop_map(|(instance, mean)| Change::Demand(instance, mean)),
        1 => Just(Change::Machine),
    ]
}

pub fn make(pool: &mut Pool, change: Change) {
    let instances = pool.instances().len();
    let machines = pool.machines().len();
    match change {
        Change::Seat(instance, machine) => {
            pool.seat(
                instance_index(instance % instances),
                machine_index(machine % machines),
            );
        }
        Change::Unseat(instance) => pool.unseat(instance_index(instance % instances)),
        Change::State(machine, state) => pool.set_machine_state(machine_index(machine % machines), state),
        Change::Demand(instance, mean) => pool.set_demand(
            instance_index(instance % instances),
            Demand {
                mean,
                variance: 0.1,
                measured: true,
            },
        ),
        Change::Machine => {
            pool.add_machine(&machine(machines));
        }
    }
}

proptest! {
    #[test]
    fn promises_loads_and_imbalance_are_what_their_parts_add_up_to(
        inventory in any_inventory(5, 10),
        changes in prop::collection::vec(any_change(), 0..60),
    ) {
        let mut pool = pool_of(&inventory);
        for change in changes {
            make(&mut pool, change);
        }
        let mut imbalance = Imbalance::default();
        let mut placed = 0;
        for (index, machine) in pool.machines() {
            let held: Vec<InstanceIndex> = pool.instances()
                .filter(|(_, one)| one.machine == Some(index))
                .map(|(one, _)| one)
                .collect();
            placed += held.len();
            let mut listed = machine.instances.clone();
            listed.sort_unstable();
            prop_assert_eq!(&listed, &held);
            let running: Vec<_> = held.iter()
                .map(|one| pool.instance(*one))
                .filter(|one| one.activity == Activity::Running)
                .collect();
            let vcpus: u64 = running.iter().map(|one| u64::from(one.asked.vcpus)).sum();
            let memory: u64 = running.iter().map(|one| one.asked.memory_mib + machine.overhead_mib).sum();
            let demand: f64 = running.iter().map(|one| one.demand.mean).sum();
            let disk: u64 = held.iter().flat_map(|one| pool.instance(*one).disks_there()).map(|(_, size)| size).sum();
            prop_assert_eq!(machine.vcpus_promised, vcpus);
            prop_assert_eq!(machine.memory_promised_mib, memory);
            prop_assert_eq!(machine.storages.iter().map(|storage| storage.promised_mib).sum::<u64>(), disk);
            prop_assert!((machine.demand.mean - demand).abs() < 1e-9);
            if machine.state == MachineState::Ready {
                imbalance.add(machine.load());
            }
        }
        prop_assert_eq!(pool.placed() as usize, placed);
        prop_assert!((pool.imbalance().value() - imbalance.value()).abs() < 1e-6);
    }

    /// An inventory does not say in which storage a disk is that names none; the order of its instances does not, either.
    #[test]
    fn the_order_of_an_inventory_says_nothing_about_its_pool(inventory in any_inventory(4, 12), seed in any::<u64>()) {
        let mut other = inventory.clone();
        other.instances.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let (one, other) = (pool_of(&inventory), pool_of(&other));
        for ((_, one), (_, other)) in one.machines().zip(other.machines()) {
            prop_assert_eq!(&one.storages, &other.storages);
            prop_assert_eq!(one.memory_promised_mib, other.memory_promised_mib);
        }
    }

    #[test]
    fn the_index_knows_every_machine_as_it_is(
        inventory in any_inventory(60, 20),
        changes in prop::collection::vec(any_change(), 0..200),
    ) {
        let mut pool = pool_of(&inventory);
        for (number, change) in changes.into_iter().enumerate() {
            if number % 7 == 0 {
                pool.refresh_index();
            }
            make(&mut pool, change);
        }
        pool.refresh_index();
        let index = pool.index().expect("it was refreshed");
        let mut open: Vec<_> = index.root().into_iter().collect();
        let mut seen = Vec::new();
        while let Some(node) = open.pop() {
            match node.halves {
                Some(halves) => open.extend(halves.iter().filter_map(|half| index.node(*half))),
                None => seen.extend_from_slice(index.machines(node)),
            }
            for (machine, point) in index.machines(node) {
                prop_assert!(node.reach.first <= *machine);
                for at in 0..3 {
                    prop_assert!(node.reach.low.load[at] <= point.load[at]);
                    prop_assert!(point.load[at] <= node.reach.high.load[at]);
                }
                prop_assert!(point.memory_free_mib <= node.reach.low.memory_free_mib);
                prop_assert!(node.reach.low.marks.has(point.marks));
            }
        }
        seen.sort_by_key(|(machine, _)| *machine);
        prop_assert_eq!(seen.len(), pool.machines().len());
        for ((machine, point), (index, seat)) in seen.into_iter().zip(pool.machines()) {
            prop_assert_eq!(machine, index);
            prop_assert_eq!(point, Point::of(seat));
        }
    }
}
