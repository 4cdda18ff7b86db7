//! How loaded the machine and its guests' processes are.

use std::path::{Path, PathBuf};

use api::{InstanceUsage, Mib, Timestamp};

use super::HostError;

/// How loaded the machine was at one moment; the ledger adds what is promised to make an [`api::HostUsage`] of it.
#[derive(Debug, Clone, PartialEq)]
pub struct HostSample {
    /// When it was taken.
    pub sampled_at: Timestamp,
    /// CPU in use over all threads since the sample before (since start-up for the first), 0..=100.
    pub cpu_percent: f64,
    /// Memory in use by everything on the machine.
    pub memory_used: Mib,
    /// The size of the file system that holds the state folder.
    pub disk_total: Mib,
    /// What an ordinary user may still write there.
    pub disk_available: Mib,
    /// Seconds since the machine started.
    pub uptime_s: u32,
}

/// Samples the machine's load; keeps the counters of the sample before.
#[derive(Debug)]
pub struct UsageSampler {
    state_dir: PathBuf,
}

impl UsageSampler {
    /// A sampler that measures the disk of `state_dir`.
    pub fn new(state_dir: &Path) -> Self {
        Self {
            state_dir: state_dir.to_owned(),
        }
    }

    /// Takes a sample. A few small reads of `/proc`: quick enough to call from an async task.
    pub fn sample(&mut self) -> Result<HostSample, HostError> {
        unimplemented!("{}", self.state_dir.display())
    }
}

/// Samples what one process uses; keep one for each guest.
#[derive(Debug)]
pub struct ProcessSampler {
    pid: u32,
}

impl ProcessSampler {
    /// A sampler of the process `pid`.
    pub fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// Takes a sample; `None` when the process is gone (or another one has its pid).
    pub fn sample(&mut self) -> Result<Option<InstanceUsage>, HostError> {
        unimplemented!("{}", self.pid)
    }
}
