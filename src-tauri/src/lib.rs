//! Millpond's desktop half: sessions with the machines, the live picture of the pool, and the commands of the window.

pub mod activity;
pub mod app;
mod batch;
pub mod charts;
pub mod cli;
mod clock;
pub mod commands;
pub mod console;
pub mod contract;
mod creations;
mod decisions;
pub mod error;
pub mod history;
#[cfg(feature = "dev-server")]
pub mod http;
pub mod instances;
pub mod machines;
pub mod page;
mod plans;
pub mod pool;
pub mod recorder;
pub mod templates;
