//! `host-runner image build-tiny` against a distribution of the test's own: its package programs are scripts, so that each can fail.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where its footing does, and says where"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const KERNEL: &str = "linux-image-9.9-cloud-amd64";
const MODULES: [&str; 5] = ["virtio_pci", "virtio_blk", "virtio_net", "evdev", "button"];

/// A distribution: the folder of its programs, and what its kernel's package holds.
struct Distribution {
    root: TempDir,
}

impl Distribution {
    /// One whose packages are all there. Each program notes its call in `calls`.
    fn complete() -> Self {
        let this = Self::without_programs();
        let calls = this.root.path().join("calls");
        let note = format!("echo \"${{0##*/}} $*\" >>{}", calls.display());
        this.program("dpkg", &format!("{note}; echo amd64"));
        this.offer("1.0");
        this.program("apt-get", &format!("{note}; : >kernel.deb"));
        let package = this.root.path().join("package");
        this.program(
            "dpkg-deb",
            &format!("{note}; /bin/cp -r {}/. \"$3\"", package.display()),
        );

        let tree = package.join("lib/modules/9.9");
        fs::create_dir_all(tree.join("kernel")).unwrap();
        fs::create_dir_all(package.join("boot")).unwrap();
        fs::write(package.join("boot/vmlinuz-9.9"), "kernel").unwrap();
        fs::write(tree.join("modules.builtin"), "").unwrap();
        for module in MODULES {
            fs::write(tree.join(format!("kernel/{module}.ko")), b"\0depends=\0").unwrap();
        }
        this
    }

    /// One that has nothing but `env`.
    fn without_programs() -> Self {
        let root = TempDir::new().unwrap();
        fs::create_dir(root.path().join("bin")).unwrap();
        std::os::unix::fs::symlink("/usr/bin/env", root.path().join("bin/env")).unwrap();
        Self { root }
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.root.path().join("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }

    /// The version of the kernel that apt knows.
    fn offer(&self, version: &str) {
        let script = format!(
            "case \"$*\" in\n\
             *linux-image-cloud-amd64) echo '  Depends: {KERNEL}' ;;\n\
             show*) shift 2; for p in \"$@\"; do echo \"Package: $p\"; echo 'Version: {version}'; done ;;\n\
             *) echo '  Depends: kmod' ;;\n\
             esac"
        );
        self.program("apt-cache", &script);
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_host-runner"));
        command
            .args(["image", "build-tiny", "--state-dir"])
            .arg(self.state())
            .env("PATH", self.root.path().join("bin"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        command
    }

    fn build(&self) -> Output {
        self.command().output().unwrap()
    }

    fn start(&self) -> Child {
        self.command().spawn().unwrap()
    }

    fn state(&self) -> PathBuf {
        self.root.path().join("state")
    }

    fn manifest(&self) -> PathBuf {
        self.state().join("images/manifests/tiny-linux.json")
    }

    fn entries(&self, folder: &str) -> Vec<String> {
        fs::read_dir(self.state().join("images").join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Nothing was made, and the terminal says why and what to do.
fn assert_refused(distribution: &Distribution, output: &Output, cause: &str, remedy: &str) {
    let told = told(output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(cause), "expected the cause {cause:?} in: {told}");
    let advice = told.split("What to do: ").nth(1).unwrap_or_default();
    assert!(
        advice.contains(remedy),
        "expected the remedy {remedy:?} in: {told}"
    );
    assert!(!distribution.manifest().exists());
    assert_eq!(distribution.entries("staging"), Vec::<String>::new());
}

/// Waits until the condition holds.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "waited in vain until {what}"
        );
        std::thread::yield_now();
    }
}

#[test]
fn a_complete_distribution_makes_the_image_and_a_second_build_changes_nothing() {
    let distribution = Distribution::complete();
    let first = distribution.build();
    assert!(first.status.success(), "{}", told(&first));
    assert!(told(&first).contains("nothing is installed"));
    assert!(told(&first).contains("Tiny Linux: ready"));
    let manifest = fs::read(distribution.manifest()).unwrap();
    assert_eq!(distribution.entries("blobs").len(), 2);

    let second = distribution.build();
    assert!(told(&second).contains("up to date"), "{}", told(&second));
    assert_eq!(fs::read(distribution.manifest()).unwrap(), manifest);
    let calls = fs::read_to_string(distribution.root.path().join("calls")).unwrap();
    assert_eq!(calls.matches("dpkg-deb -x").count(), 1, "{calls}");
}

#[test]
fn without_apt_the_missing_program_is_named() {
    let distribution = Distribution::without_programs();
    let output = distribution.build();
    assert_refused(
        &distribution,
        &output,
        "`dpkg` is not installed",
        "Debian or Ubuntu",
    );
}

#[test]
fn empty_package_lists_are_told_with_the_command_that_fills_them() {
    let distribution = Distribution::complete();
    distribution.program("apt-cache", "echo 'E: No packages found' >&2; exit 100");
    let output = distribution.build();
    assert_refused(
        &distribution,
        &output,
        "linux-image-cloud-amd64",
        "sudo apt-get update",
    );
}

#[test]
fn without_a_network_apts_own_words_are_told() {
    let distribution = Distribution::complete();
    distribution.program("apt-get", "echo 'E: Could not resolve mirror' >&2; exit 100");
    let output = distribution.build();
    assert_refused(
        &distribution,
        &output,
        "E: Could not resolve mirror",
        "reaches its package mirror",
    );
}

#[test]
fn a_full_disk_while_unpacking_leaves_nothing_behind() {
    let distribution = Distribution::complete();
    distribution.program(
        "dpkg-deb",
        ": >\"$3/half\"; echo 'No space left on device' >&2; exit 2",
    );
    let output = distribution.build();
    assert_refused(
        &distribution,
        &output,
        "No space left on device",
        "room for about 250 MB",
    );
}

#[test]
fn a_kernel_without_a_module_that_the_guest_needs_is_refused() {
    let distribution = Distribution::complete();
    let module = "package/lib/modules/9.9/kernel/evdev.ko";
    fs::remove_file(distribution.root.path().join(module)).unwrap();
    let output = distribution.build();
    assert_refused(
        &distribution,
        &output,
        "9.9 has no module evdev",
        "apt-get update",
    );
}

#[test]
fn a_failed_build_keeps_the_older_image_usable() {
    let distribution = Distribution::complete();
    assert!(distribution.build().status.success());
    let manifest = fs::read(distribution.manifest()).unwrap();
    make_old(&distribution.manifest());
    distribution.program("apt-cache", "exit 100");

    let output = distribution.build();
    assert!(output.status.success(), "{}", told(&output));
    assert!(told(&output).contains("the present image stays as it is"));
    assert_eq!(fs::read(distribution.manifest()).unwrap(), manifest);
}

#[test]
fn a_newer_kernel_replaces_the_image_and_the_old_files_go() {
    let distribution = Distribution::complete();
    assert!(distribution.build().status.success());
    let old = fs::read(distribution.manifest()).unwrap();
    make_old(&distribution.manifest());
    distribution.offer("2.0");
    let kernel = distribution.root.path().join("package/boot/vmlinuz-9.9");
    fs::write(kernel, "newer kernel").unwrap();

    assert!(distribution.build().status.success());
    assert_ne!(fs::read(distribution.manifest()).unwrap(), old);
    // The next opening of the store removes what no manifest names.
    assert!(distribution.build().status.success());
    assert_eq!(distribution.entries("blobs").len(), 2);
}

#[test]
fn a_build_that_was_killed_leaves_nothing_once_the_next_one_ran() {
    let distribution = Distribution::complete();
    let marker = distribution.root.path().join("fetching");
    // Ends with the build, which as a killed one cannot end it.
    let hang = format!(
        ": >{}; while [ -e /proc/$PPID ]; do /bin/sleep 0.02; done",
        marker.display()
    );
    distribution.program("apt-get", &hang);
    let mut build = distribution.start();
    wait_until("the build fetches", || marker.exists());
    build.kill().unwrap();
    build.wait().unwrap();
    assert_eq!(distribution.entries("staging").len(), 1);

    distribution.program("apt-get", ": >kernel.deb");
    let output = distribution.build();
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(distribution.entries("staging"), Vec::<String>::new());
}

#[test]
fn a_second_build_at_the_same_time_is_refused_and_the_first_one_goes_on() {
    let distribution = Distribution::complete();
    let (begun, go_on) = (
        distribution.root.path().join("begun"),
        distribution.root.path().join("go-on"),
    );
    let wait = format!(
        ": >{}; while [ ! -e {} ]; do /bin/sleep 0.02; done; : >kernel.deb",
        begun.display(),
        go_on.display()
    );
    distribution.program("apt-get", &wait);
    let first = distribution.start();
    wait_until("the first build fetches", || begun.exists());

    let second = distribution.build();
    assert_eq!(second.status.code(), Some(1));
    assert!(
        told(&second).contains("another image is being made"),
        "{}",
        told(&second)
    );

    fs::write(go_on, "").unwrap();
    let first = first.wait_with_output().unwrap();
    assert!(first.status.success(), "{}", told(&first));
}

/// Makes the image older than the machine's package lists, so that apt is asked again.
fn make_old(manifest: &Path) {
    let file = fs::File::open(manifest).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
}
