//! What a disk has done.

use serde::{Deserialize, Serialize};

/// Counters since the process began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockStats {
    /// Reads that succeeded.
    pub reads: u64,
    /// Writes that succeeded.
    pub writes: u64,
    /// Bytes that these reads brought.
    pub read_bytes: u64,
    /// Bytes that these writes took.
    pub written_bytes: u64,
    /// Flushes that succeeded.
    pub flushes: u64,
    /// Discards and zeroed ranges that succeeded.
    pub discards: u64,
    /// Requests that were answered with an error, and chains that were no requests.
    pub errors: u64,
    /// Times that the guest had to wait for its limit.
    pub throttled: u64,
}

impl BlockStats {
    /// A task of so many bytes has succeeded.
    pub(super) fn count(&mut self, task: super::task::Task, bytes: u64) {
        use super::task::Task;
        match task {
            Task::Read { .. } => {
                self.reads += 1;
                self.read_bytes += bytes;
            }
            Task::Write { .. } => {
                self.writes += 1;
                self.written_bytes += bytes;
            }
            Task::Flush => self.flushes += 1,
            Task::Discard { .. } | Task::Zero { .. } => self.discards += 1,
        }
    }
}
