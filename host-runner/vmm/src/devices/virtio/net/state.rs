//! What of a network interface is saved. Its queues and features are the transport's to keep; offloads follow from features.

use serde::{Deserialize, Serialize};

use super::mac::Mac;
use crate::devices::virtio::DeviceStateError;

/// More than any version has needed.
const STATE_MAX: usize = 64;

/// What a guest was told of its interface, and holds on to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkState {
    mac: [u8; 6],
    /// The MTU that it was told.
    pub mtu: Option<u16>,
}

impl NetworkState {
    /// The state of an interface.
    pub fn of(mac: Mac, mtu: Option<u16>) -> Self {
        Self {
            mac: mac.bytes(),
            mtu,
        }
    }

    /// As bytes.
    pub fn save(self, device: &str) -> Result<Vec<u8>, DeviceStateError> {
        postcard::to_stdvec(&self).map_err(|err| refuse(device, &format!("cannot be written ({err})")))
    }

    /// From bytes, which may be anything.
    pub fn restore(bytes: &[u8], device: &str) -> Result<Self, DeviceStateError> {
        if bytes.len() > STATE_MAX {
            return Err(refuse(device, "is too long"));
        }
        match postcard::take_from_bytes(bytes) {
            Ok((state, [])) => Ok(state),
            Ok(_) => Err(refuse(device, "has something behind its end")),
            Err(err) => Err(refuse(device, &format!("cannot be read ({err})"))),
        }
    }

    /// Whether it is the state of the interface with this address: the driver does not ask again.
    pub fn check(&self, mac: Mac, device: &str) -> Result<(), DeviceStateError> {
        if self.mac == mac.bytes() {
            return Ok(());
        }
        match Mac::try_from(self.mac) {
            Ok(saved) => Err(refuse(
                device,
                &format!("is of the interface {saved}, and this one is {mac}"),
            )),
            Err(err) => Err(refuse(device, &format!("has a wrong hardware address: {err}"))),
        }
    }
}

fn refuse(device: &str, reason: &str) -> DeviceStateError {
    DeviceStateError {
        device: device.to_owned(),
        reason: reason.to_owned(),
    }
}
