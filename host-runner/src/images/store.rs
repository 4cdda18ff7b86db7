//! The images of this machine, on disk.

use std::path::{Path, PathBuf};

use api::{Image, Mib};

use super::ImageError;

/// What an engine needs to boot an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFiles {
    /// The kernel, a bzImage.
    pub kernel: PathBuf,
    /// The initial RAM file system; absent where the kernel needs none.
    pub initrd: Option<PathBuf>,
    /// The kernel's command line. The engine appends ` millpond.name=NAME`.
    pub command_line: String,
    /// The least memory that a guest of it boots with.
    pub memory_min: Mib,
    /// SHA-256 of the manifest, in lower-case hex.
    pub digest: String,
}

/// The images of this machine. Cheap to clone; clones share the cache of verified digests.
#[derive(Debug, Clone)]
pub struct ImageStore {
    root: PathBuf,
}

impl ImageStore {
    /// Opens the images of an agent whose state is in `state_dir`, making the folders that are missing and removing what a crashed
    /// build left behind.
    pub fn open(state_dir: &Path) -> Result<Self, ImageError> {
        Ok(Self {
            root: state_dir.join("images"),
        })
    }

    /// All images, by name; a damaged one is listed as [`Corrupt`](api::ImageState::Corrupt) with its problem and remedy.
    pub async fn list(&self) -> Result<Vec<Image>, ImageError> {
        unimplemented!("{}", self.root.display())
    }

    /// The files to boot the image from, verified.
    ///
    /// # Errors
    /// `InvalidName`, `NotFound`, `Corrupt`, or `Io`.
    pub async fn resolve(&self, name: &str) -> Result<BootFiles, ImageError> {
        unimplemented!("{name}")
    }
}
