//! The agent, whole: the real program in directories of its own, spoken to over its socket, with real guests.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where its footing does, and says where"
)]

mod admission;
mod bad_input;
mod boot_loader;
mod console;
mod creation;
mod events;
mod full_disk;
mod held;
mod ledger;
mod life;
mod limits;
mod plan;
mod plan_solver;
mod planning_guide;
mod pool_dump;
mod privileges;
mod program;
mod simulate;
mod support;
mod tiny_linux;
