use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::terms::{TERMS, TermName};

/// A policy that has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum PolicyName {
    /// Even load: everybody gets a calm machine.
    #[default]
    Spread,
    /// Few full machines, so that large instances still find room.
    Pack,
    /// As few machines as possible awake.
    SavePower,
}

impl PolicyName {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Spread, Self::Pack, Self::SavePower];

    fn word(self) -> &'static str {
        match self {
            Self::Spread => "spread",
            Self::Pack => "pack",
            Self::SavePower => "save_power",
        }
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// No policy has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no policy {name}; there are: spread, pack, save_power")]
pub struct UnknownPolicy {
    /// The name.
    pub name: String,
}

impl FromStr for PolicyName {
    type Err = UnknownPolicy;

    /// Takes a hyphen for an underscore, as people type it.
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let name = word.replace('-', "_");
        Self::ALL
            .into_iter()
            .find(|policy| policy.word() == name)
            .ok_or_else(|| UnknownPolicy {
                name: word.to_owned(),
            })
    }
}

/// What happens to a placement after which a machine's failure could no longer be recovered on the others (N+1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryRule {
    /// Nobody looks.
    Ignore,
    /// It is made, and told.
    #[default]
    Warn,
    /// It is refused.
    Refuse,
}

/// Weights that cannot be worked with.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WeightsError {
    /// A weight is negative or no number.
    #[error("the weight {value} of {term} is not within 0..=1000000")]
    OutOfRange {
        /// The term.
        term: TermName,
        /// Its weight.
        value: f64,
    },
    /// Nothing counts.
    #[error("all weights are 0: no machine would be better than another")]
    AllZero,
}

/// How much each term counts. Only the proportions matter.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, TS)]
#[serde(try_from = "BTreeMap<TermName, f64>", into = "BTreeMap<TermName, f64>")]
#[ts(as = "BTreeMap<TermName, f64>")]
pub struct Weights([f64; TERMS.len()]);

impl Weights {
    /// The largest weight.
    pub const MOST: f64 = 1e6;

    /// Weights by name; a term without one does not count.
    ///
    /// # Errors
    /// A weight that is not within 0..=[`MOST`](Self::MOST), or all of them zero.
    pub fn new(weights: impl IntoIterator<Item = (TermName, f64)>) -> Result<Self, WeightsError> {
        let mut by_term = [0.0; TERMS.len()];
        for (term, value) in weights {
            if !(0.0..=Self::MOST).contains(&value) {
                return Err(WeightsError::OutOfRange { term, value });
            }
            for (rule, weight) in TERMS.iter().zip(&mut by_term) {
                if rule.name == term {
                    *weight = value;
                }
            }
        }
        if by_term.iter().all(|weight| *weight <= 0.0) {
            return Err(WeightsError::AllZero);
        }
        Ok(Self(by_term))
    }

    /// The weights in the order of [`TERMS`].
    pub(super) fn by_term(&self) -> [f64; TERMS.len()] {
        self.0
    }

    /// Weights that the code itself gives, and that need no check.
    fn known(weigh: fn(TermName) -> f64) -> Self {
        let mut by_term = [0.0; TERMS.len()];
        for (rule, weight) in TERMS.iter().zip(&mut by_term) {
            *weight = weigh(rule.name);
        }
        Self(by_term)
    }
}

impl TryFrom<BTreeMap<TermName, f64>> for Weights {
    type Error = WeightsError;

    fn try_from(weights: BTreeMap<TermName, f64>) -> Result<Self, Self::Error> {
        Self::new(weights)
    }
}

impl From<Weights> for BTreeMap<TermName, f64> {
    fn from(weights: Weights) -> Self {
        let named = TERMS.iter().map(|rule| rule.name).zip(weights.0);
        named.filter(|(_, weight)| *weight > 0.0).collect()
    }
}

/// How a machine is chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// How much each term counts.
    pub weights: Weights,
    /// Whether machines that sleep may be woken.
    #[serde(default)]
    pub may_wake: bool,
    /// Whether room is kept for failures.
    #[serde(default)]
    pub recovery: RecoveryRule,
    /// At most so many machines that could take the instance are scored, drawn by chance; absent: the best of all is found.
    #[serde(default)]
    pub candidates_max: Option<NonZeroU32>,
    /// What chance follows: the same seed, the same choice.
    #[serde(default)]
    pub seed: u32,
}

impl Default for Policy {
    fn default() -> Self {
        PolicyName::default().into()
    }
}

impl From<PolicyName> for Policy {
    fn from(name: PolicyName) -> Self {
        let (weights, may_wake) = match name {
            PolicyName::Spread => (Weights::known(spread), false),
            PolicyName::Pack => (Weights::known(pack), false),
            PolicyName::SavePower => (Weights::known(save_power), true),
        };
        Self {
            weights,
            may_wake,
            recovery: RecoveryRule::default(),
            candidates_max: None,
            seed: 0,
        }
    }
}

/// Evenness does nearly all of it: filling made-up pools of 3 to 1,000 machines, the more of the rest was mixed in, the more uneven they
/// became. The rest decides between machines that are as good.
fn spread(term: TermName) -> f64 {
    match term {
        TermName::Evenness => 8.0,
        TermName::Affinity => 4.0,
        TermName::Headroom => 2.0,
        TermName::Hint | TermName::Stay => 0.5,
        TermName::CpuLeft | TermName::MemoryLeft => 0.25,
        TermName::DiskLeft => 0.1,
        TermName::Packed | TermName::Awake | TermName::Empties => 0.0,
    }
}

fn pack(term: TermName) -> f64 {
    match term {
        TermName::Packed | TermName::Headroom => 4.0,
        TermName::Affinity => 3.0,
        TermName::Empties => 2.0,
        TermName::Hint | TermName::Stay => 0.5,
        TermName::CpuLeft
        | TermName::MemoryLeft
        | TermName::DiskLeft
        | TermName::Evenness
        | TermName::Awake => 0.0,
    }
}

fn save_power(term: TermName) -> f64 {
    match term {
        TermName::Headroom | TermName::Awake => 4.0,
        TermName::Empties | TermName::Affinity => 3.0,
        TermName::Packed => 2.0,
        TermName::Hint | TermName::Stay => 0.5,
        TermName::CpuLeft | TermName::MemoryLeft | TermName::DiskLeft | TermName::Evenness => 0.0,
    }
}
