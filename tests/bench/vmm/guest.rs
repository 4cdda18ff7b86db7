//! The guest of the benchmark: Debian's cloud kernel, unpacked to an ELF file, and an init that says when it runs.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What init writes to the console first.
pub const MARK: &str = "GUEST-INIT";

const INIT: &str = "#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
echo GUEST-INIT > /dev/ttyS0
/bin/busybox grep -q count /proc/cmdline && while true; do i=$((i + 1)); echo $i > /dev/ttyS0; /bin/busybox sleep 0.05; done
while true; do /bin/busybox sleep 1000; done
";

/// The kernel's payload is in LZ4's legacy frame: a magic, then blocks behind their lengths, each of 8 MiB but the last.
const LZ4_LEGACY: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
const LZ4_BLOCK: usize = 8 << 20;

/// Writes `vmlinux` and `initrd`, and the files of the guest with tools, into the folder, from the image of Tiny Linux.
pub fn prepare(folder: &Path) -> Result<(), Box<dyn Error>> {
    let state = support::tiny_image_state()?;
    let manifest = fs::read_to_string(state.join("images/manifests/tiny-linux.json"))?;
    let manifest: serde_json::Value = serde_json::from_str(&manifest)?;
    let sum = manifest["kernel"]["sha256"]
        .as_str()
        .ok_or("the image has a kernel")?;
    let image = fs::read(state.join(format!("images/blobs/sha256-{sum}")))?;
    fs::write(
        folder.join("vmlinux"),
        unpacked(&image).ok_or("the kernel is a bzImage with an LZ4 payload")??,
    )?;
    let root = tempfile::tempdir()?;
    for place in ["bin", "dev", "proc"] {
        fs::create_dir(root.path().join(place))?;
    }
    fs::copy("/bin/busybox", root.path().join("bin/busybox"))?;
    fs::write(root.path().join("init"), INIT)?;
    fs::write(folder.join("initrd"), archive(root.path())?)?;
    let sum = manifest["initrd"]["sha256"]
        .as_str()
        .ok_or("the image has an initial RAM file system")?;
    crate::tools::prepare(
        folder,
        &fs::read(state.join(format!("images/blobs/sha256-{sum}")))?,
    )
}

/// A folder with a program `init` as an initial RAM file system.
pub fn archive(root: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let packed = Command::new("sh")
        .args(["-c", "chmod +x init && find . | cpio --quiet -o -H newc"])
        .current_dir(root)
        .output()?;
    if packed.status.success() {
        Ok(packed.stdout)
    } else {
        Err(format!("cpio failed: {}", String::from_utf8_lossy(&packed.stderr)).into())
    }
}

/// The ELF kernel in a bzImage; `None` where it is not packed as expected.
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
