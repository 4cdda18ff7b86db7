//! Who decides: where an instance starts, and what moves when.

mod consolidate;
mod overload;
mod reference;
mod stay;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::time::Millis;
use super::world::World;

pub use consolidate::{Consolidate, Settings};
pub use overload::Overload;
pub use reference::Reference;
pub use stay::Stay;

/// A policy of a simulated pool. It sees what has been until now, and never what comes.
pub trait Policy {
    /// The machine on which `instance` starts; `None` lets it wait, as no machine admits one of its size. Only nominal sizes are known of it.
    fn place(&mut self, world: &World, instance: usize) -> Option<usize>;

    /// What moves now: instances, each with the machine that it goes to. What cannot be is left out by the engine; where an
    /// instance is named twice it goes to the last machine, and both moves count.
    fn decide(&mut self, world: &World, now: Millis) -> Vec<(usize, usize)>;
}

/// The policies by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyName {
    /// The pool's own consolidation.
    #[default]
    Consolidate,
    /// Nothing moves.
    Stay,
    /// CloudSim's THR-MMT 0.8.
    ThrMmt,
    /// CloudSim's IQR-MMT 1.5.
    IqrMmt,
    /// CloudSim's LR-MMT 1.2.
    LrMmt,
}

impl PolicyName {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Consolidate,
        Self::Stay,
        Self::ThrMmt,
        Self::IqrMmt,
        Self::LrMmt,
    ];

    /// Whether this is one of CloudSim's, built only to be compared with.
    pub fn is_reference(self) -> bool {
        self != Self::Consolidate
    }

    /// The policy, deciding every `interval`; `settings` are those of [`Self::Consolidate`].
    pub fn policy(self, interval: Millis, settings: Settings) -> Box<dyn Policy> {
        let reference = |overload| Box::new(Reference::new(overload, interval));
        match self {
            Self::Consolidate => Box::new(Consolidate::new(settings)),
            Self::Stay => Box::new(Stay),
            Self::ThrMmt => reference(Overload::Threshold(0.8)),
            Self::IqrMmt => reference(Overload::Iqr(1.5)),
            Self::LrMmt => reference(Overload::Regression(1.2)),
        }
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Consolidate => "consolidate",
            Self::Stay => "stay",
            Self::ThrMmt => "thr-mmt",
            Self::IqrMmt => "iqr-mmt",
            Self::LrMmt => "lr-mmt",
        })
    }
}

/// There is no policy of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no policy \"{name}\"; there are consolidate, stay, thr-mmt, iqr-mmt and lr-mmt")]
pub struct UnknownPolicy {
    /// The name that was asked for.
    pub name: String,
}

impl FromStr for PolicyName {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        let found = Self::ALL.into_iter().find(|policy| policy.to_string() == name);
        found.ok_or_else(|| UnknownPolicy { name: name.into() })
    }
}
