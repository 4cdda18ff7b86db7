//! The microVM monitor: one process per guest, which drives KVM itself.
//!
//! # Who trusts whom
//!
//! The process that starts a monitor is trusted: its configuration is checked for sense, not for malice. **The guest is not.** Its
//! memory, its queues, the registers that it writes and the frames that it sends are hostile input: every walk is bounded, every
//! address is checked, nothing that a guest does may panic, allocate without limit, or fill a log.
//!
//! # Threads
//!
//! ```text
//! driver    owns the life of the machine: pause, resume, snapshot, the end          (driver.rs)
//! api       answers the control socket, one thread for each connection              (api/)
//! devices   moves data between the queues and the world                             (devices/event_loop.rs)
//! vcpu N    runs the guest, and emulates the register accesses that leave it        (vcpu.rs)
//! ```
//!
//! A guest's register access takes the lock of one device's transport and, below it, of that device. The device thread takes the lock
//! of one device alone. Nobody holds two devices' locks at once, and nobody waits for a vCPU under a lock.
//!
//! `unsafe` is denied in the whole package but in the modules that say `#![expect(unsafe_code, reason = …)]`.

// A line that cannot be written would end the machine: see `log`.
#![cfg_attr(not(test), deny(clippy::print_stderr))]

pub mod acpi;
pub mod api;
pub mod ask;
pub mod boot;
pub mod config;
pub mod cpu;
pub mod devices;
pub mod driver;
pub mod ending;
pub mod error_text;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod happenings;
pub mod log;
pub mod machine;
pub mod memory;
pub mod panics;
pub mod rate_limit;
pub mod reset_vector;
pub mod run;
pub mod sandbox;
pub mod snapshot;
pub mod vcpu;
