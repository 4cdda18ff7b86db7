use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Trouble, run};

/// The kernel's payload is in LZ4's legacy frame: a magic, then blocks behind their lengths, each of 8 MiB but the last.
const LZ4_LEGACY: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
const LZ4_BLOCK: usize = 8 << 20;

/// The ELF kernel in a bzImage of Debian's.
///
/// # Errors
/// [`Trouble::Unexpected`] where it is not packed with LZ4.
pub fn vmlinux(image: &[u8]) -> Result<Vec<u8>, Trouble> {
    let unexpected = |found: String| Trouble::Unexpected {
        what: "a kernel that is a bzImage with an LZ4 payload".to_owned(),
        found,
    };
    unpacked(image)
        .ok_or_else(|| unexpected("something else".to_owned()))?
        .map_err(|err| unexpected(err.to_string()))
}

/// `None` where it is not packed as expected.
fn unpacked(image: &[u8]) -> Option<Result<Vec<u8>, lz4_flex::block::DecompressError>> {
    let word = |at: usize| Some(u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?) as usize);
    let setup = (usize::from(*image.get(0x1f1)?) + 1) * 512;
    let start = setup + word(0x248)?;
    // The last four bytes of the payload are its unpacked length.
    let mut payload = image
        .get(start..start + word(0x24c)?.checked_sub(4)?)?
        .strip_prefix(&LZ4_LEGACY)?;
    let mut kernel = Vec::new();
    while let Some((length, rest)) = payload.split_first_chunk::<4>() {
        let (block, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        match lz4_flex::block::decompress(block, LZ4_BLOCK) {
            Ok(bytes) => kernel.extend(bytes),
            Err(err) => return Some(Err(err)),
        }
        payload = rest;
    }
    Some(Ok(kernel))
}

/// An initial RAM file system that is being put together, around `BusyBox` and a script that is its init.
#[derive(Debug)]
pub struct Initramfs {
    root: tempfile::TempDir,
}

impl Initramfs {
    /// `BusyBox` with a name for each of its programs, and the init.
    ///
    /// # Errors
    /// [`Trouble::Io`], [`Trouble::Failed`].
    pub fn new(init: &str) -> Result<Self, Trouble> {
        let root = tempfile::tempdir().map_err(Trouble::io("make a folder for a guest"))?;
        let this = Self { root };
        for place in ["bin", "dev", "lib", "proc", "sys", "tmp"] {
            fs::create_dir(this.path(place)).map_err(Trouble::io(format!("make a guest's /{place}")))?;
        }
        this.add(Path::new("/bin/busybox"), "bin/busybox")?;
        for name in run(Command::new("/bin/busybox").arg("--list"))?.lines() {
            if name != "busybox" {
                symlink("busybox", this.path("bin").join(name))
                    .map_err(Trouble::io(format!("name a guest's {name}")))?;
            }
        }
        this.write("init", init)?;
        Ok(this)
    }

    fn path(&self, place: &str) -> PathBuf {
        self.root.path().join(place)
    }

    /// A file with this text, which may be a script.
    ///
    /// # Errors
    /// [`Trouble::Io`].
    pub fn write(&self, place: &str, text: &str) -> Result<(), Trouble> {
        let path = self.path(place);
        fs::write(&path, text)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
            .map_err(Trouble::io(format!("write a guest's {place}")))
    }

    /// A copy of a file of this computer.
    ///
    /// # Errors
    /// [`Trouble::Io`].
    pub fn add(&self, file: &Path, place: &str) -> Result<(), Trouble> {
        let to = self.path(place);
        let copied = to
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::copy(file, &to));
        copied
            .map(|_bytes| ())
            .map_err(Trouble::io(format!("copy {}", file.display())))
    }

    /// A program of this computer, without what only a debugger reads, and the libraries that it needs.
    ///
    /// # Errors
    /// [`Trouble::Io`], [`Trouble::Failed`].
    pub fn add_program(&self, program: &Path, place: &str) -> Result<(), Trouble> {
        self.add(program, place)?;
        run(Command::new("strip").arg(self.path(place)))?;
        for word in run(Command::new("ldd").arg(program))?.split_whitespace() {
            if let Some(name) = word.strip_prefix('/')
                && !self.path(name).exists()
            {
                self.add(Path::new(word), name)?;
            }
        }
        Ok(())
    }

    /// Packs it into a file, which is whole whenever it is there.
    ///
    /// # Errors
    /// [`Trouble::Io`], [`Trouble::Failed`].
    pub fn pack(&self, file: &Path) -> Result<(), Trouble> {
        let packed = archive(self.root.path())?;
        write_whole(file, &packed).map_err(Trouble::io(format!("write {}", file.display())))
    }
}

/// A folder with a program `init` as an initial RAM file system.
///
/// # Errors
/// [`Trouble::Io`], [`Trouble::Failed`].
pub fn archive(root: &Path) -> Result<Vec<u8>, Trouble> {
    let script = "chmod +x init && find . -mindepth 1 | cpio --quiet -o -H newc";
    let packed = Command::new("sh")
        .args(["-c", script])
        .current_dir(root)
        .stdin(Stdio::null())
        .output()
        .map_err(Trouble::io("run cpio"))?;
    if packed.status.success() {
        return Ok(packed.stdout);
    }
    Err(Trouble::Failed {
        command: script.to_owned(),
        status: packed.status.to_string(),
        output: String::from_utf8_lossy(&packed.stderr).into_owned(),
    })
}

/// Writes a file that others may already read: they see the old one or the new one.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}
