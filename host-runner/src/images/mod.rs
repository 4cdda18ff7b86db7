//! Images: content-addressed, read-only.
//!
//! An image is a small JSON manifest, `STATE/images/manifests/NAME.json`, that names its files by their SHA-256; the files
//! themselves are `STATE/images/blobs/sha256-HEX`. Blobs are written once, under a temporary name, flushed and renamed, so that a
//! crash leaves either the whole image or none.

mod error;
mod import;
mod manifest;
mod publish;
mod store;
#[cfg(test)]
mod store_tests;
pub mod tiny;
mod verified;

pub use error::ImageError;
pub use import::{DiskFormat, Import, ImportError, Progress, import};
pub use store::{BaseDisk, BootFiles, ImageStore, KernelFiles};
