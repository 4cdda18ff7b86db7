//! The agent on each machine of the pool: admits, runs and reports guests.

pub mod host;
pub mod images;
