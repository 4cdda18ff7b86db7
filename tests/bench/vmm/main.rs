//! How fast and how lean the microVM monitor is, against QEMU's microvm machine in the same run: each figure a line
//! `bench NAME VALUE UNIT`.
//!
//! Run in release mode: `make bench SUITE=vmm`, or `bench-vmm launch|disks|network|growth…` for some parts of it. It prepares a guest, and runs
//! itself again inside the lab, where there is a real kvm-amd under an emulated processor: times there are some ten times what they are on
//! hardware, and only ratios say something. One figure is measured outside, on the machine's own processor: what the monitor itself does
//! before its guest's first instruction.

mod data;
mod guest;
mod inside;
mod qemu;
mod tools;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the lab gets: the growth table holds fifty guests.
const LAB_MEMORY_MIB: &str = "10240";
/// How long one part may take in the lab, in seconds; the longest takes half of it on a quiet machine.
const LAB_LIMIT_S: &str = "900";
/// The lab's processors: the monitors' threads move data while the guest computes, as on hardware.
const LAB_CPUS: &str = "2";
/// Emulated in parallel, processors at times go on with code that another one has replaced, and stand still: a part that does not end is tried
/// again.
const TRIES: u32 = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => outside(&inside::PARTS.map(str::to_owned)),
        [word, folder, part] if word == "inside" => inside::run(Path::new(folder), part),
        parts => outside(parts),
    }
}

fn outside(parts: &[String]) -> Result<(), Box<dyn Error>> {
    if let Some(other) = parts.iter().find(|part| !inside::PARTS.contains(&part.as_str())) {
        return Err(format!(
            "bench-vmm has no part {other}; there are: {}",
            inside::PARTS.join(", ")
        )
        .into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    let this = std::env::current_exe()?;
    let folder: PathBuf = this
        .parent()
        .ok_or("a program lies in a folder")?
        .join("../bench-vmm");
    std::fs::create_dir_all(&folder)?;
    let folder = folder.canonicalize()?;
    guest::prepare(&folder)?;
    if parts.iter().any(|part| part == "launch") {
        own_share(&folder)?;
    }
    for part in parts {
        let mut tried = 1;
        while let Err(trouble) = in_lab(&root, &this, &folder, part) {
            eprintln!("bench-vmm: {part}, try {tried} of {TRIES}: {trouble}");
            if tried == TRIES {
                return Err(format!("{part} did not come to its end in the lab").into());
            }
            tried += 1;
        }
    }
    Ok(())
}

/// Measures one part in a lab of its own, and prints its lines once it has all of them.
fn in_lab(root: &Path, this: &Path, folder: &Path, part: &str) -> Result<(), Box<dyn Error>> {
    // Fifty guests at once meet what is wrong with processors that are emulated in parallel.
    let cpus = if part == "growth" { "1" } else { LAB_CPUS };
    let status = Command::new(root.join("tests/lab/run-in-lab"))
        .args(["-t", LAB_LIMIT_S, "-m", LAB_MEMORY_MIB, "-c", cpus, "-o"])
        .arg(folder.join("out"))
        .arg("--")
        .arg(this)
        .arg("inside")
        .arg(folder)
        .arg(part)
        .stdout(std::process::Stdio::null())
        .status()?;
    let read = |file: &str| std::fs::read_to_string(folder.join("out").join(file)).unwrap_or_default();
    if !status.success() {
        return Err(format!("the lab ended with {status}: {}", read("trouble").trim()).into());
    }
    print!("{}", read("bench"));
    Ok(())
}

/// The monitor's own share of a launch, on this machine's own processor: in the lab, where that is emulated, the same code takes some ten
/// times as long, and starting `/bin/true` alone takes 40 ms.
fn own_share(folder: &Path) -> Result<(), Box<dyn Error>> {
    if std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_ok()
    {
        inside::first_instruction(folder, "vmm_first_instruction_cpu_ms", &mut std::io::stdout())
    } else {
        println!(
            "/dev/kvm does not open here: vmm_first_instruction_cpu_ms is left out, see the lab's own figure"
        );
        Ok(())
    }
}
