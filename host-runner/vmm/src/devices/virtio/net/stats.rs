//! What a network interface has done.

use serde::Serialize;

/// Frames in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Frames that arrived at the other side.
    pub frames: u64,
    /// Their bytes, without the virtio header.
    pub bytes: u64,
    /// Frames that were lost: no room in the guest's buffers, or the backend would not take them.
    pub dropped: u64,
    /// What made no sense: chains of the guest, or frames of the backend.
    pub errors: u64,
}

/// Who moves the frames.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Path {
    /// The kernel (vhost-net). Its frames are not in [`Traffic`]: the tap interface's own counters on the host have them.
    Kernel,
    /// This process, because the configuration asks for it or the backend knows no other way.
    Own,
    /// This process, though the kernel was asked for: why.
    OwnBecause(String),
}

/// What an interface is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendKind {
    /// A tap interface.
    Tap,
    /// A stream socket.
    Stream,
}

impl std::iter::Sum for Traffic {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |sum, part| Self {
            frames: sum.frames + part.frames,
            bytes: sum.bytes + part.bytes,
            dropped: sum.dropped + part.dropped,
            errors: sum.errors + part.errors,
        })
    }
}

/// What one queue pair has done since the process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PairTraffic {
    /// To the guest.
    pub received: Traffic,
    /// From the guest.
    pub sent: Traffic,
}

/// The queue pairs of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QueuePairs {
    /// How many the guest may use.
    pub most: usize,
    /// How many it uses, 0 without a driver.
    pub in_use: usize,
    /// Why there is one alone, where more were to be had for the guest's vCPUs.
    pub one_because: Option<&'static str>,
    /// What each has done.
    pub each: Vec<PairTraffic>,
}

/// What a network interface has done since the process started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkStats {
    /// What it is connected to.
    pub backend: BackendKind,
    /// The name of the host's interface, or the path of the socket.
    pub peer: String,
    /// Who moves the frames.
    pub path: Path,
    /// Whether the other side is there.
    pub link_up: bool,
    /// How often the other side came back after it had gone.
    pub reconnects: u64,
    /// Its queue pairs.
    pub queue_pairs: QueuePairs,
    /// To the guest: the sum of all pairs, and what made no sense before it came to one.
    pub received: Traffic,
    /// From the guest: the sum of all pairs.
    pub sent: Traffic,
}
