//! What of a network interface is saved. Its queues and features are the transport's to keep; offloads follow from features.

use serde::{Deserialize, Serialize};

use super::mac::Mac;
use crate::devices::virtio::DeviceStateError;

/// More than any version has needed.
const STATE_MAX: usize = 64;
/// The byte before a state with queue pairs. Version 2 of the state file had none, and an interface's state began with its hardware
/// address, whose first byte is even.
const WITH_PAIRS: u8 = 1;

/// What a guest was told of its interface, and holds on to, and what it asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkState {
    told: Told,
    /// How many queue pairs it was told that there are.
    pub pairs: u16,
    /// How many it uses.
    pub pairs_in_use: u16,
}

/// All that version 2 of the state file has of an interface, which had one queue pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    mac: [u8; 6],
    mtu: Option<u16>,
}

impl NetworkState {
    /// The state of an interface, with its pairs and how many of them are in use.
    pub fn of(mac: Mac, mtu: Option<u16>, (pairs, pairs_in_use): (usize, usize)) -> Self {
        // At most `PAIRS_MAX`.
        let [pairs, pairs_in_use] = [pairs, pairs_in_use].map(|count| u16::try_from(count).unwrap_or(1));
        Self {
            told: Told {
                mac: mac.bytes(),
                mtu,
            },
            pairs,
            pairs_in_use,
        }
    }

    /// The MTU that the guest was told.
    pub fn mtu(&self) -> Option<u16> {
        self.told.mtu
    }

    /// As bytes.
    pub fn save(self, device: &str) -> Result<Vec<u8>, DeviceStateError> {
        postcard::to_extend(&self, vec![WITH_PAIRS])
            .map_err(|err| refuse(device, &format!("cannot be written ({err})")))
    }

    /// From bytes, which may be anything.
    pub fn restore(bytes: &[u8], device: &str) -> Result<Self, DeviceStateError> {
        if bytes.len() > STATE_MAX {
            return Err(refuse(device, "is too long"));
        }
        match bytes.split_first() {
            Some((&WITH_PAIRS, state)) => parse(state, device),
            _ => parse(bytes, device).map(|told| Self {
                told,
                pairs: 1,
                pairs_in_use: 1,
            }),
        }
    }

    /// Whether the guest can go on with so many pairs here.
    pub fn check_pairs(&self, here: usize, device: &str) -> Result<(), DeviceStateError> {
        let (pairs, in_use) = (self.pairs, self.pairs_in_use);
        if !(1..=pairs).contains(&in_use) {
            return Err(refuse(device, &format!("uses {in_use} queue pairs of {pairs}")));
        }
        if usize::from(pairs) > here {
            return Err(refuse(
                device,
                &format!(
                    "has {pairs} queue pairs, and what it is connected to here has {here}; a tap has as many as vCPUs when it is made \
                     with: ip tuntap add dev NAME mode tap multi_queue"
                ),
            ));
        }
        Ok(())
    }

    /// Whether it is the state of the interface with this address: the driver does not ask again.
    pub fn check_mac(&self, mac: Mac, device: &str) -> Result<(), DeviceStateError> {
        if self.told.mac == mac.bytes() {
            return Ok(());
        }
        match Mac::try_from(self.told.mac) {
            Ok(saved) => Err(refuse(
                device,
                &format!("is of the interface {saved}, and this one is {mac}"),
            )),
            Err(err) => Err(refuse(device, &format!("has a wrong hardware address: {err}"))),
        }
    }
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8], device: &str) -> Result<T, DeviceStateError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(refuse(device, "has something behind its end")),
        Err(err) => Err(refuse(device, &format!("cannot be read ({err})"))),
    }
}

fn refuse(device: &str, reason: &str) -> DeviceStateError {
    DeviceStateError {
        device: device.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    fn state(pairs: (usize, usize)) -> NetworkState {
        NetworkState::of(MAC.try_into().unwrap(), Some(1500), pairs)
    }

    #[test]
    fn what_was_saved_is_restored() {
        let bytes = state((4, 3)).save("net0").unwrap();
        assert_eq!(NetworkState::restore(&bytes, "net0").unwrap(), state((4, 3)));
        for length in 0..bytes.len() {
            assert!(
                NetworkState::restore(&bytes[..length], "net0").is_err(),
                "{length}"
            );
        }
    }

    #[test]
    fn a_state_from_before_queue_pairs_has_one() {
        for mtu in [None, Some(68), Some(1500), Some(u16::MAX)] {
            let old = postcard::to_stdvec(&Told { mac: MAC, mtu }).unwrap();
            let restored = NetworkState::restore(&old, "net0").unwrap();
            assert_eq!(
                (restored.mtu(), restored.pairs, restored.pairs_in_use),
                (mtu, 1, 1)
            );
        }
    }

    #[test]
    fn pairs_that_there_cannot_be_are_refused() {
        let refused = |pairs, here| state(pairs).check_pairs(here, "net0").unwrap_err().to_string();
        assert!(state((4, 4)).check_pairs(4, "net0").is_ok());
        assert!(state((2, 1)).check_pairs(4, "net0").is_ok());
        assert!(refused((4, 1), 1).contains("has 4 queue pairs, and what it is connected to here has 1"));
        assert!(refused((4, 0), 4).contains("uses 0 queue pairs of 4"));
        assert!(refused((2, 3), 4).contains("uses 3 queue pairs of 2"));
    }
}
