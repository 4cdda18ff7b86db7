//! qcow2 images to test with.

use std::path::Path;

use imago::file::File as Storage;
use imago::qcow2::Qcow2;
use imago::{FormatCreateBuilder, Storage as _, StorageCreateOptions};

fn file(path: &Path) -> Storage {
    Storage::create_open(StorageCreateOptions::new().filename(path)).unwrap()
}

/// An empty image.
pub fn empty(path: &Path, bytes: u64) {
    Qcow2::<Storage>::create_builder(file(path))
        .size(bytes)
        .create()
        .unwrap();
}

/// An image that has everything from another file.
pub fn overlay(path: &Path, bytes: u64, backing: &str, format: &str) {
    Qcow2::<Storage>::create_builder(file(path))
        .size(bytes)
        .backing(backing.into(), format.into())
        .create()
        .unwrap();
}
