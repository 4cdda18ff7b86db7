use std::fmt;

use serde::{Deserialize, Serialize};
use ts_rs::TS;
use utoipa::ToSchema;

use crate::{EngineKind, Mib};

/// Why a machine cannot take an instance, with the numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, TS)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Refusal {
    /// There is no working connection to the machine.
    Unreachable,
    /// The machine is being emptied.
    Draining,
    /// The machine sleeps, and the policy does not wake it.
    Asleep,
    /// The instance is tied to another machine.
    PinnedElsewhere {
        /// That machine's name; its identity where it is not of this pool.
        machine: String,
    },
    /// The machine's hardware is of another class.
    WrongHardware {
        /// The class that the instance needs.
        wanted: String,
        /// The machine's class, if it is known.
        has: Option<String>,
    },
    /// Too little memory is left to promise.
    InsufficientMemory {
        /// What the instance needs, in MiB.
        needed_mib: Mib,
        /// What the machine can still promise, in MiB.
        free_mib: Mib,
    },
    /// Too little disk is left to promise.
    InsufficientDisk {
        /// What the instance needs, in MiB.
        needed_mib: Mib,
        /// What the machine can still promise, in MiB.
        free_mib: Mib,
    },
    /// Too little is left to promise in the storage that a disk must be on.
    StorageFull {
        /// The storage.
        storage: String,
        /// What the instance needs there, in MiB.
        needed_mib: Mib,
        /// What the storage can still promise, in MiB.
        free_mib: Mib,
    },
    /// The machine has no such storage.
    StorageMissing {
        /// The storage.
        storage: String,
    },
    /// The instance wants more vCPUs than the machine has threads.
    TooManyVcpus {
        /// What the instance needs.
        needed: u32,
        /// The machine's hardware threads.
        threads: u32,
    },
    /// The machine has promised its vCPUs to others.
    TooManyVcpusPromised {
        /// What the instance needs.
        needed: u32,
        /// What the machine can still promise.
        left: u32,
        /// What the machine may promise in all.
        limit: u32,
    },
    /// The machine would be busier than a plan may make it.
    TooBusy {
        /// How much of its CPU would be in use with the instance, in percent, with the margin that is kept.
        expected_percent: u32,
        /// How much of it may be.
        limit_percent: u32,
    },
    /// The machine does not hold the image.
    ImageMissing {
        /// The image's name.
        image: String,
    },
    /// The machine holds the image, but its files are damaged.
    ImageCorrupt {
        /// The image's name.
        image: String,
    },
    /// No engine that could run the instance works on the machine.
    NoEngine {
        /// The one that it needs, where it needs a certain one.
        needed: Option<EngineKind>,
    },
    /// The machine lacks a tag that the instance needs.
    TagMissing {
        /// The tag.
        tag: String,
    },
    /// The machine has a tag that the instance must keep away from.
    TagForbidden {
        /// The tag.
        tag: String,
    },
    /// The machine stands elsewhere.
    SiteWrong {
        /// Where the instance must be.
        wanted: String,
        /// Where the machine stands, if that is known.
        has: Option<String>,
    },
    /// The machine stands where the instance must not be.
    SiteForbidden {
        /// The site.
        site: String,
    },
    /// The instance belongs on the machine of another, which is not this one.
    NotTogether {
        /// The other instance, or the group.
        with: String,
    },
    /// The instance must keep away from one that is here.
    NotApart {
        /// The other instance.
        from: String,
    },
    /// With the instance here, a machine's failure could no longer be recovered on the others.
    BreaksRecovery {
        /// The machine whose failure is meant.
        failure: String,
        /// How many instances would find no place.
        stranded: u32,
    },
}

impl Refusal {
    /// A machine would be busier than it may be: threads that are expected to be in use, that may be, and that it offers.
    pub(crate) fn too_busy(expected: f64, limit: f64, offered: f64) -> Self {
        /// 0.85 of 7 threads, divided by 7 again, is a rounding more than 85 %.
        const ROUNDING: f64 = 1e-6;
        let offered = offered.max(f64::MIN_POSITIVE);
        let limit_percent = percent((limit / offered * 100.0 + ROUNDING).floor());
        let expected_percent = percent((expected / offered * 100.0 - ROUNDING).ceil());
        Self::TooBusy {
            // Whatever is rounded away, what is too much is more than what may be.
            expected_percent: expected_percent.max(limit_percent.saturating_add(1)),
            limit_percent,
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float's cast saturates, and no load is negative"
)]
fn percent(rounded: f64) -> u32 {
    rounded as u32
}

/// Follows the machine's name and a colon.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("cannot be reached"),
            Self::Draining => f.write_str("is being emptied"),
            Self::Asleep => f.write_str("is asleep"),
            Self::PinnedElsewhere { machine } => write!(f, "is not {machine}, which it is tied to"),
            Self::WrongHardware { wanted, has } => {
                write!(
                    f,
                    "is {}, it needs {wanted}",
                    has.as_deref().unwrap_or("of unknown hardware")
                )
            }
            Self::InsufficientMemory { needed_mib, free_mib } => {
                write!(f, "needs {needed_mib} of memory, {free_mib} free")
            }
            Self::InsufficientDisk { needed_mib, free_mib } => {
                write!(f, "needs {needed_mib} of disk, {free_mib} free")
            }
            Self::StorageFull {
                storage,
                needed_mib,
                free_mib,
            } => write!(f, "needs {needed_mib} of disk in {storage}, {free_mib} free"),
            Self::StorageMissing { storage } => write!(f, "has no storage {storage}"),
            Self::TooManyVcpus { needed, threads } => {
                write!(f, "needs {needed} vCPUs, has {threads} threads")
            }
            Self::TooManyVcpusPromised { needed, left, limit } => {
                write!(f, "needs {needed} vCPUs, {left} of {limit} left to promise")
            }
            Self::TooBusy {
                expected_percent,
                limit_percent,
            } => write!(
                f,
                "would be {expected_percent} % busy, at most {limit_percent} % is allowed"
            ),
            Self::ImageMissing { image } => write!(f, "does not hold the image {image}"),
            Self::ImageCorrupt { image } => write!(f, "its copy of the image {image} is damaged"),
            Self::NoEngine { needed: None } => f.write_str("no engine works there"),
            Self::NoEngine {
                needed: Some(EngineKind::Qemu),
            } => f.write_str("needs QEMU, which does not work there"),
            Self::NoEngine {
                needed: Some(EngineKind::Microvm),
            } => f.write_str("must be a microVM, and none can run there"),
            Self::TagMissing { tag } => write!(f, "lacks the tag {tag}"),
            Self::TagForbidden { tag } => write!(f, "has the tag {tag}, which it keeps away from"),
            Self::SiteWrong { wanted, has } => {
                write!(
                    f,
                    "stands at {}, it needs {wanted}",
                    has.as_deref().unwrap_or("an unknown site")
                )
            }
            Self::SiteForbidden { site } => write!(f, "stands at {site}, which it keeps away from"),
            Self::NotTogether { with } => write!(f, "does not hold {with}, which it belongs with"),
            Self::NotApart { from } => write!(f, "holds {from}, which it keeps away from"),
            Self::BreaksRecovery { failure, stranded: 1 } => {
                write!(
                    f,
                    "must keep room: if {failure} failed, 1 instance would find no place"
                )
            }
            Self::BreaksRecovery { failure, stranded } => {
                write!(
                    f,
                    "must keep room: if {failure} failed, {stranded} instances would find no place"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_busy_is_told_as_more_than_the_limit_which_is_the_one_that_was_set() {
        for threads in 1..=512_u32 {
            let offered = f64::from(threads);
            for limit_percent in [5, 60, 80, 85, 90, 95, 100, 150] {
                let limit = f64::from(limit_percent) / 100.0 * offered;
                for over in [1e-8, 1e-3, 0.004 * offered, offered] {
                    let Refusal::TooBusy {
                        expected_percent,
                        limit_percent: told,
                    } = Refusal::too_busy(limit + over, limit, offered)
                    else {
                        panic!("another reason")
                    };
                    assert_eq!(told, limit_percent, "{threads} threads");
                    assert!(expected_percent > told, "{threads} threads, {over} over");
                }
            }
        }
        assert_eq!(
            Refusal::too_busy(1.0, 0.0, 0.0),
            Refusal::TooBusy {
                expected_percent: u32::MAX,
                limit_percent: 0
            }
        );
    }
}
