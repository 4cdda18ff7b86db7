//! The configuration's entry for fuzzing.

use super::{MachineConfig, NetworkConfig};
use crate::devices::virtio::net::Mac;

/// Takes the bytes for a machine's configuration.
///
/// # Panics
///
/// Where a document is read back as another one than was written: that is what this looks for.
pub fn fuzz(data: &[u8]) {
    let Ok(config) = serde_json::from_slice::<MachineConfig>(data) else {
        return;
    };
    if config.check().is_err() {
        return;
    }
    let address = |network: &NetworkConfig| network.mac.parse::<Mac>().is_ok();
    let _sensible = config.networks.iter().all(address);
    // A path that is no text cannot have come from JSON.
    let written = serde_json::to_vec(&config);
    let read = written.and_then(|written| serde_json::from_slice::<MachineConfig>(&written));
    assert_eq!(read.ok().as_ref(), Some(&config));
}
