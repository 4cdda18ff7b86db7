//! Reading descriptor chains: what a guest says, once, with every length bounded.

use virtio_queue::DescriptorChain;
use virtio_queue::desc::split::Descriptor;

use super::HEADER;
use super::pieces::{PIECES_MAX, Pieces};
use crate::memory::GuestMemory;

/// Which way a chain is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The guest receives: the device writes all of it.
    Receive,
    /// The guest sends: the device reads all of it.
    Send,
}

/// Why a chain is given back unused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadChain {
    /// A loop, an index beyond the table, a table beyond memory, or an indirect table that is none.
    #[error("a descriptor chain is broken off")]
    Broken,
    /// A buffer is outside guest memory.
    #[error("a buffer lies outside the guest's memory")]
    Outside,
    /// A buffer is for the other direction.
    #[error("a buffer is for the other direction")]
    Direction,
    /// There are too many buffers.
    #[error("a descriptor chain has more than {PIECES_MAX} buffers")]
    TooMany,
    /// There is no room for the header (5.1.6).
    #[error("a descriptor chain is shorter than its header of {HEADER} bytes")]
    NoHeader,
}

/// Adds the buffers of a chain to `pieces`. Either all are added, or none.
///
/// Returns how many bytes they have.
pub fn collect(
    chain: DescriptorChain<&GuestMemory>,
    direction: Direction,
    pieces: &mut Pieces,
) -> Result<usize, BadChain> {
    let (count, bytes) = (pieces.len(), pieces.bytes());
    let collected = push_all(chain, direction, pieces, count).and_then(|()| {
        let added = pieces.bytes() - bytes;
        if added < HEADER {
            Err(BadChain::NoHeader)
        } else {
            Ok(added)
        }
    });
    if collected.is_err() {
        pieces.drop_back(count);
    }
    collected
}

fn push_all(
    chain: DescriptorChain<&GuestMemory>,
    direction: Direction,
    pieces: &mut Pieces,
    before: usize,
) -> Result<(), BadChain> {
    let mut last: Option<Descriptor> = None;
    // Empty buffers count too: an indirect table has up to 65535 of them, and each costs a look at guest memory.
    for (at, descriptor) in chain.enumerate() {
        if descriptor.is_write_only() != (direction == Direction::Receive) {
            return Err(BadChain::Direction);
        }
        pieces
            .push(descriptor.addr(), descriptor.len())
            .map_err(|_| BadChain::Outside)?;
        if at >= PIECES_MAX || pieces.len() - before > PIECES_MAX {
            return Err(BadChain::TooMany);
        }
        last = Some(descriptor);
    }
    // Where the iterator could not follow, the chain ends in a descriptor that has a next one, or has no descriptor at all.
    match last {
        Some(last) if !last.has_next() => Ok(()),
        _ => Err(BadChain::Broken),
    }
}
