//! What goes through the queues (5.10.6): a header, and behind it data.

/// The size of the header in bytes.
pub const HEADER_BYTES: usize = 44;
/// The host's address.
pub const HOST: u64 = 2;
/// A stream of bytes: the one type of socket that there is here.
pub const STREAM: u16 = 1;
/// A packet says that who sends it will receive no more.
pub const SHUTDOWN_RECEIVE: u32 = 1;
/// A packet says that who sends it will send no more.
pub const SHUTDOWN_SEND: u32 = 2;
/// Both.
pub const SHUTDOWN_BOTH: u32 = SHUTDOWN_RECEIVE | SHUTDOWN_SEND;

/// What a packet is for (5.10.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Asks for a connection.
    Request,
    /// Accepts one.
    Response,
    /// Ends or refuses one at once.
    Reset,
    /// Announces that one side will send or receive no more.
    Shutdown,
    /// Carries data.
    Data,
    /// Tells how much room there is.
    CreditUpdate,
    /// Asks how much room there is.
    CreditRequest,
}

impl Operation {
    const ALL: [(u16, Self); 7] = [
        (1, Self::Request),
        (2, Self::Response),
        (3, Self::Reset),
        (4, Self::Shutdown),
        (5, Self::Data),
        (6, Self::CreditUpdate),
        (7, Self::CreditRequest),
    ];

    fn number(self) -> u16 {
        let found = Self::ALL.iter().find(|(_, operation)| *operation == self);
        found.map_or(0, |(number, _)| *number)
    }

    /// `None` where there is none of that number.
    fn of(number: u16) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == number);
        found.map(|(_, operation)| *operation)
    }
}

/// A packet's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Who sends it.
    pub source: u64,
    /// For whom it is.
    pub destination: u64,
    /// The sender's port.
    pub source_port: u32,
    /// The receiver's port.
    pub destination_port: u32,
    /// How many bytes follow the header.
    pub length: u32,
    /// The type of socket.
    pub kind: u16,
    /// What it is for; `None` where that is nothing known.
    pub operation: Option<Operation>,
    /// What the operation makes of them.
    pub flags: u32,
    /// How much room the sender has for data, in bytes, read and unread.
    pub room: u32,
    /// How many bytes the sender's reader has read, modulo 2^32.
    pub read: u32,
}

impl Header {
    /// Reads a header.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Self {
        let mut rest = bytes.as_slice();
        // The fields are as long together as the header.
        let mut number = |size: usize| {
            let (field, later) = rest.split_at_checked(size).unwrap_or_default();
            rest = later;
            field
                .iter()
                .rev()
                .fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        let (source, destination) = (number(8), number(8));
        let (source_port, destination_port) = (low(number(4)), low(number(4)));
        let length = low(number(4));
        let (kind, operation) = (low(number(2)), low(number(2)));
        Self {
            source,
            destination,
            source_port,
            destination_port,
            length,
            kind: u16::try_from(kind).unwrap_or(0),
            operation: u16::try_from(operation).ok().and_then(Operation::of),
            flags: low(number(4)),
            room: low(number(4)),
            read: low(number(4)),
        }
    }

    /// The header as it is sent.
    pub fn bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let operation = self.operation.map_or(0, Operation::number);
        let fields: [&[u8]; 10] = [
            &self.source.to_le_bytes(),
            &self.destination.to_le_bytes(),
            &self.source_port.to_le_bytes(),
            &self.destination_port.to_le_bytes(),
            &self.length.to_le_bytes(),
            &self.kind.to_le_bytes(),
            &operation.to_le_bytes(),
            &self.flags.to_le_bytes(),
            &self.room.to_le_bytes(),
            &self.read.to_le_bytes(),
        ];
        for (place, byte) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
            *place = *byte;
        }
        bytes
    }
}

/// A number of at most 32 bits.
fn low(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_header_is_read_as_it_was_written(
            cids in any::<[u64; 2]>(), words in any::<[u32; 6]>(), kind in any::<u16>(), operation in 1..=7_u16,
        ) {
            let header = Header {
                source: cids[0],
                destination: cids[1],
                source_port: words[0],
                destination_port: words[1],
                length: words[2],
                kind,
                operation: Operation::of(operation),
                flags: words[3],
                room: words[4],
                read: words[5],
            };
            prop_assert_eq!(Header::parse(&header.bytes()), header);
        }
    }

    #[test]
    fn the_fields_lie_where_the_standard_has_them() {
        let mut bytes = [0; HEADER_BYTES];
        for (at, byte) in bytes.iter_mut().zip(0..) {
            *at = byte;
        }
        bytes[30] = 5;
        bytes[31] = 0;
        let header = Header::parse(&bytes);
        assert_eq!(header.source, 0x0706_0504_0302_0100);
        assert_eq!(header.destination_port, 0x1716_1514);
        assert_eq!(header.kind, 0x1d1c);
        assert_eq!(header.operation, Some(Operation::Data));
        assert_eq!(header.read, 0x2b2a_2928);
        bytes[30] = 8;
        assert_eq!(Header::parse(&bytes).operation, None);
    }
}
