//! The pool of CloudSim's PlanetLab experiment: its machines, its instances, and the least energy that a day can cost.

use super::engine::{Engine, Event, Rules};
use super::policies::{Consolidate, Policy, PolicyName, Settings};
use super::power::{BadCurve, PowerCurve};
use super::report::Report;
use super::time::Millis;
use super::traces::{PLANETLAB_STEP, Trace};
use super::world::{InstanceSpec, MachineSpec, MemoryMode, World};

/// The machines of the experiment.
pub const MACHINES: usize = 800;
/// A day.
pub const DAY: Millis = Millis::from_seconds(86_400);

/// CloudSim's first event comes after its smallest step, and all others after that.
const CLOUDSIM_OFFSET: Millis = Millis(100);

const CORES: u32 = 2;
const MEMORY_MB: f64 = 4096.0;
/// Half of 1 Gbit/s, the other half is for the instances' own traffic.
const MIGRATION_MB_S: f64 = 62.5;
/// HP ProLiant ML110 G4, by SPECpower.
const SLOW: (f64, [f64; 11]) = (
    1860.0,
    [
        86.0, 89.4, 92.6, 96.0, 99.5, 102.0, 106.0, 108.0, 112.0, 114.0, 117.0,
    ],
);
/// HP ProLiant ML110 G5, by SPECpower.
const FAST: (f64, [f64; 11]) = (
    2660.0,
    [
        93.7, 97.0, 101.0, 105.0, 110.0, 116.0, 121.0, 125.0, 129.0, 133.0, 135.0,
    ],
);
/// MIPS and MB of the four kinds of instances.
const KINDS: [(f64, f64); 4] = [
    (2500.0, 870.0),
    (2000.0, 1740.0),
    (1000.0, 1740.0),
    (500.0, 613.0),
];

/// One day: a trace for each instance, in the order of their names.
#[derive(Debug, Clone, PartialEq)]
pub struct Day {
    instances: Vec<InstanceSpec>,
    loads: Vec<Trace>,
}

impl Day {
    /// The day of these instances, which are put in the order of their names; it gives each its kind.
    pub fn new(mut traces: Vec<(String, Trace)>) -> Self {
        traces.sort_by(|a, b| a.0.cmp(&b.0));
        let of_a_kind = traces.len().div_ceil(KINDS.len()).max(1);
        let kinds = KINDS.iter().flat_map(|kind| std::iter::repeat_n(kind, of_a_kind));
        let (instances, loads) = (traces.into_iter().zip(kinds))
            .map(|((name, load), &(vcpu_mips, memory_mb))| {
                (
                    InstanceSpec {
                        name,
                        vcpus: 1,
                        vcpu_mips,
                        memory_mb,
                    },
                    load,
                )
            })
            .unzip();
        Self { instances, loads }
    }

    /// How many instances there are.
    pub fn instances(&self) -> usize {
        self.instances.len()
    }

    /// The energy of the day if all demand ran on the faster machines at 100 %, in kWh. Nobody can reach it: the demand is
    /// not known before, and a machine that is always full cannot keep its promises.
    pub fn floor_kwh(&self) -> f64 {
        let (core_mips, watts) = FAST;
        let full_watts = watts.last().copied().unwrap_or_default();
        let steps = DAY.0 / PLANETLAB_STEP.0;
        let asked: f64 = (0..steps)
            .map(|step| Millis(step * PLANETLAB_STEP.0))
            .map(|at| {
                self.instances
                    .iter()
                    .zip(&self.loads)
                    .map(|(spec, load)| load.at(at) * spec.mips())
                    .sum::<f64>()
            })
            .sum();
        let machine_seconds = asked * PLANETLAB_STEP.seconds() / (f64::from(CORES) * core_mips);
        machine_seconds * full_watts / 3.6e6
    }

    /// Runs the day under the pool's own policy, from the first moment to the last, with everything that is asked for.
    pub fn run(&self, settings: Settings, memory: MemoryMode) -> Result<Report, BadCurve> {
        self.run_by(
            &mut Consolidate::new(settings),
            memory,
            Rules::plain(PLANETLAB_STEP),
        )
    }

    /// Runs the day under a reference policy exactly as CloudSim 3.0.3 does, which differs in three ways from its description.
    ///
    /// An instance that asks for nothing at two samples in a row is taken for finished and never comes back; the energy of the
    /// first 300 s, when most machines are on, does not count; and each decision comes 0.1 s after the sample. All of that makes
    /// a day cheaper, so what is compared with it is not flattered.
    pub fn run_as_cloudsim(&self, policy: PolicyName) -> Result<Report, BadCurve> {
        let rules = Rules {
            first_decision: PLANETLAB_STEP + CLOUDSIM_OFFSET,
            interval: PLANETLAB_STEP,
            counted_from: PLANETLAB_STEP + CLOUDSIM_OFFSET,
            idle_is_finished: true,
        };
        let mut policy = policy.policy(PLANETLAB_STEP, Settings::default());
        self.run_by(policy.as_mut(), MemoryMode::Cloudsim, rules)
    }

    fn run_by(&self, policy: &mut dyn Policy, memory: MemoryMode, rules: Rules) -> Result<Report, BadCurve> {
        let world = World::new(machines()?, self.instances.clone(), memory);
        let mut engine = Engine::new(world, &self.loads, policy, rules);
        for instance in 0..self.instances.len() {
            engine.schedule(Millis::ZERO, Event::Arrive(instance));
        }
        Ok(engine.run(DAY))
    }
}

fn machines() -> Result<Vec<MachineSpec>, BadCurve> {
    let slow = machine("slow", SLOW)?;
    let fast = machine("fast", FAST)?;
    Ok((0..MACHINES)
        .map(|index| {
            let kind = if index % 2 == 0 { &slow } else { &fast };
            MachineSpec {
                name: format!("{}-{index}", kind.name),
                ..kind.clone()
            }
        })
        .collect())
}

fn machine(name: &str, (core_mips, watts): (f64, [f64; 11])) -> Result<MachineSpec, BadCurve> {
    Ok(MachineSpec {
        name: name.into(),
        cores: CORES,
        core_mips,
        memory_mb: MEMORY_MB,
        migration_mb_s: MIGRATION_MB_S,
        power: PowerCurve::new(watts.to_vec())?,
    })
}
