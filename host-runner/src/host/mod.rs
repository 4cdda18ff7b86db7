//! What this machine is, how loaded it is, and what it lacks.

mod doctor;
mod error;
mod facts;
mod sampler;

pub use doctor::{render, render_json};
pub use error::HostError;
pub use facts::{HostProbe, HostProbeSettings};
pub use sampler::{HostSample, ProcessSampler, UsageSampler};
