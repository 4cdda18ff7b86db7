//! The control queue (5.1.6.5): what its commands say.
//!
//! One class is served, `VIRTIO_NET_CTRL_MQ`, with its command `VQ_PAIRS_SET`: it is what `VIRTIO_NET_F_CTRL_VQ` is offered for. The other
//! classes belong to features that are not offered, and are answered with `VIRTIO_NET_ERR`, as is what makes no sense.
//!
//! Threat: the guest chooses the chain's shape and may change its bytes at any moment. They are read once, and no more of them than the
//! longest command has.

use virtio_bindings::virtio_net::{
    VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, VIRTIO_NET_ERR, VIRTIO_NET_OK,
};

use crate::devices::virtio::ring::{Chain, Segments};
use crate::memory::GuestMemory;

/// The length of the longest command that is known: class, command, and a number of pairs.
const COMMAND_MAX: usize = 4;

/// What a driver asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// To send and receive by so many pairs (5.1.6.5.5). Any number: the device says which it can.
    SetPairs(u16),
}

/// How a command is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It was done.
    Ok,
    /// It was not, and nothing has changed.
    Refused,
}

impl Answer {
    /// Writes it into its place in a chain. Returns how many bytes went back to the driver: none where there is no place in memory.
    pub fn write(self, chain: &Chain, memory: &GuestMemory) -> u32 {
        let code = match self {
            Self::Ok => VIRTIO_NET_OK,
            Self::Refused => VIRTIO_NET_ERR,
        };
        // Both fit into the byte that `ack` is.
        let [ack, ..] = code.to_le_bytes();
        chain.writable.write(memory, 0, &[ack]).is_ok().into()
    }
}

/// What a chain asks for. Its bytes count, not in how many buffers they lie (2.7.4.3).
pub fn read(asked: &Segments, memory: &GuestMemory) -> Option<Command> {
    let length = usize::try_from(asked.bytes()).ok()?;
    let mut bytes = [0; COMMAND_MAX];
    let bytes = bytes.get_mut(..length)?;
    asked.read(memory, 0, bytes).ok()?;
    parse(bytes)
}

fn parse(bytes: &[u8]) -> Option<Command> {
    let [class, command, low, high] = *<&[u8; COMMAND_MAX]>::try_from(bytes).ok()?;
    match (class.into(), command.into()) {
        (VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET) => {
            Some(Command::SetPairs(u16::from_le_bytes([low, high])))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_number_of_pairs_is_little_endian() {
        assert_eq!(parse(&[4, 0, 3, 0]), Some(Command::SetPairs(3)));
        assert_eq!(parse(&[4, 0, 1, 0x80]), Some(Command::SetPairs(0x8001)));
    }

    proptest! {
        #[test]
        fn nothing_but_the_one_command_is_understood(bytes in prop::collection::vec(any::<u8>(), 0..8)) {
            let expected = bytes.len() == 4 && bytes[..2] == [4, 0];
            prop_assert_eq!(parse(&bytes).is_some(), expected);
        }
    }
}
