//! The guest of the tests in the lab: Debian's stock cloud kernel, and an initial RAM file system whose init does what it is told over the
//! serial console.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::agent::{kept_folder, lock, program, tiny_image_state};
use crate::initramfs::write_whole;
use crate::{Initramfs, Trouble, run, vmlinux};

/// What the guest needs of its kernel's modules, in an order in which they depend on each other once `modprobe` has had its say.
const MODULES: [&str; 8] = [
    "virtio_mmio",
    "virtio_blk",
    "virtio_net",
    "virtio_rng",
    "virtio_console",
    "virtio_balloon",
    "vmw_vsock_virtio_transport",
    "msr",
];

/// Runs each line that comes over the serial console.
const INIT: &str = r#"#!/bin/sh
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /tmp
mkdir -p /dev/pts /mnt /var
exec </dev/ttyS0 >/dev/ttyS0 2>&1
stty -echo -onlcr
while read -r module; do insmod "/lib/$module"; done </lib/order
ip link set lo up
echo GUEST-READY
while read -r line; do sh -c "$line"; done
"#;

/// What udhcpc does with an address.
const DHCP: &str = r#"#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add "$ip/$mask" dev "$interface"
ip route add default via "$router"
echo "nameserver $dns" >/tmp/resolv.conf
"#;

/// Makes the guest's files, once, in a folder below the target directory: `vmlinuz`, `vmlinux` and `initrd`.
///
/// # Errors
/// [`Trouble::Missing`], [`Trouble::Failed`] with the words of the program that failed.
pub fn lab_guest() -> Result<PathBuf, Trouble> {
    let folder = kept_folder("lab-guest")?;
    let _lock = lock(&folder.join("lock"))?;
    let package = kernel_package()?;
    let release = package.strip_prefix("linux-image-").unwrap_or_default();
    let kernel = folder.join(&package);
    if !kernel.exists() {
        fetch(&package, release, &kernel)?;
    }
    let image = fs::read(kernel.join("boot").join(format!("vmlinuz-{release}")))
        .map_err(Trouble::io("read the guest's kernel"))?;
    write_whole(&folder.join("vmlinuz"), &image).map_err(Trouble::io("write the guest's kernel"))?;
    write_whole(&folder.join("vmlinux"), &vmlinux(&image)?)
        .map_err(Trouble::io("write the guest's kernel"))?;
    initrd(&kernel, release)?.pack(&folder.join("initrd"))?;
    Ok(folder)
}

/// The package of the kernel that Tiny Linux has.
fn kernel_package() -> Result<String, Trouble> {
    let manifest = tiny_image_state()?.join("images/manifests/tiny-linux.json");
    let text = fs::read_to_string(&manifest).map_err(Trouble::io("read the manifest of Tiny Linux"))?;
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let words = manifest["made_from"].as_str().unwrap_or_default();
    words
        .split([' ', ';'])
        .find(|word| word.starts_with("linux-image-"))
        .map(str::to_owned)
        .ok_or(Trouble::Unexpected {
            what: "an image that is made from a kernel's package".to_owned(),
            found: text,
        })
}

/// Unpacks the package into a folder, which is whole once it is there. Nothing is installed.
fn fetch(package: &str, release: &str, folder: &Path) -> Result<(), Trouble> {
    let work = folder.with_extension("part");
    // What an attempt that was cut off has left.
    let _nothing_there = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).map_err(Trouble::io("make a folder for a kernel"))?;
    run(Command::new("apt-get")
        .args(["download", "-qq", package])
        .current_dir(&work))?;
    let unpack = "dpkg-deb -x ./*.deb . && rm ./*.deb";
    run(Command::new("sh").args(["-c", unpack]).current_dir(&work))?;
    run(Command::new("depmod").arg("-b").arg(&work).arg(release))?;
    fs::rename(&work, folder).map_err(Trouble::io("keep a kernel"))
}

fn initrd(kernel: &Path, release: &str) -> Result<Initramfs, Trouble> {
    let root = Initramfs::new(INIT)?;
    let mut order = String::new();
    for module in MODULES {
        let mut modprobe = Command::new("modprobe");
        modprobe.arg("-d").arg(kernel).args(["-S", release]);
        for line in run(modprobe.args(["--show-depends", module]))?.lines() {
            let Some(file) = line.strip_prefix("insmod ").map(|rest| Path::new(rest.trim())) else {
                continue;
            };
            let name = file
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if !order.lines().any(|line| line == name) {
                root.add(file, &format!("lib/{name}"))?;
                order.push_str(&name);
                order.push('\n');
            }
        }
    }
    root.write("lib/order", &order)?;
    root.write("bin/dhcp-script", DHCP)?;
    root.add_program(Path::new("/sbin/resize2fs"), "bin/resize2fs")?;
    root.add_program(&program("lab-guest")?, "bin/lab-guest")?;
    Ok(root)
}
