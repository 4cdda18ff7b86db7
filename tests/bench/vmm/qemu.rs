//! QEMU with the same machine.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What differs between QEMU's machines.
pub struct QemuParts {
    /// The initial RAM file system.
    pub initrd: PathBuf,
    /// The kernel's command line.
    pub command_line: String,
}

/// The command that runs it.
pub fn qemu(files: &Path, memory_mib: u32, parts: &QemuParts) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(["-M", "microvm,acpi=on,rtc=on", "-accel", "kvm", "-cpu", "host"])
        .args(["-smp", "1", "-m", &memory_mib.to_string()])
        .arg("-kernel")
        .arg(files.join("vmlinux"))
        .arg("-initrd")
        .arg(&parts.initrd)
        .args(["-append", &parts.command_line])
        .args(["-nodefaults", "-no-user-config", "-nographic", "-serial", "stdio"])
        .arg("-no-reboot");
    command
}
