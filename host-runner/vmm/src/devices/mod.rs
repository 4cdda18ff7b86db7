//! What a guest finds in its machine.

pub mod event_loop;
pub mod hub;
pub mod power;
pub mod serial;
pub mod virtio;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};

use crate::log::say;

/// How many different things are said once.
const SAID_MAX: usize = 256;

static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Writes a line to the log (standard error) unless `topic` has already been spoken of: a guest that misbehaves a million times a
/// second is worth one line.
pub fn once(topic: &str, message: &dyn Display) {
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if said.len() < SAID_MAX && said.insert(topic.to_owned()) {
        say(message);
    }
}
