//! Hardware addresses.

use std::fmt;
use std::str::FromStr;

/// The hardware address of one interface: a unicast EUI-48 address.
///
/// The guest is told it, and may send with another source address all the same: who must not be lied to filters at the host's side of the
/// tap (nftables' `ether saddr` in the bridge family, or a bridge port with `learning off` and fixed entries).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac([u8; 6]);

/// Why a text is not the hardware address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MacError {
    /// Not six bytes.
    #[error("a hardware address is six pairs of hexadecimal digits between colons, as 52:54:00:12:34:56")]
    Form,
    /// The group bit is set.
    #[error(
        "it is a multicast address; the first byte of an interface's own address is even, as in 52:54:00:12:34:56"
    )]
    Multicast,
    /// All bytes are zero.
    #[error("00:00:00:00:00:00 stands for no address")]
    Zero,
}

impl Mac {
    /// Its bytes, in the order in which they are sent.
    pub fn bytes(self) -> [u8; 6] {
        self.0
    }
}

impl TryFrom<[u8; 6]> for Mac {
    type Error = MacError;

    fn try_from(bytes: [u8; 6]) -> Result<Self, MacError> {
        let [first, ..] = bytes;
        if first & 1 != 0 {
            return Err(MacError::Multicast);
        }
        if bytes == [0; 6] {
            return Err(MacError::Zero);
        }
        Ok(Self(bytes))
    }
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().ok_or(MacError::Form)?;
            // `from_str_radix` alone would take "+f".
            if part.len() != 2 || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(MacError::Form);
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| MacError::Form)?;
        }
        if parts.next().is_some() {
            return Err(MacError::Form);
        }
        Self::try_from(bytes)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let colon = if at == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_hardware_address_is_six_pairs_of_digits() {
        let mac: Mac = "52:54:00:aB:Cd:56".parse().unwrap();
        assert_eq!(mac.bytes(), [0x52, 0x54, 0, 0xab, 0xcd, 0x56]);
        assert_eq!(mac.to_string(), "52:54:00:ab:cd:56");
        for text in [
            "",
            "52:54:00:12:34",
            "52:54:00:12:34:56:78",
            "52:54:00:12:34:5",
            "52:54:00:12:34:+6",
            "52-54-00-12-34-56",
            "525400123456",
            "52:54:00:12:34:56 ",
            "52:54:00:12:34:5g",
            "52:54:00:12:34:é",
        ] {
            assert_eq!(text.parse::<Mac>(), Err(MacError::Form), "{text:?}");
        }
    }

    #[test]
    fn an_interface_has_an_address_of_its_own() {
        assert_eq!("ff:ff:ff:ff:ff:ff".parse::<Mac>(), Err(MacError::Multicast));
        assert_eq!("01:00:5e:00:00:01".parse::<Mac>(), Err(MacError::Multicast));
        assert_eq!("00:00:00:00:00:00".parse::<Mac>(), Err(MacError::Zero));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(bytes: [u8; 6]) {
            if let Ok(mac) = Mac::try_from(bytes) {
                prop_assert_eq!(mac.to_string().parse(), Ok(mac));
            } else {
                prop_assert!(bytes[0] & 1 != 0 || bytes == [0; 6]);
            }
        }

        #[test]
        fn no_text_breaks_it(text: String) {
            let _verdict = text.parse::<Mac>();
        }
    }
}
