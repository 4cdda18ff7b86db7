//! What a guest and the world see of a network interface.

mod frames;
mod guest;
mod namespace;
mod tap;
