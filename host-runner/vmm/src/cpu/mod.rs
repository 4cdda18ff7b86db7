//! The processors: what they can do, and how they begin.

use serde::{Deserialize, Serialize};

/// The feature words of a processor, as KVM offers them: CPUID leaf, sub-leaf, and the bits of EAX, EBX, ECX and EDX.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureWords(pub Vec<FeatureWord>);

/// One row of [`FeatureWords`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureWord {
    /// The leaf (EAX of the question).
    pub leaf: u32,
    /// The sub-leaf (ECX of the question).
    pub subleaf: u32,
    /// EAX, EBX, ECX, EDX of the answer.
    pub bits: [u32; 4],
}

mod cpuid;
mod registers;
mod state;
mod tsc;

pub use cpuid::{CpuidError, feature_words, for_vcpu};
pub use registers::{Entry, RegisterError, begin};
pub use state::{VcpuState, VcpuStateError, restore, save, tsc_advance};
