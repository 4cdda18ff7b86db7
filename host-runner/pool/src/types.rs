//! The plain values that decisions are made of.

use std::fmt;

use serde::{Deserialize, Serialize};
use ts_rs::TS;
use utoipa::ToSchema;

/// A size in MiB (2^20 bytes).
///
/// On the wire a plain JSON number; `u32` holds 4 PiB and is exact in every JSON reader.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, ToSchema, TS,
)]
#[serde(transparent)]
pub struct Mib(pub u32);

impl Mib {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The same size in bytes.
    pub fn bytes(self) -> u64 {
        u64::from(self.0) << 20
    }

    /// The largest whole number of MiB in `bytes`, capped at what a `u32` holds.
    pub fn floor_from_bytes(bytes: u64) -> Self {
        Self(u32::try_from(bytes >> 20).unwrap_or(u32::MAX))
    }

    /// The smallest whole number of MiB that holds `bytes`, capped at what a `u32` holds.
    pub fn ceil_from_bytes(bytes: u64) -> Self {
        Self(u32::try_from(bytes.div_ceil(1 << 20)).unwrap_or(u32::MAX))
    }

    /// The difference, or zero where `other` is larger.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The sum, capped at what a `u32` holds.
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl std::iter::Sum for Mib {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Self::saturating_add)
    }
}

/// For people: whole MiB below one GiB, else GiB with at most one decimal ("512 MiB", "2.5 GiB", "64 GiB").
impl fmt::Display for Mib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1024 {
            return write!(f, "{} MiB", self.0);
        }
        let tenths = (u64::from(self.0) * 10) >> 10;
        match (tenths / 10, tenths % 10) {
            (whole, 0) => write!(f, "{whole} GiB"),
            (whole, rest) => write!(f, "{whole}.{rest} GiB"),
        }
    }
}

/// What runs a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, TS)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// QEMU, controlled over QMP.
    Qemu,
    /// The microVM monitor, one small process for each guest.
    Microvm,
}

/// Whether an image on a machine can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, TS)]
#[serde(rename_all = "snake_case")]
pub enum ImageState {
    /// Complete, and its files have the digests that its manifest names.
    Ready,
    /// A file is missing or differs from its digest.
    Corrupt,
}

/// An image on a machine, as far as placement cares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageAvailability {
    /// The image's name, such as `tiny-linux`.
    pub name: String,
    /// Whether it can be used.
    pub state: ImageState,
}
