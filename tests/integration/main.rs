//! The product's parts together: real SSH servers, real agents, real guests.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "what sets a test up outside of its function fails as loudly as the test itself"
)]

mod admission_race;
mod agent_over_ssh;
mod dependencies;
mod desktop_app;
mod lab;
mod pool_dump;
mod real_window;
mod ssh_host_keys;
mod ssh_link;
mod ssh_login;
