//! How good a machine would be, judged with the instance on it. Each term is a value in 0..=1; a policy says how much it counts.

mod affinity;
mod awake;
mod empties;
mod evenness;
mod headroom;
mod hint;
mod left;
mod packed;
mod stay;

use std::fmt;

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::scoring::{Outlook, Outlooks, Scoring};

/// A term's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum TermName {
    /// The share of the CPU that is expected to be idle.
    CpuLeft,
    /// The share of the memory that can still be promised.
    MemoryLeft,
    /// The share of the disk that can still be promised.
    DiskLeft,
    /// How far the machine stays below the pool's mean load, in what the instance uses.
    Evenness,
    /// How full the machine is.
    Packed,
    /// Whether the CPU stays calm.
    Headroom,
    /// Whether the machine need not be woken.
    Awake,
    /// Whether an empty machine stays empty.
    Empties,
    /// Whether it is the machine that was hinted at.
    Hint,
    /// The share of the soft wishes about the neighbourhood that are met.
    Affinity,
    /// Whether the instance stays where it is.
    Stay,
}

impl fmt::Display for TermName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CpuLeft => "cpu_left",
            Self::MemoryLeft => "memory_left",
            Self::DiskLeft => "disk_left",
            Self::Evenness => "evenness",
            Self::Packed => "packed",
            Self::Headroom => "headroom",
            Self::Awake => "awake",
            Self::Empties => "empties",
            Self::Hint => "hint",
            Self::Affinity => "affinity",
            Self::Stay => "stay",
        })
    }
}

/// One named part of a score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, TS)]
pub struct Term {
    /// What is judged.
    pub name: TermName,
    /// 0 (worst) ..= 1 (best).
    pub value: f64,
    /// The term's share in the score; all weights add up to 1.
    pub weight: f64,
}

/// How a term is computed.
pub(super) struct TermRule {
    pub name: TermName,
    /// Whether it says anything about this instance: one without a hint is not worse off for having none.
    pub applies: fn(&Scoring<'_>) -> bool,
    /// Its value for a machine.
    pub value: fn(&Scoring<'_>, &Outlook) -> f64,
    /// No machine in a box has a larger value, if the instance has no ties to it. Never less than a value by so much as a rounding: a
    /// search that trusts it finds exactly the best.
    pub most: fn(&Scoring<'_>, &Outlooks) -> f64,
    /// By how much at least `most` shrinks with each bit of load above the box's least.
    pub slope: fn(&Scoring<'_>, &Outlooks) -> Slope,
}

/// How fast a term's value falls as the loads leave the best corner of a box.
#[derive(Debug, Clone, Copy)]
pub(super) enum Slope {
    /// It need not.
    None,
    /// So fast with each load, from the least of each.
    FromLeast([f64; 3]),
    /// So fast with each load, down from the most of each.
    FromMost([f64; 3]),
}

/// All terms.
pub(super) static TERMS: [TermRule; 11] = [
    left::CPU,
    left::MEMORY,
    left::DISK,
    evenness::RULE,
    packed::RULE,
    headroom::RULE,
    awake::RULE,
    empties::RULE,
    hint::RULE,
    affinity::RULE,
    stay::RULE,
];
