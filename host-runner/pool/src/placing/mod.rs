//! Where an instance may run, how good each machine would be, and which one is chosen.

mod filters;
mod question;

pub use filters::{FILTERS, Filter, FilterName, passes, unmet};
pub use question::{Question, Subject};
