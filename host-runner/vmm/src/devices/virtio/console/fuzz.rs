//! The console's entry for fuzzing.

use std::sync::Arc;

use super::{Console, QUEUE_SIZE};
use crate::devices::hub::Hub;
use crate::devices::virtio::testing::{Driver, play};

/// Lets a driver do what `data` says.
pub fn fuzz(data: &[u8]) {
    let Ok(hub) = Hub::quiet() else {
        return;
    };
    let mut console = Console::new(Arc::new(hub));
    console.hub().type_in(b"typed by somebody");
    let mut driver = Driver::new(&[QUEUE_SIZE; 2]);
    play(data, &mut driver, &mut console);
}
