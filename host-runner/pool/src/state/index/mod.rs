//! All machines in a tree of boxes, so that the best one is found without looking at every one.
//!
//! Each node knows the least and the most of what its machines have: their loads, what a unit of an instance's needs adds to them, the
//! room that is left, and, as bits, what kinds of machines they are. A search skips a node whose box shows that nothing in it can pass,
//! or can beat what was found (`placing::choose`). A changed machine changes the boxes from its leaf to the root; after many changes
//! the tree is built anew, as boxes only stay small while like machines are neighbours.

mod marks;
mod point;
mod tree;

pub use marks::Marks;
pub use point::{DIRECTIONS, Point, Reach, weighed};
pub use tree::{Index, Node};
