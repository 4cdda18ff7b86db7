//! The other side of a network interface, whatever it is.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};

use super::features::{Offloads, tap_flags};
use super::pieces::Pieces;
use super::stats::BackendKind;
use super::stream::Stream;
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
    /// A stream socket.
    Stream(Box<Stream>),
}

impl Link {
    /// How many queue pairs it can serve. A stream is one way for all frames.
    pub fn pairs(&self) -> usize {
        match self {
            Self::Tap(tap) => tap.queues(),
            Self::Stream(_) => 1,
        }
    }

    /// Frames come by the first so many pairs from now on, and by no others.
    pub fn use_pairs(&mut self, pairs: usize) -> io::Result<()> {
        match self {
            Self::Tap(tap) => tap.attach(pairs),
            Self::Stream(_) => Ok(()),
        }
    }

    /// What has the frames of a pair, and wakes who waits for it to take some; a socket may be away.
    pub fn descriptor(&self, pair: usize) -> Option<RawFd> {
        match self {
            Self::Tap(tap) => tap.queue(pair).map(File::as_raw_fd),
            Self::Stream(stream) => stream.socket(),
        }
    }

    /// The tap's queue of a pair, for a kernel that moves the frames.
    pub fn tap(&self, pair: usize) -> Option<&File> {
        match self {
            Self::Tap(tap) => tap.queue(pair),
            Self::Stream(_) => None,
        }
    }

    /// What it is.
    pub fn kind(&self) -> BackendKind {
        match self {
            Self::Tap(_) => BackendKind::Tap,
            Self::Stream(_) => BackendKind::Stream,
        }
    }

    /// Its name, for people.
    pub fn peer(&self) -> String {
        match self {
            Self::Tap(tap) => tap.name().to_owned(),
            Self::Stream(stream) => stream.path().display().to_string(),
        }
    }

    /// Whether the other side is there.
    pub fn is_up(&self) -> bool {
        match self {
            Self::Tap(_) => true,
            Self::Stream(stream) => stream.socket().is_some(),
        }
    }

    /// The largest packet that it carries, where it says.
    pub fn mtu(&self) -> Option<u16> {
        match self {
            Self::Tap(tap) => tap.mtu(),
            Self::Stream(_) => None,
        }
    }

    /// What it can do for the guest.
    pub fn offloads(&self) -> Offloads {
        match self {
            Self::Tap(tap) => tap.offloads(),
            Self::Stream(_) => Offloads::default(),
        }
    }

    /// The driver has accepted these features.
    pub fn set_features(&mut self, features: u64) -> io::Result<()> {
        match self {
            Self::Tap(tap) => tap.accept_offloads(tap_flags(features)),
            Self::Stream(_) => Ok(()),
        }
    }

    /// Reads one frame of a pair, with its header, into the first `count` pieces, which have `room` bytes, and what does not fit into `spill`.
    /// Returns its length.
    pub fn receive(
        &mut self,
        pair: usize,
        pieces: &mut Pieces,
        (count, room): (usize, usize),
        spill: &mut Vec<u8>,
    ) -> Result<usize, LinkError> {
        match self {
            Self::Tap(tap) => {
                let queue = tap.queue(pair).ok_or(LinkError::Failed)?;
                pieces
                    .read_from(queue.as_fd(), count, spill)
                    .map_err(|err| verdict(&err))
            }
            Self::Stream(stream) => stream.receive(pieces, room, spill),
        }
    }

    /// Whether a part of a frame waits to be sent.
    pub fn has_unsent(&self) -> bool {
        match self {
            Self::Tap(_) => false,
            Self::Stream(stream) => stream.has_unsent(),
        }
    }

    /// Sends what waits.
    pub fn flush(&mut self) -> Result<(), LinkError> {
        match self {
            Self::Tap(_) => Ok(()),
            Self::Stream(stream) => stream.flush(),
        }
    }

    /// The other side has gone; what it sent and was not taken is lost.
    pub fn hang_up(&mut self) {
        if let Self::Stream(stream) = self {
            stream.disconnect();
        }
    }

    /// Sends the frame in the pieces, which begins with its header, by the way of a pair.
    pub fn send(&mut self, pair: usize, pieces: &mut Pieces) -> Result<(), LinkError> {
        match self {
            Self::Tap(tap) => {
                let queue = tap.queue(pair).ok_or(LinkError::Failed)?;
                // The kernel checks the header, of which it takes one copy (`virtio_net_hdr_to_skb`).
                match pieces.write_to(queue.as_fd(), &[], 0) {
                    Ok(_) => Ok(()),
                    Err(err) => Err(verdict(&err)),
                }
            }
            Self::Stream(stream) => stream.send(pieces),
        }
    }
}

fn verdict(err: &io::Error) -> LinkError {
    match err.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => LinkError::Wait,
        _ => LinkError::Failed,
    }
}
