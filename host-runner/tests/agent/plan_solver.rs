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
    let by_solver = json(&arguments, 0);
    assert_eq!(by_solver["found_by"]["solver"], "optimal");
    assert_eq!(by_solver["found_by"]["proven_optimal"], true);
    // The same report as that of the search.
    let [ours, theirs] = [by_solver, json(&arguments[..arguments.len() - 2], 0)].map(|report| {
        assert_eq!(report["kind"], "place");
        assert_eq!(report["placed"].as_array().unwrap().len(), 2, "{report}");
        assert!(
            report["placed"][0]["explanation"]["terms"]
                .as_array()
                .unwrap()
                .len()
                > 2,
            "{report}"
        );
        let keys: Vec<String> = report.as_object().unwrap().keys().cloned().collect();
        (keys, report["after"]["instances_placed"].clone())
    });
    assert_eq!(ours, theirs);
}

#[test]
fn the_solver_places_all_or_nothing_moves_nobody_else_and_proves_that_there_is_no_way() {
    let arguments = [
        "place",
        "--vcpus",
        "1",
        "--memory",
        "1GiB",
        "--group",
        "api",
        "--apart",
        "--name",
        "api",
        "--count",
        "5",
        "--machine",
        "draco",
        "--solver",
        "optimal",
    ];
    let report = json(&arguments, 3);
    assert!(report["placed"].as_array().unwrap().is_empty());
    assert_eq!(report["before"], report["after"]);
    assert_eq!(report["failure"]["failure"], "no_place", "{report}");
    assert_eq!(report["failure"]["proven"], true, "{report}");
    assert_eq!(report["explained"][0]["name"], "draco");
    let told = text(&plan(&arguments));
    assert!(
        told.contains("1 of 5 instances finds no place")
            && told.contains("Found by the solver, which leaves out no way"),
        "{told}"
    );
}

#[test]
fn the_solver_minds_the_rule_for_recovery_and_names_contradictions() {
    let refused = json(
        &[
            "place",
            "--vcpus",
            "4",
            "--memory",
            "16GiB",
            "--count",
            "3",
            "--recovery",
            "refuse",
            "--solver",
            "optimal",
        ],
        3,
    );
    assert!(
        ["breaks_recovery", "no_place"].contains(&refused["failure"]["failure"].as_str().unwrap()),
        "{refused}"
    );
    assert_eq!(refused["before"], refused["after"]);
}
