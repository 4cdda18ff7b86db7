//! What a guest and the world see of a network interface.

mod control;
mod frames;
mod guest;
mod hostile;
mod limits;
mod many;
mod namespace;
mod pairs;
mod passt;
mod peer;
mod stream;
mod tap;
mod tap_queues;
