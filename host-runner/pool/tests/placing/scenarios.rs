//! Scenarios as files: an inventory and a question in `tests/scenarios/NAME.json`, and what is answered, for people, in `NAME.txt`.
//!
//! `UPDATE_GENERATED=1` writes the answers anew.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use pool::Pool;
use pool::inventory::{Instance, Inventory, Needs};
use pool::placing::{
    Broken, Policy, PolicyName, Recoverability, Subject, choose, explain, n_plus_one, no_place, place_batch,
};
use pool::plans::Recovery;
use serde::Deserialize;
use uuid::Uuid;

/// A scenario file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    /// What it shows.
    about: String,
    /// The pool.
    inventory: Inventory,
    /// The policies that are asked, each by itself.
    policies: Vec<AskedPolicy>,
    /// Which question.
    ask: Ask,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum AskedPolicy {
    Named(PolicyName),
    Custom(Box<Policy>),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ask {
    /// Where should this go, and what does each machine say?
    Place(Box<Needs>),
    /// Where should these instances of the inventory go, all or none?
    Batch(Vec<Uuid>),
    /// Where should this instance of the inventory go, with room kept for failures?
    PlaceKeepingRecovery(Uuid),
    /// Could each failure be recovered?
    Recovery,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

#[test]
fn every_scenario_is_answered_as_its_golden_file_says() {
    let mut names: Vec<PathBuf> = std::fs::read_dir(folder())
        .expect("the folder of scenarios")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    names.sort();
    assert!(names.len() >= 8, "{names:?}");
    for path in names {
        let text = std::fs::read_to_string(&path).expect("a readable file");
        let scenario: Scenario =
            serde_json::from_str(&text).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
        let answer = answer(&scenario);
        let golden = path.with_extension("txt");
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            std::fs::write(&golden, &answer).expect("a writable folder");
        }
        let said = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(
            said,
            answer,
            "{}; UPDATE_GENERATED=1 writes it anew",
            golden.display()
        );
    }
}

fn answer(scenario: &Scenario) -> String {
    let mut text = format!("{}\n", scenario.about);
    for policy in &scenario.policies {
        let (name, policy) = match policy {
            AskedPolicy::Named(name) => (name.to_string(), Policy::from(*name)),
            AskedPolicy::Custom(policy) => ("weights of its own".to_owned(), (**policy).clone()),
        };
        let mut pool = crate::made_up::pool_of(&scenario.inventory);
        let said = match &scenario.ask {
            Ask::Place(needs) => place(&mut pool, needs, &policy),
            Ask::Batch(instances) => batch(&mut pool, instances, &policy),
            Ask::PlaceKeepingRecovery(instance) => keeping(&pool, *instance, &policy),
            Ask::Recovery => recovery(&n_plus_one(&pool, &policy)),
        };
        let _ = write!(text, "\n{name}\n{said}");
    }
    text
}

/// The choice, and each machine's word, compared with the chosen one.
fn place(pool: &mut Pool, needs: &Needs, policy: &Policy) -> String {
    let asked = pool.ask(needs);
    pool.refresh_index();
    let subject = Subject::new(pool, &asked);
    let (chosen, mut text) = match choose(&subject, policy) {
        Ok(choice) => (Some(choice.machine), choice.explanation.to_string()),
        Err(none) => (None, none.at_length()),
    };
    for (machine, _) in pool.machines().filter(|(machine, _)| Some(*machine) != chosen) {
        text += &explain(&subject, policy, machine, chosen).to_string();
    }
    text
}

fn batch(pool: &mut Pool, instances: &[Uuid], policy: &Policy) -> String {
    let waiting: Vec<_> = instances
        .iter()
        .filter_map(|id| pool.instance_of_id(*id))
        .collect();
    match place_batch(pool, &waiting, policy) {
        Ok(placed) => placed.iter().fold(String::new(), |text, (instance, machine)| {
            format!(
                "{text}{} on {}\n",
                pool.instance(*instance).name,
                pool.machine(*machine).name
            )
        }),
        Err(failure) => format!("{failure}\n"),
    }
}

#[expect(clippy::expect_used, reason = "a test's own file")]
fn keeping(pool: &Pool, instance: Uuid, policy: &Policy) -> String {
    let instance = pool
        .instance_of_id(instance)
        .expect("an instance of the inventory");
    let told = |machine, broken: &Broken| format!("{} {}", pool.machine(machine).name, broken.refusal(pool));
    match Recoverability::new(pool, policy).choose(pool, instance, policy) {
        Ok(kept) => {
            let mut text = kept.choice.explanation.to_string();
            if let Some(broken) = &kept.broken {
                let _ = writeln!(text, "  but {}", told(kept.choice.machine, broken));
            }
            for (machine, broken) in &kept.passed_over {
                let _ = writeln!(text, "  as {}", told(*machine, broken));
            }
            text
        }
        Err(none) => none.at_length(),
    }
}

fn recovery(verdict: &Recovery) -> String {
    match verdict {
        Recovery::Recoverable => "every failure can be recovered\n".to_owned(),
        Recovery::NotJudged => "nobody has looked\n".to_owned(),
        Recovery::Stranding {
            name,
            stranded,
            failures,
            ..
        } => {
            let mut text =
                format!("failures that could not be recovered: {failures}; {name}'s would strand\n");
            for one in stranded {
                let told: Vec<String> = one.refusals.iter().map(ToString::to_string).collect();
                let _ = writeln!(text, "  {}: {}", one.name, told.join("; "));
            }
            text
        }
    }
}

#[test]
fn an_instance_without_any_reason_against_it_is_not_told_to_have_no_place() {
    let mut inventory = Inventory::empty();
    inventory.machines = vec![crate::made_up::machine(0)];
    inventory.instances = vec![Instance {
        machine: Some(crate::made_up::machine_id(0)),
        ..crate::made_up::instance(0, Needs::new(1, crate::made_up::gib(1)))
    }];
    let pool = crate::made_up::pool_of(&inventory);
    let said = no_place(&Subject::of(&pool, crate::made_up::instance_index(0)));
    assert_eq!((said.refused_by.len(), said.nearest), (0, None));
}
