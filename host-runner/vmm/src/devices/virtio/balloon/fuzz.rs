//! The balloon's entry for fuzzing.

use super::{Balloon, QUEUE_SIZE, QUEUES};
use crate::config::BalloonConfig;
use crate::devices::virtio::testing::{Driver, play};

/// Lets a driver do what `data` says.
pub fn fuzz(data: &[u8]) {
    let Ok(mut balloon) = Balloon::new(&BalloonConfig::default(), 32) else {
        return;
    };
    let mut driver = Driver::new(&[QUEUE_SIZE; QUEUES]);
    play(data, &mut driver, &mut balloon);
    balloon.request_stats();
}
