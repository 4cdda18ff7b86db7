//! The contract between the desktop and a machine's `host-runner`.
//!
//! [`types`] are the wire types (HTTP/1.1 + JSON on a Unix socket), [`error`] the closed set of error codes, [`client`] the
//! typed client, the same over a local socket and over SSH, and [`seen`] says in an inventory's words what a machine said. Everything here compiles on every desktop platform.

pub mod client;
pub mod error;
pub mod seen;
pub mod types;

pub use error::{ApiError, DetailValue, ErrorCode};
pub use types::*;
