//! What of a disk is saved: enough to see that it is put before the same disk again.

use serde::{Deserialize, Serialize};

use super::{Block, SECTOR};
use crate::devices::virtio::DeviceStateError;

/// The most bytes that a saved state has.
const STATE_BYTES_MAX: usize = 128;

#[derive(Debug, Serialize, Deserialize)]
struct State {
    id: String,
    capacity: u64,
    writeback: bool,
}

/// The state of a disk.
pub fn save(block: &Block) -> Result<Vec<u8>, DeviceStateError> {
    // They are in no ring: where the machine went on they would never be answered.
    if !block.waiting.is_empty() {
        let reason = "cannot be had while its writes wait for room on the host's disk";
        return Err(refuse(block, reason.to_owned()));
    }
    block.is_settled()?;
    let state = State {
        id: block.id.clone(),
        capacity: block.capacity,
        writeback: block.writeback,
    };
    postcard::to_stdvec(&state).map_err(|error| refuse(block, format!("cannot be written: {error}")))
}

/// Takes the state of a disk.
pub fn restore(block: &mut Block, bytes: &[u8]) -> Result<(), DeviceStateError> {
    if bytes.len() > STATE_BYTES_MAX {
        return Err(refuse(block, format!("is larger than {STATE_BYTES_MAX} bytes")));
    }
    let state: State =
        postcard::from_bytes(bytes).map_err(|error| refuse(block, format!("cannot be read: {error}")))?;
    if state.id != block.id {
        return Err(refuse(block, format!("is that of a disk {:?}", state.id)));
    }
    if state.capacity > block.capacity || !state.capacity.is_multiple_of(SECTOR) {
        return Err(refuse(
            block,
            format!(
                "is that of a disk of {} bytes, and this one has {}",
                state.capacity, block.capacity
            ),
        ));
    }
    // The guest knows this size. A file that has grown in the meantime is shown by `grow`.
    block.capacity = state.capacity;
    block.writeback = state.writeback;
    Ok(())
}

fn refuse(block: &Block, reason: String) -> DeviceStateError {
    DeviceStateError {
        device: format!("disk {}", block.id),
        reason,
    }
}
