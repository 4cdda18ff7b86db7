//! `plan --solver optimal`: the best plan, for small pools.

use pool::Mib;
use pool::inventory::{Activity, Instance, Inventory, Machine, Needs};
use uuid::Uuid;

use crate::plan::{file_of, json, plan, plan_from, refused, text};

#[test]
fn the_solver_proves_its_plan() {
    let plan_json = json(&["drain", "--machine", "atlas", "--solver", "optimal"], 0);
    assert_eq!(plan_json["found_by"]["solver"], "optimal");
    assert_eq!(plan_json["found_by"]["proven_optimal"], true);
    let told = text(&plan(&["drain", "--machine", "atlas", "--solver", "optimal"]));
    assert!(
        told.contains("Found by the solver, and proven to be the best, in "),
        "{told}"
    );
}

#[test]
fn a_pool_that_is_too_large_for_the_solver_is_refused_with_the_way_out() {
    let mut large = Inventory::empty();
    let id = Uuid::from_u128;
    for number in 0..200 {
        let mut machine = Machine::new(id(number + 1), format!("m-{number}"), 64, Mib(262_144));
        machine.power.watts = vec![50.0, 100.0];
        large.machines.push(machine);
    }
    for number in 0..4_000_u128 {
        large.instances.push(Instance {
            id: id(100_000 + number),
            name: format!("i-{number}"),
            // All on one half of the machines.
            machine: Some(id(number % 100 + 1)),
            activity: Activity::Running,
            needs: Needs::new(1, Mib(1_024)),
            usage: None,
            moved_at_s: None,
        });
    }
    let file = file_of(&serde_json::to_string(&large).unwrap());
    let said = refused(&plan_from(file.path(), &["balance", "--solver", "optimal"]), 1);
    assert!(
        said.contains("more than") && said.contains("leave out --solver optimal"),
        "{said}"
    );
}

#[test]
fn a_place_can_be_looked_for_by_the_solver_too() {
    let arguments = [
        "place", "--vcpus", "2", "--memory", "4GiB", "--count", "2", "--solver", "optimal",
    ];
    let plan_json = json(&arguments, 0);
    let made = plan_json["steps"][0]["moves"].as_array().unwrap();
    assert!(
        made.iter().filter(|made| made["from"].is_null()).count() == 2,
        "{plan_json}"
    );
    assert_eq!(plan_json["found_by"]["solver"], "optimal");
}
