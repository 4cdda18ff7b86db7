//! The entropy device's entry for fuzzing.

use super::{Entropy, QUEUE_SIZE};
use crate::devices::virtio::testing::{Driver, play};

/// Lets a driver do what `data` says.
pub fn fuzz(data: &[u8]) {
    let Ok(mut entropy) = Entropy::new() else {
        return;
    };
    let mut driver = Driver::new(&[QUEUE_SIZE]);
    play(data, &mut driver, &mut entropy);
}
