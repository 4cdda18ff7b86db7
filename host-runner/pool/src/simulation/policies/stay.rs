//! Nothing ever moves.

use super::Policy;
use crate::simulation::time::Millis;
use crate::simulation::world::World;

/// Each instance starts on the first machine that admits it, and stays there: what CloudSim calls DVFS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stay;

impl Policy for Stay {
    fn place(&mut self, world: &World, instance: usize) -> Option<usize> {
        (0..world.machines().len()).find(|&machine| world.admits_first(machine, instance))
    }

    fn decide(&mut self, _: &World, _: Millis) -> Vec<(usize, usize)> {
        Vec::new()
    }
}
