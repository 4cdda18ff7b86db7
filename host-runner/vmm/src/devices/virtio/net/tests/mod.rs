//! What a guest and the world see of a network interface.

mod frames;
mod guest;
mod hostile;
mod namespace;
mod passt;
mod peer;
mod stream;
mod tap;
