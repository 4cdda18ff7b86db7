//! What this machine is.

use std::path::PathBuf;

use api::{Capability, HostFacts, Mib};

use super::HostError;
use crate::images::ImageStore;

/// Where to look, and what was asked for.
#[derive(Debug, Clone)]
pub struct HostProbeSettings {
    /// The agent's state folder; the host id is kept in `STATE/host-id`.
    pub state_dir: PathBuf,
    /// The folder that holds the guests' runtime folders and the agent's socket.
    pub runtime_dir: PathBuf,
    /// The cap of `--offer-memory`; `None` offers all but what is kept for the machine.
    pub offer_memory: Option<Mib>,
}

/// Looks at this machine.
#[derive(Debug, Clone)]
pub struct HostProbe {
    settings: HostProbeSettings,
}

impl HostProbe {
    /// A probe that will look where `settings` say. Reads nothing yet.
    pub fn new(settings: HostProbeSettings) -> Self {
        Self { settings }
    }

    /// Everything about this machine; makes and keeps the host id at the first call.
    pub async fn facts(&self, images: &ImageStore) -> Result<HostFacts, HostError> {
        unimplemented!("{:?} {images:?}", self.settings)
    }

    /// What this machine can do and lacks, each with the remedy. Changes nothing.
    pub async fn doctor(&self, images: &ImageStore) -> Vec<Capability> {
        unimplemented!("{:?} {images:?}", self.settings)
    }
}
