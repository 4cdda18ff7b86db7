//! `plan`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use api::Mib;
use clap::{Args, Subcommand, ValueEnum};

use super::size::size;

/// What is asked.
#[derive(Debug, Subcommand)]
pub enum PlanCommand {
    /// Where new instances would go, and why
    Place(PlacePlan),
    /// How a machine could be emptied
    Drain(DrainPlan),
    /// How the load could be evened out
    Balance(BalancePlan),
    /// How fewer machines could do, so that others can sleep
    Consolidate(ConsolidatePlan),
    /// How what ran on a machine that is gone could be started elsewhere
    Recover(RecoverPlan),
    /// What an edit of the pool would bring: a machine less, two more, twice the load
    WhatIf(WhatIfPlan),
}

/// Options of all plans.
#[derive(Debug, Clone, Args)]
pub struct Asking {
    /// The pool, as `host-runner pool dump` writes it; `-` for stdin
    #[arg(long, value_name = "FILE")]
    pub inventory: PathBuf,

    /// What counts; see each policy
    ///
    /// Default: spread; for consolidate save-power.
    #[arg(long, value_enum, value_name = "NAME")]
    pub policy: Option<PolicyChoice>,

    /// How the plan is looked for
    #[arg(long, value_enum, value_name = "WAY", default_value_t = SolverChoice::Heuristic)]
    pub solver: SolverChoice,

    /// When the optimal solver stops and hands over the best that it found, in seconds, 0.1 to 600
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    pub solver_seconds: f64,

    /// Where a search by chance begins: the same seed, the same plan
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u32,

    /// For programs
    #[arg(long)]
    pub json: bool,
}

/// A policy by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PolicyChoice {
    /// Even load: everybody gets a calm machine
    Spread,
    /// Few full machines, so that large instances still find room; wakes none
    Pack,
    /// As few machines as possible awake
    #[value(alias = "save_power")]
    SavePower,
}

/// A way to look for a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SolverChoice {
    /// A local search: fast at every size, and near the best
    Heuristic,
    /// A mixed-integer program: the best, for small pools, within the time limit
    Optimal,
}

/// What happens to a placement after which a machine's failure could no longer be recovered on the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RecoveryChoice {
    /// Nobody looks
    Ignore,
    /// It is told
    Warn,
    /// It is refused: the next best machine is taken, or none
    Refuse,
}

/// Options of `plan place`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("needs").required(true).args(["request", "vcpus"]))]
pub struct PlacePlan {
    /// Options of all plans.
    #[command(flatten)]
    pub asking: Asking,

    /// What an instance needs, in a JSON file of the form `Needs` of `host-runner pool schema`; `-` for stdin
    #[arg(long, value_name = "FILE")]
    pub request: Option<PathBuf>,

    /// Virtual CPUs
    #[arg(long, value_name = "N", requires = "memory", value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub vcpus: Option<u32>,

    /// Memory, such as 512MiB or 4GiB
    #[arg(long, value_name = "SIZE", requires = "vcpus", value_parser = size)]
    pub memory: Option<Mib>,

    /// A disk of its own; give it several times for several disks
    #[arg(long = "disk", value_name = "SIZE", requires = "vcpus", value_parser = size)]
    pub disks: Vec<Mib>,

    /// The image that it starts from
    #[arg(long, value_name = "NAME", requires = "vcpus")]
    pub image: Option<String>,

    /// The class of hardware that it must run on
    #[arg(long, value_name = "CLASS", requires = "vcpus")]
    pub hardware: Option<String>,

    /// The group that it belongs to
    #[arg(long, value_name = "NAME", requires = "vcpus")]
    pub group: Option<String>,

    /// Keep it away from the machines that hold others of its group
    #[arg(long, requires = "group")]
    pub apart: bool,

    /// A machine that would be liked, by name or id; it binds nobody
    #[arg(long, value_name = "MACHINE", requires = "vcpus")]
    pub hint: Option<String>,

    /// The only machine that may hold it, by name or id
    #[arg(long, value_name = "MACHINE", requires = "vcpus")]
    pub pin: Option<String>,

    /// How many of them: all are placed, or none
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub count: u32,

    /// What they are called: NAME-1, NAME-2, …
    #[arg(long, value_name = "NAME", default_value = "new")]
    pub name: String,

    /// Whether room is kept so that any one machine may fail
    #[arg(long, value_enum, value_name = "RULE", default_value_t = RecoveryChoice::Warn)]
    pub recovery: RecoveryChoice,

    /// A machine, by name or id, to explain: why it was or was not chosen
    #[arg(long = "machine", value_name = "MACHINE")]
    pub explain: Vec<String>,
}

/// Options of `plan drain`.
#[derive(Debug, Args)]
pub struct DrainPlan {
    /// Options of all plans.
    #[command(flatten)]
    pub asking: Asking,

    /// The machine to empty, by name or id
    #[arg(long, value_name = "MACHINE")]
    pub machine: String,
}

/// Options of `plan balance`.
#[derive(Debug, Args)]
pub struct BalancePlan {
    /// Options of all plans.
    #[command(flatten)]
    pub asking: Asking,

    /// Leave the pool alone while its imbalance is below this, 0 to 10
    #[arg(long, value_name = "X")]
    pub begin: Option<f64>,

    /// Be content with this imbalance, 0 to that of --begin
    #[arg(long, value_name = "X")]
    pub end: Option<f64>,

    /// How long an instance stays where it was moved to, in seconds
    #[arg(long, value_name = "SECONDS")]
    pub cooldown: Option<u32>,

    /// How many moves at most
    #[arg(long, value_name = "N")]
    pub moves_max: Option<u32>,

    /// Even out the load even if more failures could then not be recovered on the others
    #[arg(long)]
    pub give_up_recovery: bool,
}

/// Options of `plan consolidate`.
#[derive(Debug, Args)]
pub struct ConsolidatePlan {
    /// Options of all plans.
    #[command(flatten)]
    pub asking: Asking,

    /// How many machines stay awake at least
    #[arg(long, value_name = "N")]
    pub awake_min: Option<u32>,

    /// Let machines sleep even if the failure of one could then not be recovered on the others
    #[arg(long)]
    pub give_up_recovery: bool,

    /// How long an instance stays where it was moved to, in seconds
    #[arg(long, value_name = "SECONDS")]
    pub cooldown: Option<u32>,
}

/// Options of `plan recover`.
#[derive(Debug, Args)]
pub struct RecoverPlan {
    /// Options of all plans.
    #[command(flatten)]
    pub asking: Asking,

    /// The machine that is gone, by name or id; one that is ready in the inventory is taken for gone
    #[arg(long, value_name = "MACHINE")]
    pub machine: String,
}

/// Options of `plan what-if`. The edits are made in this order: removed, added, changed states, scaled load, and those of the file.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("edits").required(true).multiple(true).args([
    "remove", "remove_instance", "add", "fail", "drain", "sleep", "wake", "scale_load", "edit_file", "balance",
]))]
pub struct WhatIfPlan {
    /// Options of all plans.
    #[command(flatten)]
    pub asking: Asking,

    /// Take a machine away
    #[arg(long, value_name = "MACHINE")]
    pub remove: Vec<String>,

    /// Take an instance away
    #[arg(long, value_name = "INSTANCE")]
    pub remove_instance: Vec<String>,

    /// Add N machines like one that is there, empty
    #[arg(long, value_name = "N=MACHINE")]
    pub add: Vec<MachinesLike>,

    /// Take a machine for unreachable
    #[arg(long, value_name = "MACHINE")]
    pub fail: Vec<String>,

    /// Take a machine for one that is being emptied
    #[arg(long, value_name = "MACHINE")]
    pub drain: Vec<String>,

    /// Take a machine for asleep
    #[arg(long, value_name = "MACHINE")]
    pub sleep: Vec<String>,

    /// Take a machine for awake and ready
    #[arg(long, value_name = "MACHINE")]
    pub wake: Vec<String>,

    /// Everything uses this much of the CPU that it uses now, 0 to 1000
    #[arg(long, value_name = "FACTOR")]
    pub scale_load: Option<f64>,

    /// Edits in a JSON file: a list of objects such as `{"edit": "add_instance", "instance": {…}}`
    #[arg(long = "edits", value_name = "FILE")]
    pub edit_file: Option<PathBuf>,

    /// Even out the load afterwards
    #[arg(long)]
    pub balance: bool,
}

/// How many machines to add, and like which: `2=atlas`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachinesLike {
    /// How many, 1..=1,000.
    pub count: u32,
    /// The name or id of the machine that they are like.
    pub like: String,
}

/// The text is not `N=MACHINE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("N=MACHINE is expected, with 1 to 1000 for N, such as 2=atlas")]
pub struct BadMachinesLike;

impl FromStr for MachinesLike {
    type Err = BadMachinesLike;

    fn from_str(text: &str) -> Result<Self, BadMachinesLike> {
        let (count, like) = text.split_once('=').ok_or(BadMachinesLike)?;
        let count = count.parse().map_err(|_| BadMachinesLike)?;
        if like.is_empty() || !(1..=1_000).contains(&count) {
            return Err(BadMachinesLike);
        }
        Ok(Self {
            count,
            like: like.to_owned(),
        })
    }
}

impl fmt::Display for MachinesLike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.count, self.like)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_to_add_are_a_number_and_an_example() {
        let two: MachinesLike = "2=atlas".parse().unwrap();
        assert_eq!(
            (two.count, two.like.as_str(), two.to_string()),
            (2, "atlas", "2=atlas".into())
        );
        for text in ["atlas", "0=atlas", "1001=atlas", "=atlas", "2=", "x=atlas"] {
            assert_eq!(text.parse::<MachinesLike>(), Err(BadMachinesLike), "{text}");
        }
    }
}
