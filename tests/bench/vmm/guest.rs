//! The guest of the benchmark: Debian's cloud kernel, unpacked to an ELF file, and an init that says when it runs.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{archive, host_runner, vmlinux};

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
    let image = fs::read(blob_of(&state, &manifest, "kernel")?)?;
    keep_kernel(folder, &vmlinux(&image)?)?;
    let root = tempfile::tempdir()?;
    for place in ["bin", "dev", "proc"] {
        fs::create_dir(root.path().join(place))?;
    }
    fs::copy("/bin/busybox", root.path().join("bin/busybox"))?;
    fs::write(root.path().join("init"), INIT)?;
    fs::write(folder.join("initrd"), archive(root.path())?)?;
    crate::tools::prepare(folder, &fs::read(blob_of(&state, &manifest, "initrd")?)?)
}

/// Keeps a kernel as an agent does that imports it: with holes where it has only zeroes.
fn keep_kernel(folder: &Path, kernel: &[u8]) -> Result<(), Box<dyn Error>> {
    let work = tempfile::tempdir_in(folder)?;
    let source = work.path().join("vmlinux");
    fs::write(&source, kernel)?;
    let state = work.path().join("state");
    support::run(
        Command::new(host_runner()?)
            .args(["image", "import", "--name", "bench", "--kernel"])
            .arg(&source)
            .arg("--state-dir")
            .arg(&state),
    )?;
    let manifest = fs::read_to_string(state.join("images/manifests/bench.json"))?;
    let blob = blob_of(&state, &serde_json::from_str(&manifest)?, "kernel")?;
    Ok(fs::rename(blob, folder.join("vmlinux"))?)
}

/// The file of a part of an image.
fn blob_of(state: &Path, manifest: &serde_json::Value, part: &str) -> Result<PathBuf, Box<dyn Error>> {
    let sum = manifest[part]["sha256"]
        .as_str()
        .ok_or_else(|| format!("the image has no {part}"))?;
    Ok(state.join(format!("images/blobs/sha256-{sum}")))
}
