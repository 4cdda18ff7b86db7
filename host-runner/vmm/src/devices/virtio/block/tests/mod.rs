//! What a disk does for its driver.

mod guest;
mod serving;
