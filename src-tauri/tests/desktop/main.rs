//! What the desktop's Rust half promises, without a window.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed, and says where"
)]

mod agent;
mod app;
mod batch;
mod desk;
mod http;
mod inventory;
mod machines;
mod memory;
mod plans;
mod pool;
mod retries;
mod session;
mod typescript;
