//! A plan is for the pool that it was made for.

use pool::inventory::{Inventory, MachineState};
use pool::plans::{Changed, DrainOptions, Plan, drain};

use crate::support::{instance, instance_id, inventory, machine, machine_id, pool, usage};

fn planned() -> (Inventory, Plan) {
    let inventory = inventory(
        vec![machine(0, 8, 32), machine(1, 8, 32), machine(2, 8, 16)],
        vec![
            instance(0, 0, 2, 20, 0.5),
            instance(1, 1, 2, 4, 0.5),
            instance(2, 2, 2, 4, 0.5),
        ],
    );
    let plan = drain(&pool(&inventory), machine_id(0), &DrainOptions::default()).unwrap();
    assert_eq!(plan.steps[0].moves[0].to, machine_id(1));
    (inventory, plan)
}

#[test]
fn usage_may_change_and_so_may_whatever_the_plan_does_not_touch() {
    let (mut inventory, plan) = planned();
    inventory.version += 1;
    inventory.instances[0].usage = Some(usage(1.9));
    inventory.instances[2].machine = None;
    inventory.machines[2].state = MachineState::Draining;
    assert_eq!(plan.still_valid(&pool(&inventory)), Ok(()));
}

#[test]
fn each_change_that_matters_is_refused_by_name() {
    type Edit = fn(&mut Inventory);
    let name = |number: usize| format!("machine-{number}");
    let instance_name = || "instance-0".to_owned();
    let cases: [(Edit, Changed); 7] = [
        (
            |pool| pool.instances[0].machine = Some(machine_id(2)),
            Changed::InstanceElsewhere {
                instance: instance_id(0),
                name: instance_name(),
                is: Some(name(2)),
            },
        ),
        (
            |pool| drop(pool.instances.remove(0)),
            Changed::InstanceGone {
                instance: instance_id(0),
                name: instance_name(),
            },
        ),
        (
            |pool| pool.instances[0].needs.memory_mib = pool::Mib(1),
            Changed::InstanceNeeds {
                instance: instance_id(0),
                name: instance_name(),
            },
        ),
        (
            |pool| pool.machines[1].state = MachineState::Draining,
            Changed::MachineOffer {
                machine: machine_id(1),
                name: name(1),
            },
        ),
        (
            |pool| pool.machines[1].memory_mib = pool::Mib(31 * 1024),
            Changed::MachineOffer {
                machine: machine_id(1),
                name: name(1),
            },
        ),
        (
            |pool| pool.instances[2].machine = Some(machine_id(1)),
            Changed::MachineHolds {
                machine: machine_id(1),
                name: name(1),
            },
        ),
        (
            |pool| {
                pool.machines.remove(1);
                pool.instances.remove(1);
            },
            Changed::MachineGone {
                machine: machine_id(1),
                name: name(1),
            },
        ),
    ];
    for (edit, changed) in cases {
        let (mut inventory, plan) = planned();
        edit(&mut inventory);
        assert_eq!(plan.still_valid(&pool(&inventory)), Err(changed));
    }
}

#[test]
fn the_fingerprint_is_the_same_for_what_the_plan_depends_on() {
    let (mut inventory, plan) = planned();
    inventory.version += 1;
    inventory.instances.reverse();
    inventory.machines[2].tags.push("new".into());
    let later = drain(&pool(&inventory), machine_id(0), &DrainOptions::default()).unwrap();
    assert_eq!(later.fingerprint, plan.fingerprint);
    assert_ne!(later.version, plan.version);
}

#[test]
fn a_plan_survives_the_wire() {
    let (_, plan) = planned();
    let wire = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&wire).unwrap(), plan);
}
