//! `plan place`: where new instances would go, and why there.

use std::process::ExitCode;
use std::time::Instant;

use pool::Pool;
use pool::inventory::{
    Activity, Affinity, AffinityKind, AffinityTarget, DiskNeed, Instance, Inventory, Needs,
};
use pool::placing::{Explanation, NoPlace, Policy, PolicyName, Subject, choose, explain};
use pool::plans::{PoolState, pool_state};
use pool::state::{InstanceIndex, MachineIndex};
use serde::Serialize;
use uuid::Uuid;

use super::super::CommandError;
use super::super::words::presentable;
use super::source::{self, Names};
use super::{PlanCommandError, edits, exit_code, inventory, place_text};
use crate::cli::{Asking, PlacePlan, PolicyChoice};

/// One instance's place.
#[derive(Debug, Serialize)]
pub(super) struct Placed {
    pub(super) instance: Uuid,
    pub(super) name: String,
    pub(super) machine: Uuid,
    pub(super) explanation: Explanation,
}

/// The instance that finds none, on account of which nothing is placed.
#[derive(Debug, Serialize)]
pub(super) struct Unplaced {
    pub(super) instance: Uuid,
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) why: NoPlace,
}

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct PlaceReport {
    pub(super) kind: &'static str,
    pub(super) version: u32,
    pub(super) policy: PolicyName,
    /// All of them, or none.
    pub(super) placed: Vec<Placed>,
    pub(super) no_place: Option<Unplaced>,
    /// The machines that were to be explained, each for the first instance and compared with the one that was chosen.
    pub(super) explained: Vec<Explanation>,
    pub(super) before: PoolState,
    pub(super) after: PoolState,
    pub(super) took_ms: f64,
}

/// Answers the question.
pub(super) fn run(asked: &PlacePlan) -> Result<ExitCode, CommandError> {
    let (report, names) = report(asked)?;
    if asked.asking.json {
        super::super::print(&serde_json::to_string_pretty(&report)?)?;
    } else {
        super::super::print(&presentable(&place_text::told(&report, &names)))?;
    }
    Ok(exit_code(report.no_place.is_none()))
}

fn report(asked: &PlacePlan) -> Result<(PlaceReport, Names), PlanCommandError> {
    let mut inventory = inventory(&asked.asking)?;
    let explain_ids = (asked.explain.iter())
        .map(|word| source::machine(&inventory, word).map(|machine| machine.id))
        .collect::<Result<Vec<Uuid>, _>>()?;
    let needs = needs(asked, &inventory)?;
    let first = inventory.instances.len();
    inventory.instances.extend(wanted(asked, &needs));
    let names = Names::of(&inventory);
    let mut pool = Pool::new(&inventory, inventory.taken_at_s)?;
    let policy_name = policy_name(&asked.asking);
    let policy = Policy {
        seed: asked.asking.seed,
        ..policy_name.into()
    };
    pool.refresh_index();
    let before = pool_state(&pool);
    let wanted: Vec<InstanceIndex> = (pool.instances().skip(first)).map(|(index, _)| index).collect();
    let started = Instant::now();
    let untouched = pool.clone();
    let found = place_all(&mut pool, &wanted, &policy);
    let took_ms = started.elapsed().as_secs_f64() * 1_000.0;
    let (placed, no_place) = match found {
        Ok(placed) => (placed, None),
        Err(unplaced) => (Vec::new(), Some(*unplaced)),
    };
    let explained = wanted.first().map(|first| {
        let chosen = placed
            .first()
            .and_then(|placed| untouched.machine_of_id(placed.machine));
        explained(&untouched, *first, &policy, &explain_ids, chosen)
    });
    let report = PlaceReport {
        kind: "place",
        version: inventory.version,
        policy: policy_name,
        after: if no_place.is_none() {
            pool_state(&pool)
        } else {
            before.clone()
        },
        placed,
        no_place,
        explained: explained.unwrap_or_default(),
        before,
        took_ms,
    };
    Ok((report, names))
}

fn policy_name(asking: &Asking) -> PolicyName {
    match asking.policy.unwrap_or(PolicyChoice::Spread) {
        PolicyChoice::Spread => PolicyName::Spread,
        PolicyChoice::Pack => PolicyName::Pack,
        PolicyChoice::SavePower => PolicyName::SavePower,
    }
}

/// What each instance needs, from the file or the options.
fn needs(asked: &PlacePlan, inventory: &Inventory) -> Result<Needs, PlanCommandError> {
    if let Some(file) = &asked.request {
        return Ok(source::json(file, "what an instance needs")?);
    }
    let machine = |word: &Option<String>| {
        word.as_deref()
            .map(|word| source::machine(inventory, word).map(|machine| machine.id))
            .transpose()
    };
    let apart = asked.group.clone().filter(|_| asked.apart).map(|name| Affinity {
        kind: AffinityKind::Apart,
        target: AffinityTarget::Group { name },
        hard: true,
    });
    // The command line gives both or a file.
    let (vcpus, memory) = (asked.vcpus.unwrap_or(1), asked.memory.unwrap_or_default());
    Ok(Needs {
        disks: (asked.disks.iter())
            .map(|size| DiskNeed {
                size_mib: *size,
                storage: None,
            })
            .collect(),
        image: asked.image.clone(),
        hardware: asked.hardware.clone(),
        group: asked.group.clone(),
        affinities: apart.into_iter().collect(),
        hint: machine(&asked.hint)?,
        pin: machine(&asked.pin)?,
        ..Needs::new(vcpus, memory)
    })
}

/// The instances, with ids that follow from their names: the same question has the same answer.
fn wanted(asked: &PlacePlan, needs: &Needs) -> Vec<Instance> {
    (1..=asked.count)
        .map(|number| {
            let name = if asked.count == 1 {
                asked.name.clone()
            } else {
                format!("{}-{number}", asked.name)
            };
            Instance {
                id: edits::id_of(&name),
                name,
                machine: None,
                activity: Activity::Running,
                needs: needs.clone(),
                usage: None,
                moved_at_s: None,
            }
        })
        .collect()
}

/// Places all, or says which of them finds no place.
fn place_all(
    pool: &mut Pool,
    wanted: &[InstanceIndex],
    policy: &Policy,
) -> Result<Vec<Placed>, Box<Unplaced>> {
    let mut placed = Vec::with_capacity(wanted.len());
    for &instance in wanted {
        pool.refresh_index();
        let seat = pool.instance(instance);
        let (id, name) = (seat.id, seat.name.to_string());
        match choose(&Subject::of(pool, instance), policy) {
            Ok(choice) => {
                placed.push(Placed {
                    instance: id,
                    name,
                    machine: pool.machine(choice.machine).id,
                    explanation: choice.explanation,
                });
                pool.seat(instance, choice.machine);
            }
            Err(why) => {
                return Err(Box::new(Unplaced {
                    instance: id,
                    name,
                    why: *why,
                }));
            }
        }
    }
    Ok(placed)
}

fn explained(
    pool: &Pool,
    instance: InstanceIndex,
    policy: &Policy,
    machines: &[Uuid],
    chosen: Option<MachineIndex>,
) -> Vec<Explanation> {
    let subject = Subject::of(pool, instance);
    (machines.iter())
        .filter_map(|id| pool.machine_of_id(*id))
        .map(|machine| explain(&subject, policy, machine, chosen))
        .collect()
}
