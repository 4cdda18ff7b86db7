//! The images of this machine, on disk.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use api::{Image, ImageState, Mib, Timestamp};
use rustix::fs::FlockOperation;

use super::ImageError;
use super::manifest::{MANIFEST_BYTES_MAX, Manifest, NAME_RULE, Sha256Hex, name_is_allowed};
use super::verified::{Finding, Verified, open_regular};

/// The most images that a machine lists; beyond it the folder is not ours any more.
const IMAGES_MAX: usize = 1_000;

/// What an engine needs to boot an image.
///
/// Tiny Linux comes to its prompt fastest under emulation with `-machine q35,hpet=off`, the default CPU model and the option
/// ROMs of network cards left out (`-device virtio-net-pci,romfile=`): 2.1 s against 2.6 s with the defaults on a 2-core machine.
/// `-cpu max` costs a further 0.2 s, and a second vCPU 0.1 s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFiles {
    /// What starts the guest; absent where that is the boot loader on its disk.
    pub kernel: Option<KernelFiles>,
    /// What the instance's own disk begins with, where the image has one.
    pub disk: Option<BaseDisk>,
    /// The least memory that a guest of it boots with.
    pub memory_min: Mib,
    /// SHA-256 of the manifest, in lower-case hex.
    pub digest: String,
}

/// A kernel that the engine itself loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelFiles {
    /// A bzImage, or an ELF file.
    pub path: PathBuf,
    /// The initial RAM file system; absent where the kernel needs none.
    pub initrd: Option<PathBuf>,
    /// The command line. The engine appends ` millpond.name=NAME`.
    pub command_line: String,
}

/// The disk of an image: read-only, and raw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseDisk {
    /// The file.
    pub path: PathBuf,
    /// Its size, rounded up.
    pub size: Mib,
}

/// The images of this machine. Cheap to clone; clones share what they know of files that were hashed before.
#[derive(Debug, Clone)]
pub struct ImageStore {
    folders: Arc<Folders>,
    verified: Arc<Verified>,
}

/// Where things are.
#[derive(Debug)]
pub(super) struct Folders {
    pub(super) blobs: PathBuf,
    pub(super) manifests: PathBuf,
    pub(super) staging: PathBuf,
    lock: PathBuf,
}

/// A manifest as it is on disk.
struct Held {
    manifest: Manifest,
    digest: Sha256Hex,
    written_at: Timestamp,
}

impl ImageStore {
    /// Opens the images of an agent whose state is in `state_dir`, making the folders that are missing and removing what a crashed
    /// build left behind.
    ///
    /// # Errors
    /// `Io` or `DiskFull`, naming the folder.
    pub fn open(state_dir: &Path) -> Result<Self, ImageError> {
        let store = Self::look(state_dir);
        let folders = &store.folders;
        for folder in [&folders.blobs, &folders.manifests, &folders.staging] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(folder)
                .map_err(|err| ImageError::io("create", folder, err))?;
        }
        // A build that runs now holds the lock; what it has staged is no leftover.
        if let Some(_lock) = store.folders.try_lock()? {
            store.folders.remove_leftovers()?;
        }
        Ok(store)
    }

    /// The same images, to look at only: nothing is made and nothing removed. Where there is no folder there are no images.
    pub fn look(state_dir: &Path) -> Self {
        let root = state_dir.join("images");
        let folders = Folders {
            blobs: root.join("blobs"),
            manifests: root.join("manifests"),
            staging: root.join("staging"),
            lock: root.join("lock"),
        };
        Self {
            folders: Arc::new(folders),
            verified: Arc::default(),
        }
    }

    pub(super) fn folders(&self) -> &Folders {
        &self.folders
    }

    /// All images, by name; a damaged one is listed as [`Corrupt`](ImageState::Corrupt) with its problem and remedy.
    ///
    /// The first call hashes every file; later ones only those whose inode, size or times have changed.
    ///
    /// # Errors
    /// `Io` when the folder cannot be read, `Interrupted` when the process is ending.
    pub async fn list(&self) -> Result<Vec<Image>, ImageError> {
        let store = self.clone();
        tokio::task::spawn_blocking(move || store.list_now())
            .await
            .map_err(ImageError::Interrupted)?
    }

    /// The files to boot the image from, verified.
    ///
    /// # Errors
    /// `InvalidName`, `NotFound`, `Corrupt`, or `Io`.
    pub async fn resolve(&self, name: &str) -> Result<BootFiles, ImageError> {
        let store = self.clone();
        let name = name.to_owned();
        tokio::task::spawn_blocking(move || store.resolve_now(&name))
            .await
            .map_err(ImageError::Interrupted)?
    }

    pub(super) fn list_now(&self) -> Result<Vec<Image>, ImageError> {
        let mut names = self.folders.manifest_names()?;
        names.sort_unstable();
        if names.len() > IMAGES_MAX {
            tracing::warn!(
                held = names.len(),
                listed = IMAGES_MAX,
                "more images than are listed"
            );
            names.truncate(IMAGES_MAX);
        }
        let mut images = Vec::with_capacity(names.len());
        for name in names {
            match self.image(&name) {
                Ok(image) => images.push(image),
                // Removed since the folder was read.
                Err(ImageError::NotFound { .. }) => {}
                Err(err) => return Err(err),
            }
        }
        Ok(images)
    }

    /// One image as the wire shows it; damage is a state, not an error.
    pub(super) fn image(&self, name: &str) -> Result<Image, ImageError> {
        let held = match self.held(name) {
            Ok(held) => held,
            Err(ImageError::Corrupt { problem, remedy, .. }) => {
                return Ok(unreadable(name, &problem, &remedy));
            }
            Err(err) => return damaged_unless_gone(name, err),
        };
        let problem = match self.check_blobs(&held.manifest) {
            Ok(()) => None,
            Err(ImageError::Corrupt { problem, remedy, .. }) => Some(format!("{problem}; {remedy}")),
            Err(err) => return damaged_unless_gone(name, err),
        };
        Ok(Image {
            name: held.manifest.name.clone(),
            title: held.manifest.title.clone(),
            summary: held.manifest.summary.clone(),
            digest: held.digest.to_string(),
            size_mib: held.manifest.size(),
            memory_min_mib: held.manifest.memory_min_mib,
            disk_min_mib: held.manifest.disk_min(),
            has_kernel: held.manifest.kernel.is_some(),
            state: if problem.is_none() {
                ImageState::Ready
            } else {
                ImageState::Corrupt
            },
            problem,
            created_at: held.written_at,
        })
    }

    pub(super) fn resolve_now(&self, name: &str) -> Result<BootFiles, ImageError> {
        let held = self.held(name)?;
        self.check_blobs(&held.manifest)?;
        let path = |digest: &Sha256Hex| self.folders.blobs.join(digest.blob_name());
        Ok(BootFiles {
            kernel: held.manifest.kernel.as_ref().map(|blob| KernelFiles {
                path: path(&blob.sha256),
                initrd: held.manifest.initrd.as_ref().map(|blob| path(&blob.sha256)),
                command_line: held.manifest.command_line.clone(),
            }),
            disk: held.manifest.disk.as_ref().map(|blob| BaseDisk {
                path: path(&blob.sha256),
                size: held.manifest.disk_min(),
            }),
            memory_min: held.manifest.memory_min_mib,
            digest: held.digest.to_string(),
        })
    }

    /// What the image was made from and when, when it is complete; `None` when there is none or it is damaged.
    pub(super) fn made_from(&self, name: &str) -> Option<(String, Timestamp)> {
        let held = self.held(name).ok()?;
        self.check_blobs(&held.manifest).ok()?;
        Some((held.manifest.made_from, held.written_at))
    }

    fn held(&self, name: &str) -> Result<Held, ImageError> {
        if !name_is_allowed(name) {
            return Err(ImageError::InvalidName {
                name: name.to_owned(),
                rule: NAME_RULE,
            });
        }
        let path = self.folders.manifest(name);
        let (bytes, written_at) = match read_capped(&path) {
            Ok(read) => read,
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                return Err(ImageError::NotFound {
                    name: name.to_owned(),
                });
            }
            Err(err) => return Err(ImageError::io("read", &path, err)),
        };
        let manifest = if bytes.len() as u64 > MANIFEST_BYTES_MAX {
            Err(format!("its manifest is larger than {MANIFEST_BYTES_MAX} bytes"))
        } else {
            Manifest::parse(name, &bytes)
        };
        match manifest {
            Ok(manifest) => Ok(Held {
                manifest,
                digest: Sha256Hex::of(&bytes),
                written_at,
            }),
            Err(problem) => Err(ImageError::corrupt(name, path, problem)),
        }
    }

    fn check_blobs(&self, manifest: &Manifest) -> Result<(), ImageError> {
        for blob in manifest.blobs() {
            let path = self.folders.blobs.join(blob.sha256.blob_name());
            let problem = match self.verified.check(&path, blob)? {
                Finding::Intact => continue,
                Finding::Missing => "one of its files is missing".to_owned(),
                Finding::NotAFile => "one of its files is not a regular file".to_owned(),
                Finding::WrongSize { found } => {
                    format!("one of its files has {found} bytes instead of {}", blob.size)
                }
                Finding::WrongDigest => "the content of one of its files has changed".to_owned(),
            };
            return Err(ImageError::corrupt(&manifest.name, path, problem));
        }
        Ok(())
    }
}

/// One image that cannot be read must not hide the others.
fn damaged_unless_gone(name: &str, err: ImageError) -> Result<Image, ImageError> {
    let ImageError::Io { operation, path, err } = err else {
        return Err(err);
    };
    tracing::debug!(image = name, path = %path.display(), error = %err, "an image cannot be read");
    let problem = format!("cannot {operation} {}: {err}", path.display());
    Ok(unreadable(name, &problem, "move the file away"))
}

/// What the wire shows of an image whose manifest tells nothing.
fn unreadable(name: &str, problem: &str, remedy: &str) -> Image {
    Image {
        name: name.to_owned(),
        title: name.to_owned(),
        summary: String::new(),
        digest: String::new(),
        size_mib: Mib::ZERO,
        memory_min_mib: Mib::ZERO,
        disk_min_mib: Mib::ZERO,
        has_kernel: false,
        state: ImageState::Corrupt,
        problem: Some(format!("{problem}; {remedy}")),
        created_at: timestamp(SystemTime::UNIX_EPOCH),
    }
}

pub(super) fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp(jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH))
}

/// Reads at most one byte more than a manifest may have.
fn read_capped(path: &Path) -> io::Result<(Vec<u8>, Timestamp)> {
    let file = open_regular(path)?;
    let written_at = file.metadata()?.modified()?;
    let mut bytes = Vec::new();
    file.take(MANIFEST_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok((bytes, timestamp(written_at)))
}

impl Folders {
    pub(super) fn manifest(&self, name: &str) -> PathBuf {
        self.manifests.join(format!("{name}.json"))
    }

    /// The lock of whoever writes: held as long as the returned file lives. `None` when another process holds it.
    pub(super) fn try_lock(&self) -> Result<Option<File>, ImageError> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&self.lock)
            .map_err(|err| ImageError::io("open", &self.lock, err))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(err) => Err(ImageError::io("lock", &self.lock, err.into())),
        }
    }

    /// Names of the manifests, in the folder's order; files of other names are not ours and are left alone.
    fn manifest_names(&self) -> Result<Vec<String>, ImageError> {
        let names = match file_names(&self.manifests) {
            Err(ImageError::Io { err, .. }) if err.kind() == io::ErrorKind::NotFound => Vec::new(),
            names => names?,
        };
        Ok(names
            .iter()
            .filter_map(|name| name.strip_suffix(".json"))
            .filter(|name| name_is_allowed(name))
            .map(str::to_owned)
            .collect())
    }

    /// Removes what was staged and the blobs that no manifest names.
    fn remove_leftovers(&self) -> Result<(), ImageError> {
        for name in file_names(&self.staging)? {
            let path = self.staging.join(name);
            tracing::info!(path = %path.display(), "removing what a build left behind");
            let removed = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            if let Err(error) = removed {
                tracing::warn!(path = %path.display(), %error, "what a build left behind cannot be removed");
            }
        }
        let Some(named) = self.blobs_named()? else {
            return Ok(());
        };
        for name in file_names(&self.blobs)? {
            if name.starts_with("sha256-") && !named.contains(&name) {
                let path = self.blobs.join(name);
                if let Err(error) = fs::remove_file(&path) {
                    tracing::warn!(path = %path.display(), %error, "a file of no image cannot be removed");
                }
            }
        }
        Ok(())
    }

    /// The file names of all blobs that manifests name; `None` when one cannot be read, as it may name any of them.
    fn blobs_named(&self) -> Result<Option<HashSet<String>>, ImageError> {
        let mut named = HashSet::new();
        for name in self.manifest_names()? {
            let path = self.manifest(&name);
            let Ok((bytes, _)) = read_capped(&path) else {
                return Ok(None);
            };
            let Ok(manifest) = Manifest::parse(&name, &bytes) else {
                return Ok(None);
            };
            named.extend(manifest.blobs().map(|blob| blob.sha256.blob_name()));
        }
        Ok(Some(named))
    }
}

fn file_names(folder: &Path) -> Result<Vec<String>, ImageError> {
    let failed = |err| ImageError::io("read", folder, err);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        names.extend(name.to_str().map(str::to_owned));
    }
    Ok(names)
}
