//! The guest of the benchmark: Debian's cloud kernel, unpacked to an ELF file, and an init that says when it runs.

use std::error::Error;
use std::fs;
use std::path::Path;

use support::{archive, vmlinux};

/// What init writes to the console first.
pub const MARK: &str = "GUEST-INIT";

const INIT: &str = "#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
echo GUEST-INIT > /dev/ttyS0
/bin/busybox grep -q count /proc/cmdline && while true; do i=$((i + 1)); echo $i > /dev/ttyS0; /bin/busybox sleep 0.05; done
while true; do /bin/busybox sleep 1000; done
";

/// Writes `vmlinux` and `initrd`, and the files of the guest with tools, into the folder, from the image of Tiny Linux.
pub fn prepare(folder: &Path) -> Result<(), Box<dyn Error>> {
    let state = support::tiny_image_state()?;
    let manifest = fs::read_to_string(state.join("images/manifests/tiny-linux.json"))?;
    let manifest: serde_json::Value = serde_json::from_str(&manifest)?;
    let sum = manifest["kernel"]["sha256"]
        .as_str()
        .ok_or("the image has a kernel")?;
    let image = fs::read(state.join(format!("images/blobs/sha256-{sum}")))?;
    fs::write(folder.join("vmlinux"), vmlinux(&image)?)?;
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
