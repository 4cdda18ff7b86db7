//! Importing an image: a kernel, an initial RAM file system and a disk, as many of them as there are; without a kernel, a disk that brings
//! its own boot loader.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use api::{Image, Mib};
use serde::Deserialize;

use super::manifest::{BlobRef, Manifest, NAME_RULE, name_is_allowed};
use super::publish::Staging;
use super::verified::open_regular;
use super::{ImageError, ImageStore};
use crate::sparse::{self, CopyError};

/// Reads and converts QEMU's disk formats.
const QEMU_IMG: &str = "qemu-img";
/// The most that a kernel and an initial RAM file system may have, in bytes: what they have is copied into the guest's memory.
const BOOT_FILE_BYTES_MAX: u64 = 1 << 30;
/// How the first sector of a disk ends that a PC's firmware starts from.
const BOOT_SIGNATURE: [u8; 2] = [0x55, 0xaa];
const BOOT_SIGNATURE_AT: u64 = 510;
/// How a disk in QEMU's format begins.
const QCOW2_MAGIC: &[u8] = b"QFI\xfb";

/// The format of a disk to import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFormat {
    /// The bytes themselves.
    Raw,
    /// QEMU's copy-on-write format.
    Qcow2,
}

/// What to import.
#[derive(Debug, Clone)]
pub struct Import {
    /// The image's name.
    pub name: String,
    /// What people read.
    pub title: String,
    /// The kernel: a bzImage, or an ELF file for x86-64.
    pub kernel: Option<PathBuf>,
    /// The initial RAM file system.
    pub initrd: Option<PathBuf>,
    /// The disk that each instance begins with.
    pub disk: Option<(PathBuf, DiskFormat)>,
    /// The kernel's command line; nothing where there is no kernel.
    pub command_line: String,
    /// The least memory that a guest of it boots with.
    pub memory_min: Mib,
}

/// Why an image was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Nothing to boot.
    #[error("nothing can boot this image: it has neither a kernel nor a disk")]
    NothingToBoot,
    /// What only a kernel reads.
    #[error("the initial RAM file system is for a kernel, and there is none")]
    InitrdAlone,
    /// Neither a kernel nor a boot loader.
    #[error("nothing can boot this image: it has no kernel, and {} has no boot loader in its first sector", path.display())]
    NoBootLoader {
        /// The disk.
        path: PathBuf,
    },
    /// A file that was named cannot be read.
    #[error("cannot {operation} {}", path.display())]
    Source {
        /// What was attempted.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        err: io::Error,
    },
    /// A file is not what it was named as.
    #[error("{} is {found}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        found: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A word of the image breaks a rule.
    #[error("the image cannot be described like this: {0}")]
    Words(String),
    /// A disk cannot be converted.
    #[error("{QEMU_IMG} cannot {operation} {}: {said}", path.display())]
    Convert {
        /// What was attempted.
        operation: &'static str,
        /// The disk.
        path: PathBuf,
        /// What it said.
        said: String,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] ImageError),
}

impl ImportError {
    /// What to do about it, where that is known.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::NothingToBoot => {
                Some("give a kernel with --kernel, or a disk that boots by itself with --disk")
            }
            Self::InitrdAlone => Some("give the kernel with --kernel"),
            Self::NoBootLoader { .. } => Some(
                "give its kernel with --kernel; a disk that boots by UEFI alone cannot be started without one",
            ),
            Self::Source { err, .. } => match err.kind() {
                io::ErrorKind::NotFound => Some("check the path"),
                io::ErrorKind::PermissionDenied => Some("let this user read the file"),
                _ => None,
            },
            Self::Unfit { remedy, .. } => Some(remedy),
            Self::Convert { .. } => {
                Some("install it: `sudo apt-get install qemu-utils`; or convert the disk to raw elsewhere")
            }
            Self::Store(ImageError::DiskFull { .. }) => {
                Some("free some space, or choose another folder with --state-dir")
            }
            Self::Words(_) | Self::Store(_) => None,
        }
    }
}

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// What is being done, in words.
    pub step: &'a str,
    /// How much of it is done, 0..=100.
    pub percent: u8,
}

/// Imports an image; one of its name is replaced. `progress` hears each step. Reads and writes as much as the image has; nothing is left
/// behind where it fails.
pub fn import(
    store: &ImageStore,
    order: &Import,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Image, ImportError> {
    if !name_is_allowed(&order.name) {
        return Err(ImportError::Store(ImageError::InvalidName {
            name: order.name.clone(),
            rule: NAME_RULE,
        }));
    }
    match (&order.kernel, &order.initrd, &order.disk) {
        (None, _, None) => return Err(ImportError::NothingToBoot),
        (None, Some(_), Some(_)) => return Err(ImportError::InitrdAlone),
        _ => {}
    }
    let kernel = order.kernel.as_deref().map(open_kernel).transpose()?;
    let initrd = order.initrd.as_deref().map(open_boot_file).transpose()?;
    if let Some((path, format)) = &order.disk {
        check_disk(path, *format)?;
    }
    let staging = store.stage()?;
    let mut add = |path: &Path, file: &mut File, step: &str| add_copy(&staging, path, file, step, progress);
    let kernel = match (&order.kernel, kernel) {
        (Some(path), Some(mut file)) => Some(add(path, &mut file, "copying the kernel")?),
        _ => None,
    };
    let initrd = match (&order.initrd, initrd) {
        (Some(path), Some(mut file)) => Some(add(path, &mut file, "copying the initial RAM file system")?),
        _ => None,
    };
    let disk = match &order.disk {
        None => None,
        Some((path, DiskFormat::Raw)) => {
            let mut file = open(path)?;
            if order.kernel.is_none() {
                check_boot_loader(path, &file)?;
            }
            Some(add(path, &mut file, "copying the disk")?)
        }
        Some((path, DiskFormat::Qcow2)) => {
            progress(Progress {
                step: "converting the disk",
                percent: 0,
            });
            Some(add_converted(&staging, path, order.kernel.is_none())?)
        }
    };
    progress(Progress {
        step: "writing the image",
        percent: 100,
    });
    let manifest = Manifest {
        version: Manifest::VERSION,
        name: order.name.clone(),
        title: order.title.clone(),
        summary: String::new(),
        kernel,
        initrd,
        disk,
        command_line: if order.kernel.is_some() {
            order.command_line.clone()
        } else {
            String::new()
        },
        memory_min_mib: order.memory_min,
        made_from: "import 1".to_owned(),
    };
    manifest.check(&order.name).map_err(ImportError::Words)?;
    staging.publish(&manifest)?;
    Ok(store.image(&order.name)?)
}

fn source<'a>(operation: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> ImportError + 'a {
    move |err| ImportError::Source {
        operation,
        path: path.to_owned(),
        err,
    }
}

/// Opens a regular file. A link is followed: whoever names it means what it leads to.
fn open(path: &Path) -> Result<File, ImportError> {
    let meant = path.canonicalize().map_err(source("find", path))?;
    open_regular(&meant).map_err(source("open", path))
}

fn open_boot_file(path: &Path) -> Result<File, ImportError> {
    let file = open(path)?;
    let length = file.metadata().map_err(source("look at", path))?.len();
    match length {
        0 => Err(unfit(path, "empty", "name the right file")),
        1..=BOOT_FILE_BYTES_MAX => Ok(file),
        _ => Err(unfit(
            path,
            "larger than 1 GiB, which is copied into each guest's memory",
            "name the right file",
        )),
    }
}

fn unfit(path: &Path, found: impl Into<String>, remedy: &'static str) -> ImportError {
    ImportError::Unfit {
        path: path.to_owned(),
        found: found.into(),
        remedy,
    }
}

fn open_kernel(path: &Path) -> Result<File, ImportError> {
    let mut kernel = open(path)?;
    check_kernel(path, &mut kernel)?;
    Ok(kernel)
}

/// A disk that boots by itself has a boot sector, as a PC's firmware looks for it. `path` is what people call the disk.
fn check_boot_loader(path: &Path, disk: &File) -> Result<(), ImportError> {
    let mut signature = [0; 2];
    disk.read_exact_at(&mut signature, BOOT_SIGNATURE_AT)
        .map_err(source("read", path))?;
    if signature == BOOT_SIGNATURE {
        Ok(())
    } else {
        Err(ImportError::NoBootLoader {
            path: path.to_owned(),
        })
    }
}

/// A kernel is a bzImage (boot protocol: `HdrS` at 0x202), or an ELF file for x86-64 (machine 62).
fn check_kernel(path: &Path, file: &mut File) -> Result<(), ImportError> {
    open_boot_file(path)?;
    let mut head = Vec::new();
    file.take(0x206)
        .read_to_end(&mut head)
        .map_err(source("read", path))?;
    file.seek(SeekFrom::Start(0)).map_err(source("read", path))?;
    let has = |at: usize, magic: &[u8]| head.get(at..at + magic.len()) == Some(magic);
    if has(0x202, b"HdrS") || (has(0, b"\x7fELF\x02\x01") && has(18, &[62, 0])) {
        return Ok(());
    }
    Err(unfit(
        path,
        "no Linux kernel for x86-64",
        "name a bzImage (often /boot/vmlinuz-…) or an ELF vmlinux",
    ))
}

fn check_disk(path: &Path, format: DiskFormat) -> Result<(), ImportError> {
    let mut head = Vec::new();
    let file = open(path)?;
    let length = file.metadata().map_err(source("look at", path))?.len();
    file.take(QCOW2_MAGIC.len() as u64)
        .read_to_end(&mut head)
        .map_err(source("read", path))?;
    match (format, head == QCOW2_MAGIC) {
        (DiskFormat::Raw, true) => Err(unfit(path, "a qcow2 disk", "say --format qcow2")),
        (DiskFormat::Qcow2, false) => Err(unfit(
            path,
            "no qcow2 disk",
            "say --format raw, if that is what it is",
        )),
        (DiskFormat::Raw, false) if length == 0 || !length.is_multiple_of(512) => Err(unfit(
            path,
            format!("no raw disk: it has {length} bytes, which are not whole sectors of 512"),
            "name the right file",
        )),
        (DiskFormat::Raw, false) => Ok(()),
        (DiskFormat::Qcow2, true) => check_alone(path),
    }
}

/// What `qemu-img info` says that matters here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Info {
    backing_filename: Option<String>,
    #[serde(default)]
    format_specific: Option<FormatSpecific>,
}

#[derive(Debug, Deserialize)]
struct FormatSpecific {
    #[serde(default)]
    data: serde_json::Map<String, serde_json::Value>,
}

/// A disk that names another file would bring that one's content along, whichever file of this machine it names.
fn check_alone(path: &Path) -> Result<(), ImportError> {
    let said = qemu_img(
        "look at",
        path,
        Command::new(QEMU_IMG)
            .args(["info", "--output=json", "-f", "qcow2"])
            .arg(path),
    )?;
    let info: Info = serde_json::from_slice(&said).map_err(|err| ImportError::Convert {
        operation: "describe",
        path: path.to_owned(),
        said: err.to_string(),
    })?;
    let external = info
        .format_specific
        .is_some_and(|specific| specific.data.contains_key("data-file"));
    if info.backing_filename.is_some() || external {
        return Err(unfit(
            path,
            "no whole disk: it rests on another file",
            "join them first: `qemu-img convert -O qcow2 DISK WHOLE`",
        ));
    }
    Ok(())
}

fn qemu_img(operation: &'static str, path: &Path, command: &mut Command) -> Result<Vec<u8>, ImportError> {
    let failed = |said: String| ImportError::Convert {
        operation,
        path: path.to_owned(),
        said,
    };
    let output = command.output().map_err(|err| failed(err.to_string()))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(
        said.lines().last().unwrap_or("it said nothing").to_owned(),
    ))
}

fn add_copy(
    staging: &Staging,
    path: &Path,
    file: &mut File,
    step: &str,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<BlobRef, ImportError> {
    let staged = staging.folder().join("copy");
    let mut target = File::create(&staged).map_err(|err| ImageError::io("create", &staged, err))?;
    progress(Progress { step, percent: 0 });
    let mut shown = 0;
    sparse::copy(file, &mut target, &mut |percent| {
        if percent > shown {
            shown = percent;
            progress(Progress { step, percent });
        }
        ControlFlow::Continue(())
    })
    .map_err(|err| match err {
        CopyError::Read(err) => source("read", path)(err),
        CopyError::Write(err) => ImportError::Store(ImageError::io("write", &staged, err)),
        CopyError::BrokenOff => source("read", path)(io::ErrorKind::Interrupted.into()),
    })?;
    Ok(staging.add(&staged)?)
}

fn add_converted(staging: &Staging, path: &Path, boots_by_itself: bool) -> Result<BlobRef, ImportError> {
    let staged = staging.folder().join("converted");
    let mut command = Command::new(QEMU_IMG);
    command
        .args(["convert", "-f", "qcow2", "-O", "raw"])
        .arg(path)
        .arg(&staged);
    qemu_img("convert", path, &mut command)?;
    if boots_by_itself {
        check_boot_loader(path, &open(&staged)?)?;
    }
    Ok(staging.add(&staged)?)
}

#[cfg(test)]
#[path = "import_tests.rs"]
mod tests;
