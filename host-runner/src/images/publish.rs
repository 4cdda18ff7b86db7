//! Writing an image: staged beside the store, flushed, and renamed into place, so that a crash leaves the whole image or none.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::manifest::{BlobRef, Manifest, NAME_RULE, name_is_allowed};
use super::verified::hash_file;
use super::{ImageError, ImageStore};

/// An image in the making. Dropping it removes what it has staged; blobs that no manifest came to name are removed when the store
/// is opened next.
pub(super) struct Staging {
    store: ImageStore,
    folder: TempDir,
    /// Only the holder writes; released when the file is closed.
    _lock: File,
}

impl ImageStore {
    /// Starts an image.
    ///
    /// # Errors
    /// `Busy` while another one is in the making, in this process or another.
    pub(super) fn stage(&self) -> Result<Staging, ImageError> {
        let lock = self.folders().try_lock()?.ok_or(ImageError::Busy)?;
        let parent = &self.folders().staging;
        let folder = tempfile::Builder::new()
            .prefix("build-")
            .tempdir_in(parent)
            .map_err(|err| ImageError::io("create a folder in", parent, err))?;
        Ok(Staging {
            store: self.clone(),
            folder,
            _lock: lock,
        })
    }
}

impl Staging {
    /// A folder of this build's own, on the same file system as the blobs.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Moves a file out of the build's folder into the store, flushed and read-only.
    pub(super) fn add(&self, staged: &Path) -> Result<BlobRef, ImageError> {
        let failed = |operation| move |err| ImageError::io(operation, staged, err);
        fs::set_permissions(staged, Permissions::from_mode(0o444)).map_err(failed("make read-only"))?;
        let file = File::open(staged).map_err(failed("open"))?;
        file.sync_all().map_err(failed("flush"))?;
        let size = file.metadata().map_err(failed("look at"))?.len();
        let blob = BlobRef {
            sha256: hash_file(staged)?,
            size,
        };
        // Replaces a file of the same name, which may be a damaged one.
        let target = self.store.folders().blobs.join(blob.sha256.blob_name());
        fs::rename(staged, &target).map_err(|err| ImageError::io("create", &target, err))?;
        Ok(blob)
    }

    /// Makes the image visible, replacing an older one of its name. Its blobs must have been added.
    pub(super) fn publish(self, manifest: &Manifest) -> Result<(), ImageError> {
        if !name_is_allowed(&manifest.name) {
            return Err(ImageError::InvalidName {
                name: manifest.name.clone(),
                rule: NAME_RULE,
            });
        }
        let staged: PathBuf = self.folder().join("manifest.json");
        let failed = |operation| {
            let staged = &staged;
            move |err| ImageError::io(operation, staged, err)
        };
        let mut bytes = serde_json::to_vec_pretty(manifest).map_err(|err| failed("write")(err.into()))?;
        bytes.push(b'\n');
        let mut file = File::create(&staged).map_err(failed("create"))?;
        file.write_all(&bytes).map_err(failed("write"))?;
        file.set_permissions(Permissions::from_mode(0o444))
            .map_err(failed("make read-only"))?;
        file.sync_all().map_err(failed("flush"))?;
        // The blobs' names must be on the disk before the manifest that relies on them.
        sync_folder(&self.store.folders().blobs)?;
        let target = self.store.folders().manifest(&manifest.name);
        fs::rename(&staged, &target).map_err(|err| ImageError::io("create", &target, err))?;
        sync_folder(&self.store.folders().manifests)
    }
}

fn sync_folder(folder: &Path) -> Result<(), ImageError> {
    File::open(folder)
        .and_then(|file| file.sync_all())
        .map_err(|err| ImageError::io("flush", folder, err))
}
