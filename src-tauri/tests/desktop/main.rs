//! What the desktop's Rust half promises, without a window.

mod typescript;
