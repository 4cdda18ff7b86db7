//! A pool and what happens to it, as one document; see [`Scenario`].

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::engine::{Engine, Event, Rules};
use super::policies::{PolicyName, Settings};
use super::power::PowerCurve;
use super::report::Report;
use super::time::Millis;
use super::traces::{Generator, SAMPLES_MAX, Trace};
use super::world::{InstanceSpec, MachineSpec, MemoryMode, World};

/// Machines that a scenario may have.
pub const MACHINES_MAX: usize = 10_000;
/// Instances that a scenario may have.
pub const INSTANCES_MAX: usize = 20_000;
/// The most work that a scenario may be: events × (machines + instances). It takes seconds; a policy of `CloudSim`'s, which looks at every
/// machine for every instance, may take many times as long in a large pool.
pub const WORK_MAX: u64 = 2_000_000_000;
/// Samples of generated loads that a scenario may have in all: they are made before it runs, and take 8 bytes each.
pub const SAMPLES_ALL_MAX: u64 = 100_000_000;

/// A pool and what happens to it over virtual time.
///
/// ```json
/// {
///   "seed": 1, "duration_s": 86400, "interval_s": 300, "policy": "consolidate",
///   "machines": [{
///     "name": "atlas", "count": 4, "cores": 8, "core_mips": 3000, "memory_mb": 32768, "migration_mb_s": 100,
///     "power_watts": [40, 90]
///   }],
///   "instances": [{
///     "name": "web", "count": 10, "vcpus": 2, "vcpu_mips": 3000, "memory_mb": 2048,
///     "load": {"generated": {
///       "kind": "day", "mean_percent": 30, "swing_percent": 25, "peak_hour": 14, "noise_percent": 5
///     }}
///   }],
///   "failures": [{"machine": "atlas-2", "at_s": 3600, "until_s": 7200}]
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// All chance comes from it.
    #[serde(default)]
    pub seed: u64,
    /// How long the run is, in seconds of virtual time.
    pub duration_s: u64,
    /// The time from one decision to the next, in seconds, at least 1. Loads are looked at whenever something happens, and not in between:
    /// a trace with more samples than decisions is seen as coarsely as these come.
    pub interval_s: u64,
    /// Who decides.
    #[serde(default)]
    pub policy: PolicyName,
    /// The settings of the policy `consolidate`; those that were tuned where there are none.
    #[serde(default)]
    pub settings: Settings,
    /// When memory counts.
    #[serde(default)]
    pub memory: MemoryMode,
    /// The machines.
    pub machines: Vec<Machines>,
    /// The instances.
    pub instances: Vec<Instances>,
    /// When machines fail.
    #[serde(default)]
    pub failures: Vec<Failure>,
}

/// Machines of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machines {
    /// Its name; where there are several they are called `name-0`, `name-1` …
    pub name: String,
    /// How many there are.
    #[serde(default = "one")]
    pub count: u32,
    /// Cores of each.
    pub cores: u32,
    /// What one core computes, in MIPS, or any unit that the scenario uses throughout.
    pub core_mips: f64,
    /// Memory, in MB.
    pub memory_mb: f64,
    /// What a migration copies in a second, in MB.
    pub migration_mb_s: f64,
    /// Power from idle to full load: at least two points at equal distances, in W.
    pub power_watts: PowerCurve,
}

/// Instances of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instances {
    /// Its name; where there are several they are called `name-0`, `name-1` …
    pub name: String,
    /// How many there are.
    #[serde(default = "one")]
    pub count: u32,
    /// vCPUs of each.
    pub vcpus: u32,
    /// What one vCPU may ask for, in the unit of the machines.
    pub vcpu_mips: f64,
    /// Memory, in MB.
    pub memory_mb: f64,
    /// What it uses.
    pub load: Load,
    /// When they are ordered, in seconds.
    #[serde(default)]
    pub arrives_s: u64,
    /// When they are gone, in seconds; never where it is left out.
    #[serde(default)]
    pub departs_s: Option<u64>,
}

/// Where a load comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// A trace that is given beside the scenario, by its name.
    Trace(String),
    /// A rule; each instance has chance of its own.
    Generated(Generator),
}

/// A machine fails, and may come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// The machine's name.
    pub machine: String,
    /// When it fails, in seconds.
    pub at_s: u64,
    /// When it works again, in seconds; never where it is left out.
    #[serde(default)]
    pub until_s: Option<u64>,
}

/// Why a scenario cannot be run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ScenarioError {
    /// There would be too much to simulate.
    #[error("{what}: {count} is more than {most}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How much it is.
        count: u64,
        /// How much it may be.
        most: u64,
    },
    /// A number is not one that its field can have.
    #[error("{name}: {field} must be {wanted}, not {found}")]
    Number {
        /// The machine or instance, or "the scenario".
        name: String,
        /// The field.
        field: &'static str,
        /// What it can be.
        wanted: &'static str,
        /// What it is.
        found: f64,
    },
    /// Two machines, or two instances, have one name.
    #[error("the name \"{name}\" is there twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// A load names a trace that was not given.
    #[error("{name}: there is no trace \"{trace}\"")]
    NoTrace {
        /// The instance.
        name: String,
        /// The trace that it names.
        trace: String,
    },
    /// A failure names a machine that is not there.
    #[error("a failure names the machine \"{machine}\", which is not there")]
    NoMachine {
        /// The name.
        machine: String,
    },
    /// Something ends before it begins.
    #[error("{name}: {end_s} s is not after {begin_s} s")]
    Order {
        /// The machine or instance.
        name: String,
        /// When it begins, in seconds.
        begin_s: u64,
        /// When it ends, in seconds.
        end_s: u64,
    },
}

/// Runs a scenario; `traces` are those that its loads name. The same input gives the same report.
pub fn run(scenario: &Scenario, traces: &BTreeMap<String, Trace>) -> Result<Report, ScenarioError> {
    check_size(scenario)?;
    let duration = Millis::from_seconds(scenario.duration_s);
    let interval = Millis::from_seconds(scenario.interval_s);
    let machines = machines(scenario)?;
    let (instances, loads) = instances(scenario, traces)?;
    let failures = failures(scenario, &machines)?;

    let mut policy = scenario.policy.policy(interval, scenario.settings);
    let rules = Rules::plain(interval);
    let lives: Vec<(u64, Option<u64>)> = scenario
        .instances
        .iter()
        .flat_map(|kind| std::iter::repeat_n((kind.arrives_s, kind.departs_s), kind.count as usize))
        .collect();
    let mut engine = Engine::new(
        World::new(machines, instances, scenario.memory),
        &loads,
        policy.as_mut(),
        rules,
    );
    for (instance, (arrives_s, departs_s)) in lives.into_iter().enumerate() {
        engine.schedule(Millis::from_seconds(arrives_s), Event::Arrive(instance));
        if let Some(departs_s) = departs_s {
            engine.schedule(Millis::from_seconds(departs_s), Event::Depart(instance));
        }
    }
    for (at_s, event) in failures {
        engine.schedule(Millis::from_seconds(at_s), event);
    }
    Ok(engine.run(duration))
}

fn one() -> u32 {
    1
}

fn check_size(scenario: &Scenario) -> Result<(), ScenarioError> {
    let limit = |what, count: u64, most: u64| {
        if count > most {
            Err(ScenarioError::TooMuch { what, count, most })
        } else {
            Ok(())
        }
    };
    let counted = |counts: &mut dyn Iterator<Item = u32>| counts.map(u64::from).sum::<u64>();
    let machines = counted(&mut scenario.machines.iter().map(|kind| kind.count));
    let instances = counted(&mut scenario.instances.iter().map(|kind| kind.count));
    limit("machines", machines, MACHINES_MAX as u64)?;
    limit("instances", instances, INSTANCES_MAX as u64)?;
    limit("failures", scenario.failures.len() as u64, MACHINES_MAX as u64)?;
    let Some(decisions) = scenario.duration_s.checked_div(scenario.interval_s) else {
        return Err(bad_number("the scenario", "interval_s", "1 or more", 0.0));
    };
    let events = decisions
        .saturating_add(2 * instances)
        .saturating_add(2 * scenario.failures.len() as u64);
    limit(
        "events × (machines + instances)",
        events.saturating_mul(machines + instances),
        WORK_MAX,
    )?;
    let generated = (scenario.instances.iter()).filter(|kind| matches!(kind.load, Load::Generated(_)));
    let generated = counted(&mut generated.map(|kind| kind.count));
    let samples = decisions.saturating_add(1).min(SAMPLES_MAX as u64);
    limit(
        "samples of generated loads",
        generated.saturating_mul(samples),
        SAMPLES_ALL_MAX,
    )
}

fn machines(scenario: &Scenario) -> Result<Vec<MachineSpec>, ScenarioError> {
    let mut names = BTreeSet::new();
    let mut machines = Vec::new();
    for kind in &scenario.machines {
        positive(&kind.name, "cores", f64::from(kind.cores))?;
        positive(&kind.name, "core_mips", kind.core_mips)?;
        positive(&kind.name, "memory_mb", kind.memory_mb)?;
        positive(&kind.name, "migration_mb_s", kind.migration_mb_s)?;
        for name in numbered(&kind.name, kind.count) {
            machines.push(MachineSpec {
                name: unique(name, &mut names)?,
                cores: kind.cores,
                core_mips: kind.core_mips,
                memory_mb: kind.memory_mb,
                migration_mb_s: kind.migration_mb_s,
                power: kind.power_watts.clone(),
            });
        }
    }
    Ok(machines)
}

fn instances(
    scenario: &Scenario,
    traces: &BTreeMap<String, Trace>,
) -> Result<(Vec<InstanceSpec>, Vec<Trace>), ScenarioError> {
    let mut names = BTreeSet::new();
    let (mut instances, mut loads) = (Vec::new(), Vec::new());
    for kind in &scenario.instances {
        positive(&kind.name, "vcpus", f64::from(kind.vcpus))?;
        positive(&kind.name, "vcpu_mips", kind.vcpu_mips)?;
        positive(&kind.name, "memory_mb", kind.memory_mb)?;
        ordered(&kind.name, kind.arrives_s, kind.departs_s)?;
        for name in numbered(&kind.name, kind.count) {
            loads.push(load(scenario, kind, loads.len() as u64, traces)?);
            instances.push(InstanceSpec {
                name: unique(name, &mut names)?,
                vcpus: kind.vcpus,
                vcpu_mips: kind.vcpu_mips,
                memory_mb: kind.memory_mb,
            });
        }
    }
    Ok((instances, loads))
}

fn load(
    scenario: &Scenario,
    kind: &Instances,
    stream: u64,
    traces: &BTreeMap<String, Trace>,
) -> Result<Trace, ScenarioError> {
    match &kind.load {
        Load::Generated(generator) => {
            let duration = Millis::from_seconds(scenario.duration_s);
            Ok(generator.trace(
                duration,
                Millis::from_seconds(scenario.interval_s),
                scenario.seed,
                stream,
            ))
        }
        Load::Trace(trace) => traces.get(trace).cloned().ok_or_else(|| ScenarioError::NoTrace {
            name: kind.name.clone(),
            trace: trace.clone(),
        }),
    }
}

fn failures(scenario: &Scenario, machines: &[MachineSpec]) -> Result<Vec<(u64, Event)>, ScenarioError> {
    let numbers: BTreeMap<&str, usize> = machines.iter().map(|spec| &*spec.name).zip(0..).collect();
    let mut events = Vec::new();
    for Failure {
        machine,
        at_s,
        until_s,
    } in &scenario.failures
    {
        let Some(index) = numbers.get(&**machine).copied() else {
            return Err(ScenarioError::NoMachine {
                machine: machine.clone(),
            });
        };
        ordered(machine, *at_s, *until_s)?;
        events.push((*at_s, Event::Fail(index)));
        events.extend(until_s.map(|until_s| (until_s, Event::Recover(index))));
    }
    Ok(events)
}

fn numbered(name: &str, count: u32) -> impl Iterator<Item = String> {
    (0..count).map(move |number| {
        if count == 1 {
            name.to_owned()
        } else {
            format!("{name}-{number}")
        }
    })
}

fn unique(name: String, names: &mut BTreeSet<String>) -> Result<String, ScenarioError> {
    if names.insert(name.clone()) {
        Ok(name)
    } else {
        Err(ScenarioError::Twice { name })
    }
}

fn positive(name: &str, field: &'static str, value: f64) -> Result<(), ScenarioError> {
    // Up to 10^12 sums of anything here stay far from the end of what a float holds.
    if value > 0.0 && value <= 1e12 {
        return Ok(());
    }
    Err(bad_number(name, field, "more than 0 and at most 10^12", value))
}

fn bad_number(name: &str, field: &'static str, wanted: &'static str, found: f64) -> ScenarioError {
    ScenarioError::Number {
        name: name.into(),
        field,
        wanted,
        found,
    }
}

fn ordered(name: &str, begin_s: u64, end_s: Option<u64>) -> Result<(), ScenarioError> {
    match end_s {
        Some(end_s) if end_s <= begin_s => Err(ScenarioError::Order {
            name: name.into(),
            begin_s,
            end_s,
        }),
        Some(_) | None => Ok(()),
    }
}
