//! What this machine is, how loaded it is, and what it lacks.
//!
//! The kernel's files are read by pure functions over text; what `doctor` reports follows purely from what was seen.

mod checks;
mod doctor;
mod error;
mod facts;
mod limits;
mod proc;
mod sampler;
mod seen;

pub use doctor::{render, render_json};
pub use error::HostError;
pub use facts::{HostProbe, HostProbeSettings, memory_usable};
pub use sampler::process_began;
pub use sampler::{HostSample, ProcessSampler, UsageSampler};
pub use seen::qemu_program;
