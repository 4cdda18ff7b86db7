//! How fast data moves: a guest's random blocks, and its TCP, with ours and with QEMU by turns.

use std::error::Error;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;
use support::{MachineFolder, Monitor, run};

use crate::inside::machine_folder;
use crate::qemu::{QemuParts, qemu};
use crate::tools::DISK_MIB;

/// How often each is measured.
const ROUNDS: usize = 3;
const MEMORY_MIB: u32 = 256;
const TAP: &str = "bench0";
const MAC: &str = "52:54:00:00:97:02";

/// What a guest measured, and how it compares.
struct Pair {
    ours: Vec<[f64; 2]>,
    theirs: Vec<[f64; 2]>,
}

impl Pair {
    /// Lines for the two figures, by their names.
    fn report(&self, unit: &str, names: [&str; 2], lines: &mut File) -> std::io::Result<()> {
        for (at, name) in names.into_iter().enumerate() {
            let column = |all: &[[f64; 2]]| all.iter().map(|pair| pair[at]).collect::<Vec<_>>();
            let (ours, theirs) = (column(&self.ours), column(&self.theirs));
            writeln!(lines, "{name}, in {unit}: ours {ours:.0?}, QEMU {theirs:.0?}")?;
            writeln!(lines, "bench {name} {:.3} ratio", median(ours) / median(theirs))?;
        }
        Ok(())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A file system as hosts have it, for as long as the lab lives. In that of the lab's own, which is in its memory, a read may not say that it
/// would wait (tmpfs, Linux 6.1), so that `io_uring` hands each to a thread of its own, and that is what would be measured.
fn host_disk(place: &MachineFolder) -> Result<PathBuf, Box<dyn Error>> {
    let (device, folder) = (place.file("device"), place.file("host"));
    // Both disks, and as much again for what it needs itself.
    File::create(&device)?.set_len((4 * DISK_MIB) << 20)?;
    run(Command::new("mkfs.ext4").arg("-q").arg(&device))?;
    fs::create_dir_all(&folder)?;
    run(Command::new("mount")
        .args(["-o", "loop"])
        .arg(&device)
        .arg(&folder))?;
    Ok(folder)
}

/// Random blocks of 4 KiB, 16 at a time, read and written; each 64 writes wait for the disk. All through the host's page cache.
pub fn disks(files: &Path, lines: &mut File) -> Result<(), Box<dyn Error>> {
    let place = machine_folder("disks")?;
    let host = host_disk(&place)?;
    let raw = host.join("raw");
    let mut file = File::create(&raw)?;
    let block = vec![0x5a_u8; 1 << 20];
    for _ in 0..DISK_MIB {
        file.write_all(&block)?;
    }
    for (format, names) in [
        ("raw", ["vmm_blk_read_vs_qemu", "vmm_blk_write_vs_qemu"]),
        (
            "qcow2",
            ["vmm_blk_qcow2_read_vs_qemu", "vmm_blk_qcow2_write_vs_qemu"],
        ),
    ] {
        let disk = if format == "raw" {
            raw.clone()
        } else {
            let disk = host.join("qcow2");
            let converted = Command::new("qemu-img")
                .args(["convert", "-O", "qcow2"])
                .args([&raw, &disk])
                .status()?;
            fs::remove_file(&raw)?;
            if !converted.success() {
                return Err("qemu-img cannot make the qcow2 disk".into());
            }
            disk
        };
        let mut pair = Pair {
            ours: Vec::new(),
            theirs: Vec::new(),
        };
        for _ in 0..ROUNDS {
            let disks = json!([
                {"id": "tools", "path": files.join("tools"), "read_only": true},
                {"id": "disk", "path": &disk, "format": format},
            ]);
            let mut ours = place.monitor(
                files,
                MEMORY_MIB,
                &json!({"boot": boot(files, "disk"), "disks": disks}),
            )?;
            pair.ours.push(two_figures(&mut ours, "DISK")?);
            let drive = |id: &str, path: &Path, more: &str| {
                let path = path.display();
                [
                    "-drive".to_owned(),
                    format!("if=none,id={id},file={path},cache=writeback,aio=io_uring,{more}"),
                    "-device".to_owned(),
                    format!("virtio-blk-device,drive={id}"),
                ]
            };
            // QEMU gives the last device of the command line the first window: the guest sees them in the order of the windows.
            let mut devices = drive("disk", &disk, &format!("format={format}")).to_vec();
            devices.extend(drive("tools", &files.join("tools"), "format=raw,readonly=on"));
            let parts = parts(files, "disk");
            let mut theirs = qemu(files, MEMORY_MIB, &parts);
            pair.theirs.push(two_figures(theirs.args(devices), "DISK")?);
        }
        pair.report("requests a second", names, lines)?;
    }
    Ok(())
}

/// TCP between the guest and the lab host through a tap, both ways, moved by the monitors themselves.
pub fn network(files: &Path, lines: &mut File) -> Result<(), Box<dyn Error>> {
    let place = machine_folder("network")?;
    let ip = |words: &str| -> Result<(), Box<dyn Error>> {
        let done = Command::new("ip").args(words.split(' ')).status()?;
        done.success()
            .then_some(())
            .ok_or_else(|| format!("ip {words} failed").into())
    };
    ip(&format!("tuntap add {TAP} mode tap vnet_hdr"))?;
    ip(&format!("address add 10.97.0.1/24 dev {TAP}"))?;
    ip(&format!("link set {TAP} up"))?;
    let _server = Server(
        Command::new("iperf3")
            .args(["--server", "--bind", "10.97.0.1"])
            .stdout(Stdio::null())
            .spawn()?,
    );
    let mut pair = Pair {
        ours: Vec::new(),
        theirs: Vec::new(),
    };
    for _ in 0..ROUNDS {
        let more = json!({
            "boot": boot(files, "net"),
            "disks": [{"id": "tools", "path": files.join("tools"), "read_only": true}],
            "networks": [{"id": "net", "mac": MAC, "backend": {"tap": {"name": TAP, "vhost": false}}}],
        });
        pair.ours
            .push(two_figures(&mut place.monitor(files, MEMORY_MIB, &more)?, "NET")?);
        let mut theirs = qemu(files, MEMORY_MIB, &parts(files, "net"));
        theirs
            .arg("-drive")
            .arg(format!(
                "if=none,id=tools,file={},format=raw,readonly=on",
                files.join("tools").display()
            ))
            .args(["-device", "virtio-blk-device,drive=tools", "-netdev"])
            .arg(format!(
                "tap,id=net,ifname={TAP},script=no,downscript=no,vhost=off"
            ))
            .arg("-device")
            .arg(format!("virtio-net-device,netdev=net,mac={MAC}"));
        pair.theirs.push(two_figures(&mut theirs, "NET")?);
    }
    pair.report("kbit/s", ["vmm_net_vs_qemu", "vmm_net_receive_vs_qemu"], lines)?;
    Ok(())
}

/// iperf3's server, which serves until it is killed.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// What the guest of a new monitor measured: the two numbers between the mark and `END`.
fn two_figures(command: &mut Command, mark: &str) -> Result<[f64; 2], Box<dyn Error>> {
    let mut line = String::new();
    Monitor::start(command)?.until(|said| {
        line = String::from_utf8_lossy(said).into_owned();
        line.contains(mark) && line.contains("END")
    })?;
    let words: Vec<&str> = line.split_whitespace().skip_while(|word| *word != mark).collect();
    match words.as_slice() {
        [_, one, two, "END", ..] => Ok([one.parse()?, two.parse()?]),
        _ => Err(format!("the guest's tools failed: {line}").into()),
    }
}

fn command_line(task: &str) -> String {
    format!("console=ttyS0 quiet panic=-1 net.ifnames=0 task={task}")
}

fn boot(files: &Path, task: &str) -> serde_json::Value {
    json!({
        "kernel": files.join("vmlinux"), "initrd": files.join("tools-initrd"), "command_line": command_line(task),
    })
}

fn parts(files: &Path, task: &str) -> QemuParts {
    QemuParts {
        initrd: tools_initrd(files),
        command_line: command_line(task),
    }
}

fn tools_initrd(files: &Path) -> PathBuf {
    files.join("tools-initrd")
}
