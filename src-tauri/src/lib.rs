//! Millpond's desktop half: sessions with the machines, the live picture of the pool, and the commands of the window.

pub mod contract;
