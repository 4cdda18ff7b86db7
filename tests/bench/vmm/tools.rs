//! A guest with fio and iperf3: an initial RAM file system that loads the devices' drivers, and a disk that holds the programs.

use std::error::Error;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::archive;

/// The disks of the benchmark, in MiB: large enough that random blocks are rarely the same.
pub const DISK_MIB: u64 = 256;
/// What the programs and their libraries take, with room to spare, in MiB.
const TOOLS_MIB: u32 = 256;
const TOOLS: [&str; 2] = ["fio", "iperf3"];

/// Says `DISK` and two numbers, or `NET` and two, and turns nothing off: the monitor is killed. Results stand on lines of their own.
const INIT: &str = r#"#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
for module in $($b cat /etc/modules); do $b insmod /lib/modules/$module; done
$b mkdir -p /tools
# The two monitors may number the disks in another order.
until $b mount -t ext4 -o ro /dev/vda /tools || $b mount -t ext4 -o ro /dev/vdb /tools; do $b sleep 0.1; done 2> /dev/null
disk=/dev/vda
$b grep -q '^/dev/vda' /proc/mounts && disk=/dev/vdb
$b mount --bind /dev /tools/dev
$b mount --bind /proc /tools/proc
$b mount -t tmpfs tmp /tools/tmp
for word in $($b cat /proc/cmdline); do case $word in task=*) task=${word#task=} ;; esac; done
disk() {
  $b chroot /tools /usr/bin/fio --name=bench --filename=$disk --rw=$1 --bs=4k --direct=1 --ioengine=libaio --iodepth=16 \
    --ramp_time=2 --runtime=6 --time_based --fdatasync=$2 --output-format=terse --terse-version=3 | $b awk -F';' -v field=$3 '{print $field}'
}
net() {
  $b chroot /tools /usr/bin/iperf3 --client 10.97.0.1 --time 5 --omit 1 --format k $1 | $b awk '/receiver/ {print $7}'
}
case $task in
  disk) echo "DISK $(disk randread 0 8) $(disk randwrite 64 49) END" > /dev/ttyS0 ;;
  net)
    $b ip address add 10.97.0.2/24 dev eth0
    $b ip link set eth0 up
    until $b ping -c 1 -W 1 10.97.0.1 > /dev/null; do :; done
    echo "NET $(net) $(net --reverse) END" > /dev/ttyS0 ;;
esac
while true; do $b sleep 1000; done
"#;

/// Writes `tools-initrd` and `tools` into the folder; `tiny` is Tiny Linux's own initial RAM file system, which has the drivers.
pub fn prepare(folder: &Path, tiny: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(tiny).read_to_end(&mut unpacked)?;
    // An archive behind another adds to it, and replaces what is there.
    unpacked.resize(unpacked.len().next_multiple_of(512), 0);
    let root = tempfile::tempdir()?;
    fs::write(root.path().join("init"), INIT)?;
    unpacked.extend(archive(root.path())?);
    fs::write(folder.join("tools-initrd"), unpacked)?;
    disk(&folder.join("tools"))
}

/// An ext4 file system with the programs, and all libraries that they are linked with, in their places.
fn disk(path: &Path) -> Result<(), Box<dyn Error>> {
    let root = tempfile::tempdir()?;
    for place in ["dev", "proc", "tmp"] {
        fs::create_dir(root.path().join(place))?;
    }
    for tool in TOOLS {
        let program = Path::new("/usr/bin").join(tool);
        let said = Command::new("ldd").arg(&program).output()?;
        if !said.status.success() {
            return Err(format!("{} is missing: install the package {tool}", program.display()).into());
        }
        let libraries = String::from_utf8(said.stdout)?;
        let libraries = libraries
            .split_whitespace()
            .filter(|word| word.starts_with('/'))
            .map(PathBuf::from);
        for file in libraries.chain([program]) {
            let place = root.path().join(file.strip_prefix("/")?);
            fs::create_dir_all(place.parent().ok_or("a file lies in a folder")?)?;
            fs::copy(&file, place)?;
        }
    }
    let made = Command::new("mkfs.ext4")
        .args(["-q", "-F", "-d"])
        .arg(root.path())
        .arg(path)
        .arg(format!("{TOOLS_MIB}M"))
        .stdout(Stdio::null())
        .status()?;
    if made.success() {
        Ok(())
    } else {
        Err("mkfs.ext4 cannot make the disk of the tools".into())
    }
}
