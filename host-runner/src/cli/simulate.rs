//! `simulate`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use pool::simulation::policies::PolicyName;

/// Options of `simulate`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Simulate {
    /// A run of another kind.
    #[command(subcommand)]
    pub command: Option<SimulateCommand>,
    /// A scenario.
    #[command(flatten)]
    pub planned: SimulateScenario,
}

/// What to simulate, other than a scenario file.
#[derive(Debug, Subcommand)]
pub enum SimulateCommand {
    /// One day of PlanetLab's traces on CloudSim's 800 machines
    ///
    /// Prints `vms`, `hosts`, `energy_kwh`, `migrations`, `slatah`, `pdm`, `slav`, `host_shutdowns` and `wall_s`; slatah, pdm and slav
    /// are fractions.
    Planetlab(SimulatePlanetlab),
    /// Choose the settings of the policy consolidate on several days, and judge the choice on days that were left out
    ///
    /// Takes minutes: 216 candidates run each day. For whoever changes the policy.
    PlanetlabTune(SimulateTune),
}

/// Options of `simulate planetlab-tune`.
#[derive(Debug, Args)]
pub struct SimulateTune {
    /// A folder with a folder for each day, at least two
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,

    /// For programs
    #[arg(long)]
    pub json: bool,
}

/// Options of `simulate planetlab`.
#[derive(Debug, Args)]
pub struct SimulatePlanetlab {
    /// The day's folder: a file for each instance, with one whole percentage of CPU a line, one line every 300 s
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,

    /// Who decides
    ///
    /// CloudSim's own run exactly as they do there.
    #[arg(long, value_enum, value_name = "NAME", default_value_t = SimulatedPolicy::Consolidate)]
    pub policy: SimulatedPolicy,

    /// When memory binds, under the policy consolidate
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = MemoryBinds::Cloudsim)]
    pub memory: MemoryBinds,

    /// What chance follows: the same seed, the same day. A day of traces leaves nothing to chance, so all seeds give the same
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// For programs
    #[arg(long)]
    pub json: bool,
}

/// Who decides in a simulated pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SimulatedPolicy {
    /// Millpond's own: few machines, kept from running out of CPU
    Consolidate,
    /// Nothing moves
    #[value(alias = "dvfs")]
    Stay,
    /// CloudSim's THR-MMT 0.8: a fixed threshold
    #[value(alias = "thr")]
    ThrMmt,
    /// CloudSim's IQR-MMT 1.5: a threshold by the interquartile range
    #[value(alias = "iqr")]
    IqrMmt,
    /// CloudSim's LR-MMT 1.2: a threshold by local regression
    #[value(alias = "lr")]
    LrMmt,
}

impl From<SimulatedPolicy> for PolicyName {
    fn from(policy: SimulatedPolicy) -> Self {
        match policy {
            SimulatedPolicy::Consolidate => Self::Consolidate,
            SimulatedPolicy::Stay => Self::Stay,
            SimulatedPolicy::ThrMmt => Self::ThrMmt,
            SimulatedPolicy::IqrMmt => Self::IqrMmt,
            SimulatedPolicy::LrMmt => Self::LrMmt,
        }
    }
}

/// When memory binds in a simulated pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MemoryBinds {
    /// Only when an instance is first placed, as in CloudSim's examples
    Cloudsim,
    /// Always, as on a real machine
    Memory,
}

/// Options of a scenario's run.
#[derive(Debug, Args)]
pub struct SimulateScenario {
    /// The scenario file; its form is described in host-runner/docs/PLANNING.md
    #[arg(value_name = "SCENARIO", required = true)]
    pub scenario: Option<PathBuf>,

    /// Where the report goes: tables as text and JSON, charts as SVG and PNG
    ///
    /// Default: a folder named after the scenario, ending in `-report`, in the working directory.
    #[arg(long, short, value_name = "DIR")]
    pub output: Option<PathBuf>,

    /// Who decides, in place of the scenario's policy; give it several times to compare policies
    #[arg(long = "policy", value_enum, value_name = "NAME")]
    pub policies: Vec<SimulatedPolicy>,

    /// In place of the scenario's seed: the same seed, the same run
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Print the report's tables as JSON rather than as text
    #[arg(long)]
    pub json: bool,
}
