//! Snapshots: a machine in files, to go on elsewhere.
//!
//! A snapshot is a folder with two files. `state` is all but the memory, in a frame that [`file`](mod@file) describes. `memory` is the pages that
//! the state lists, one after the other. A full snapshot lists the pages that hold anything; an increment lists those that were written
//! since the snapshot before it, whose number it carries: a chain in another order, or with a link missing, is refused. Pages that hold
//! zeroes by now, as those do that the guest gave back to the host, are listed in an increment and have nothing in `memory`.
//!
//! `state` has a sum of itself and one of `memory` (XXH64 over its bytes, made while they are written), which is compared before the guest
//! runs: of a disk that forgets a bit, or a copy that went wrong, a guest would otherwise die long after, of something else.

mod bounded;
pub mod file;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod pages;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use kvm_bindings::{kvm_clock_data, kvm_irqchip, kvm_pit_state2};
use serde::{Deserialize, Serialize};

pub use file::{Contents, StateFileError};
pub use pages::{PAGE, Run, Sorted, dirty, forget_all, sort, touched};

use crate::cpu::{CpuidError, VcpuState, VcpuStateError};
use crate::devices::serial::{SerialState, SerialStateError};
use crate::devices::virtio::DeviceStateError;
use crate::devices::virtio::mmio::TransportState;
use crate::memory::{self, GuestMemory};

/// The longest chain that is restored.
pub const CHAIN_MAX: usize = 64;
/// The most vCPUs and the most virtio devices in a state: more than any machine has.
const PARTS_MAX: usize = 64;
const STATE: &str = "state";
const MEMORY: &str = "memory";

/// All of a machine but its memory.
#[derive(Debug, Serialize, Deserialize)]
pub struct MachineState {
    /// The snapshot's own number, drawn at random.
    pub id: [u8; 16],
    /// The number of the snapshot that this one adds to; `None` in a full one.
    pub parent: Option<[u8; 16]>,
    /// What kind of machine it is.
    pub shape: Shape,
    /// Which pages `memory` holds.
    pub runs: Vec<Run>,
    /// Which pages hold zeroes, and something else in the snapshot before; none in a full one.
    pub zeroes: Vec<Run>,
    /// The interrupt controllers: both PICs and the IO APIC.
    pub irqchips: [kvm_irqchip; 3],
    /// The timer.
    pub timer: kvm_pit_state2,
    /// kvm-clock.
    pub clock: kvm_clock_data,
    /// The host's wall clock at that moment, in ns since 1970.
    pub taken_at_ns: u64,
    /// The vCPUs.
    #[serde(deserialize_with = "bounded::at_most::<_, _, PARTS_MAX>")]
    pub vcpus: Vec<VcpuState>,
    /// The serial port.
    pub serial: SerialState,
    /// The virtio devices.
    #[serde(deserialize_with = "bounded::at_most::<_, _, PARTS_MAX>")]
    pub transports: Vec<TransportState>,
}

/// What must be the same where a machine goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// vCPUs.
    pub vcpus: u8,
    /// Memory, in MiB.
    pub memory_mib: u32,
    /// The virtio devices, by name, in order.
    #[serde(deserialize_with = "bounded::at_most::<_, _, PARTS_MAX>")]
    pub devices: Vec<String>,
}

/// What fails when a machine's state is taken, or given to another one.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// A file.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// What was attempted.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        err: io::Error,
    },
    /// KVM does not say, or does not take it.
    #[error("cannot {operation} the {what}")]
    Kvm {
        /// What was attempted.
        operation: &'static str,
        /// What of the machine.
        what: &'static str,
        /// What KVM said.
        #[source]
        err: kvm_ioctls::Error,
    },
    /// What this machine's processor offers.
    #[error(transparent)]
    Cpuid(#[from] CpuidError),
    /// A vCPU.
    #[error("vCPU {index}")]
    Vcpu {
        /// Which.
        index: u8,
        /// What is wrong.
        #[source]
        err: VcpuStateError,
    },
    /// A device.
    #[error(transparent)]
    Device(#[from] DeviceStateError),
    /// The serial port.
    #[error(transparent)]
    Serial(#[from] SerialStateError),
}

/// Why a snapshot was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// No place for it.
    #[error("this machine was started without a folder for snapshots")]
    NoDirectory,
    /// A name that could lead elsewhere.
    #[error("a snapshot's name has 1 to 64 letters, digits, - or _")]
    Name,
    /// Nothing to add to.
    #[error(
        "there is no snapshot that this one could add to; take a full one first (to the one that it went on from, a machine can add where it \
         was started with `log_writes`)"
    )]
    NoParent,
    /// A part of the machine, or of the snapshot.
    #[error(transparent)]
    Part(#[from] PartError),
    /// The state's file.
    #[error(transparent)]
    State(#[from] StateFileError),
}

/// Why a machine cannot go on from a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The state's file.
    #[error("{} cannot be used", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        err: StateFileError,
    },
    /// Folders that do not follow each other.
    #[error("{} does not add to the snapshot before it", path.display())]
    Chain {
        /// The folder.
        path: PathBuf,
    },
    /// Too many of them.
    #[error("a chain has at most {CHAIN_MAX} snapshots, not {0}")]
    TooLong(usize),
    /// Another machine.
    #[error("the snapshot is of another machine: it has {saved}, this one {here}")]
    Shape {
        /// What was saved.
        saved: String,
        /// What there is.
        here: String,
    },
    /// Parts that are not there, or are there twice.
    #[error("{} has {vcpus} vCPUs and {devices} devices, and says that it has {shape}", path.display())]
    Parts {
        /// The file.
        path: PathBuf,
        /// The vCPUs that it has.
        vcpus: usize,
        /// The devices that it has.
        devices: usize,
        /// What it says.
        shape: String,
    },
    /// Pages that are not there.
    #[error("{} has {found} bytes, and the state says {expected}", path.display())]
    MemorySize {
        /// The file.
        path: PathBuf,
        /// How long it is.
        found: u64,
        /// How long it should be.
        expected: u64,
    },
    /// Pages that are not those that were saved.
    #[error(
        "{} is not what the snapshot's state says: it was altered or damaged; restore another copy of the snapshot, or an earlier one",
        path.display()
    )]
    Altered {
        /// The file.
        path: PathBuf,
    },
    /// Pages where no memory is.
    #[error("{} lists pages outside the machine's memory", path.display())]
    Pages {
        /// The file.
        path: PathBuf,
    },
    /// A part of the machine, or of the snapshot.
    #[error(transparent)]
    Part(#[from] PartError),
}

/// What was taken, for who asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Taken {
    /// The folder.
    pub directory: PathBuf,
    /// Whether it adds to the one before.
    pub incremental: bool,
    /// The bytes of memory in it, in MiB, rounded up.
    pub memory_mib: u32,
}

/// The name of a snapshot, as a folder below `directory`.
pub fn folder(directory: Option<&Path>, name: &str) -> Result<PathBuf, SaveError> {
    let directory = directory.ok_or(SaveError::NoDirectory)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        return Err(SaveError::Name);
    }
    Ok(directory.join(name))
}

/// Makes a file of a snapshot, which nobody else may read: it has all that the guest has in mind, its keys among it.
fn create_private(path: &Path) -> io::Result<File> {
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Writes a snapshot: its memory first, then its state, which makes it whole. What was begun and not finished is removed.
pub fn write(folder: &Path, state: &MachineState, memory: &GuestMemory) -> Result<Taken, SaveError> {
    let file = |operation| {
        move |err| PartError::File {
            operation,
            path: folder.to_owned(),
            err,
        }
    };
    let private = DirBuilder::new().mode(0o700).create(folder);
    private.map_err(file("create the folder"))?;
    let written = write_files(folder, state, memory);
    if written.is_err() {
        // The error that matters is the first one.
        let _still_there = fs::remove_dir_all(folder);
    }
    written?;
    let bytes: u64 = state.runs.iter().map(Run::bytes).sum();
    Ok(Taken {
        directory: folder.to_owned(),
        incremental: state.parent.is_some(),
        memory_mib: u32::try_from(bytes.div_ceil(1 << 20)).unwrap_or(u32::MAX),
    })
}

fn write_files(folder: &Path, state: &MachineState, memory: &GuestMemory) -> Result<(), SaveError> {
    let path = folder.join(MEMORY);
    let fail = |operation| {
        let path = path.clone();
        move |err| PartError::File { operation, path, err }
    };
    let mut pages = create_private(&path).map_err(fail("create"))?;
    let sum = pages::write(memory, &state.runs, &mut pages).map_err(fail("write"))?;
    pages.sync_all().map_err(fail("write"))?;
    file::write(&folder.join(STATE), state, sum)?;
    // The names, too, must be on the disk: those in the folder, and its own.
    for named in [Some(folder), folder.parent()].into_iter().flatten() {
        sync_names(named).map_err(|err| PartError::File {
            operation: "write",
            path: named.to_owned(),
            err,
        })?;
    }
    Ok(())
}

/// Makes the names in a folder durable.
fn sync_names(folder: &Path) -> io::Result<()> {
    // The parent of a name without a folder.
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    File::open(folder)?.sync_all()
}

/// Reads a chain of snapshots into fresh memory. Returns the state of the last one.
pub fn read(chain: &[PathBuf], shape: &Shape, memory: &GuestMemory) -> Result<MachineState, RestoreError> {
    if chain.len() > CHAIN_MAX {
        return Err(RestoreError::TooLong(chain.len()));
    }
    let mut last: Option<MachineState> = None;
    for folder in chain {
        let path = folder.join(STATE);
        let contents = file::read(&path).map_err(|err| RestoreError::State {
            path: path.clone(),
            err,
        })?;
        let state = &contents.state;
        if state.parent != last.as_ref().map(|before| before.id) {
            return Err(RestoreError::Chain { path: folder.clone() });
        }
        if state.shape != *shape {
            return Err(RestoreError::Shape {
                saved: state.shape.to_string(),
                here: shape.to_string(),
            });
        }
        let (vcpus, devices) = (state.vcpus.len(), state.transports.len());
        if vcpus != usize::from(shape.vcpus) || devices != shape.devices.len() {
            return Err(RestoreError::Parts {
                path,
                vcpus,
                devices,
                shape: shape.to_string(),
            });
        }
        read_memory(folder, &contents, memory)?;
        last = Some(contents.state);
    }
    last.ok_or(RestoreError::TooLong(0))
}

fn read_memory(folder: &Path, contents: &Contents, memory: &GuestMemory) -> Result<(), RestoreError> {
    let state = &contents.state;
    let path = folder.join(MEMORY);
    let fail = |err| PartError::File {
        operation: "read",
        path: path.clone(),
        err,
    };
    let mut file = File::open(&path).map_err(fail)?;
    let found = file.metadata().map_err(fail)?.len();
    let size_mib = memory::size_mib(memory);
    if !pages::within(size_mib, &state.runs) || !pages::within(size_mib, &state.zeroes) {
        return Err(RestoreError::Pages {
            path: folder.join(STATE),
        });
    }
    let expected: u64 = state.runs.iter().map(Run::bytes).sum();
    if found != expected {
        return Err(RestoreError::MemorySize {
            path,
            found,
            expected,
        });
    }
    pages::clear(memory, &state.zeroes).map_err(|err| PartError::File {
        operation: "clear the pages that are listed in",
        path: folder.join(STATE),
        err,
    })?;
    let sum = pages::read(memory, &state.runs, &mut file).map_err(fail)?;
    if contents.memory_sum.is_some_and(|saved| saved != sum) {
        return Err(RestoreError::Altered { path });
    }
    Ok(())
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} vCPUs, {} MiB of memory, and ", self.vcpus, self.memory_mib)?;
        if self.devices.is_empty() {
            f.write_str("no devices")
        } else {
            f.write_str(&self.devices.join(", "))
        }
    }
}

#[cfg(test)]
mod tests;
