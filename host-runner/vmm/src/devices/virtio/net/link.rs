//! The other side of a network interface, whatever it is.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, RawFd};

use super::features::{Offloads, tap_flags};
use super::pieces::Pieces;
use super::stats::BackendKind;
use super::tap::Tap;

/// Why a frame was not moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkError {
    /// Not now: the link's event tells when to try again.
    Wait,
    /// This frame never.
    Failed,
}

/// What carries the frames.
pub enum Link {
    /// A tap interface.
    Tap(Tap),
}

impl Link {
    /// What wakes who waits for it to take frames.
    pub fn descriptor(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }

    /// What it is.
    pub fn kind(&self) -> BackendKind {
        match self {
            Self::Tap(_) => BackendKind::Tap,
        }
    }

    /// Its name, for people.
    pub fn peer(&self) -> String {
        match self {
            Self::Tap(tap) => tap.name().to_owned(),
        }
    }

    /// Whether the other side is there.
    pub fn is_up(&self) -> bool {
        match self {
            Self::Tap(_) => true,
        }
    }

    /// The largest packet that it carries, where it says.
    pub fn mtu(&self) -> Option<u16> {
        match self {
            Self::Tap(tap) => tap.mtu(),
        }
    }

    /// What it can do for the guest.
    pub fn offloads(&self) -> Offloads {
        match self {
            Self::Tap(tap) => tap.offloads(),
        }
    }

    /// The driver has accepted these features.
    pub fn set_features(&mut self, features: u64) -> io::Result<()> {
        match self {
            Self::Tap(tap) => tap.set_offloads(tap_flags(features)),
        }
    }

    /// Reads one frame, with its header, into the first `count` pieces, and what does not fit into `spill`. Returns its length.
    pub fn receive(
        &mut self,
        pieces: &mut Pieces,
        count: usize,
        spill: &mut Vec<u8>,
    ) -> Result<usize, LinkError> {
        match self {
            Self::Tap(tap) => pieces.read_from(tap.as_fd(), count, spill).map_err(verdict),
        }
    }

    /// Sends the frame in the pieces, which begins with its header.
    pub fn send(&mut self, pieces: &mut Pieces) -> Result<(), LinkError> {
        match self {
            // The kernel checks the header, of which it takes one copy (`virtio_net_hdr_to_skb`).
            Self::Tap(tap) => match pieces.write_to(tap.as_fd(), &[], 0) {
                Ok(_) => Ok(()),
                Err(err) => Err(verdict(err)),
            },
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tap(tap) => tap.as_fd(),
        }
    }
}

fn verdict(err: io::Error) -> LinkError {
    match err.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => LinkError::Wait,
        _ => LinkError::Failed,
    }
}
