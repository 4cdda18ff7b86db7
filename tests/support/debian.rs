//! Debian as it is installed: its stock cloud kernel with the initial RAM file system that it makes for itself, and a root file system on
//! a disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::agent::{host_runner, kept_folder, lock};
use crate::initramfs::write_whole;
use crate::{Trouble, run, vmlinux};

/// What root's password is.
pub const DEBIAN_PASSWORD: &str = "pond";
/// What its kernel is told, as a boot loader would: the root is read-only until Debian has looked after it.
pub const DEBIAN_COMMAND_LINE: &str = "root=/dev/vda ro console=ttyS0 quiet";
const SUITE: &str = "bookworm";
/// Where packages come from unless this computer's apt has a mirror of its own.
const MIRROR: &str = "http://deb.debian.org/debian";
/// Beside the smallest system: what boots it (zstd packs and `BusyBox` rescues its initial RAM file system), what lets somebody log in, and
/// D-Bus, without which the power button is nobody's.
const PACKAGES: &str =
    "linux-image-cloud-amd64,initramfs-tools,busybox,zstd,systemd-sysv,udev,kmod,login,dbus,iproute2";

/// Makes the files in the folder `$1`, from the mirror `$2`. In memory, in a mount namespace that takes all of it along: dpkg waits for the
/// disk after each file, and a system that is half made has file systems mounted in it.
const RECIPE: &str = r#"set -eu
root=$1/root
mkdir -p "$root"
mount -t tmpfs -o size=1g,mode=755 debian "$root"
debootstrap --variant=minbase --include="$PACKAGES" "$SUITE" "$root" "$2"
echo "root:$PASSWORD" | chroot "$root" chpasswd
echo debian > "$root/etc/hostname"
echo '/dev/vda / ext4 defaults 0 1' > "$root/etc/fstab"
printf '[Match]\nType=ether\n[Network]\nDHCP=ipv4\n' > "$root/etc/systemd/network/80-ether.network"
chroot "$root" systemctl -q enable systemd-networkd
chroot "$root" systemctl -q disable systemd-networkd-wait-online \
    apt-daily.timer apt-daily-upgrade.timer e2scrub_reap.service
chroot "$root" apt-get clean
rm -rf "$root"/var/lib/apt/lists/* "$root"/usr/share/doc/* "$root"/usr/share/locale/* "$root"/usr/share/man/*
cp "$root"/boot/vmlinuz-* "$1/vmlinuz"
cp "$root"/boot/initrd.img-* "$1/initrd"
mke2fs -q -t ext4 -L debian -d "$root" "$1/disk" 512M
"#;

/// Makes it, once, in a folder below the target directory: `vmlinuz`, `vmlinux`, `initrd` and `disk`, which is raw, has the root file
/// system and no partitions.
///
/// # Errors
/// [`Trouble::NotRoot`], [`Trouble::Failed`] with the words of the program that failed.
pub fn debian() -> Result<PathBuf, Trouble> {
    let kept = kept_folder("debian")?;
    let _lock = lock(&kept.join("lock"))?;
    let folder = kept.join(SUITE);
    let recipe = format!("{SUITE} {PACKAGES}\n{RECIPE}");
    // Made by another recipe, it is another Debian.
    if fs::read_to_string(folder.join("recipe")).is_ok_and(|found| found == recipe) {
        return Ok(folder);
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Trouble::NotRoot);
    }
    let work = folder.with_extension("part");
    for left in [&work, &folder] {
        // What an attempt that was cut off has left, and what another recipe has made.
        let _nothing_there = fs::remove_dir_all(left);
    }
    fs::create_dir_all(&work).map_err(Trouble::io("make a folder for Debian"))?;
    make(&work)?;
    let kernel = fs::read(work.join("vmlinuz")).map_err(Trouble::io("read Debian's kernel"))?;
    write_whole(&work.join("vmlinux"), &vmlinux(&kernel)?).map_err(Trouble::io("write Debian's kernel"))?;
    fs::write(work.join("recipe"), recipe).map_err(Trouble::io("note how Debian was made"))?;
    fs::rename(&work, &folder).map_err(Trouble::io("keep Debian"))?;
    Ok(folder)
}

/// A state directory that holds nothing but this Debian as the image `debian`: what `host-runner image import` makes of it, in a folder
/// below the target directory.
///
/// # Errors
/// As [`debian`], and [`Trouble::Failed`] with the words of `import`.
pub fn debian_image_state() -> Result<PathBuf, Trouble> {
    let files = debian()?;
    let state = kept_folder("debian-image")?;
    let _lock = lock(&state.with_extension("lock"))?;
    let mut import = Command::new(host_runner()?);
    import.args(["image", "import", "--name", "debian", "--title", "Debian"]);
    import.args(["--command-line", DEBIAN_COMMAND_LINE, "--memory-min-mib", "256"]);
    for (option, file) in [
        ("--kernel", "vmlinuz"),
        ("--initrd", "initrd"),
        ("--disk", "disk"),
    ] {
        import.arg(option).arg(files.join(file));
    }
    run(import.arg("--state-dir").arg(&state))?;
    Ok(state)
}

fn make(work: &Path) -> Result<(), Trouble> {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", RECIPE, "debian"])
        .arg(work)
        .arg(mirror())
        .env("SUITE", SUITE)
        .env("PACKAGES", PACKAGES)
        .env("PASSWORD", DEBIAN_PASSWORD)
        // Not everybody's path has the programs of the system.
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("LC_ALL", "C");
    run(&mut command)?;
    // The place of what was in memory.
    fs::remove_dir(work.join("root")).map_err(Trouble::io("remove the place of Debian's files"))
}

/// The mirror that this computer's apt has the suite from.
fn mirror() -> String {
    let mut targets = Command::new("apt-get");
    targets.args(["indextargets", "--format", "$(SITE)", "Created-By: Packages"]);
    targets.arg(format!("Codename: {SUITE}"));
    let found = run(&mut targets).unwrap_or_default();
    found.lines().next().unwrap_or(MIRROR).to_owned()
}
