//! The pool's brain: what may run where, and why.
//!
//! Pure decisions over plain values. The desktop previews a drag with this code, the host admits with it, and tests run it:
//! no tokio, no I/O, no clock, no unseeded randomness.

pub mod consolidation;
mod filters;
pub mod forecast;
pub mod inventory;
mod placement;
pub mod placing;
pub mod simulation;
pub mod plans;
pub mod state;
mod refusal;
mod types;

pub use filters::{FILTERS, Filter};
pub use placement::{Preview, Term, Verdict, best_first, preview, unmet};
pub use refusal::Refusal;
pub use state::Pool;
pub use types::{EngineKind, ImageAvailability, ImageState, Machine, Mib, Readiness, Request};
