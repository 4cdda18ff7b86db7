//! The pool's brain: what may run where, and why.
//!
//! Pure decisions over plain values. The desktop previews a drag with this code, the host admits with it, and tests run it:
//! no tokio, no I/O, no clock, no unseeded randomness.

pub mod consolidation;
pub mod forecast;
pub mod inventory;
pub mod placing;
pub mod plans;
mod refusal;
pub mod simulation;
pub mod state;
mod types;

pub use refusal::Refusal;
pub use state::Pool;
pub use types::{EngineKind, ImageAvailability, ImageState, Mib};
