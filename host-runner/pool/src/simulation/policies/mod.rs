//! Who decides: where an instance starts, and what moves when.

mod overload;
mod reference;

use super::time::Millis;
use super::world::World;

pub use overload::Overload;
pub use reference::Reference;

/// A policy of a simulated pool. It sees what has been until now, and never what comes.
pub trait Policy {
    /// The machine on which `instance` starts; `None` lets it wait. Only nominal sizes are known of it.
    fn place(&mut self, world: &World, instance: usize) -> Option<usize>;

    /// What moves now: instances, each with the machine that it goes to. What cannot be is left out by the engine; where an
    /// instance is named twice it goes to the last machine, and both moves count.
    fn decide(&mut self, world: &World, now: Millis) -> Vec<(usize, usize)>;
}
