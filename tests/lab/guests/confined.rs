//! What a monitor's driver reaches of the host's files, on a kernel that has Landlock.

use std::error::Error;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use microvm::config::MachineConfig;
use microvm::sandbox::{self, Confinement, ThreadKind};
use serde_json::{Value, json};
use support::run;

use crate::Facts;
use crate::guest::Files;

/// A process is confined as a monitor is, and opens files, each of which is its user's own.
pub fn files_in_reach(_: &Files) -> Facts {
    let place = Files::place("confined")?;
    fs::create_dir_all(place.file("snapshots"))?;
    for name in ["snapshots/file", "outside"] {
        fs::write(place.file(name), "text")?;
    }
    let this = std::env::current_exe()?;
    let said = run(Command::new(this).arg("confined").arg(&place.path))?;
    Ok(serde_json::from_str(&said)?)
}

/// The other side of it: what became of each file.
pub fn confine_and_open(folder: &Path) -> Result<(), Box<dyn Error>> {
    sandbox::begin()?;
    let config: MachineConfig = serde_json::from_value(json!({
        "id": "confined",
        "cpus": {"count": 1},
        "memory": {"size_mib": 64},
        "boot": {"kernel": "/kernel"},
        "snapshot_directory": folder.join("snapshots"),
    }))?;
    sandbox::confine_process(&config, &Confinement::default())?;
    sandbox::enter(ThreadKind::Driver)?;
    let open = |path: &Path| -> Value {
        match File::open(path) {
            Ok(_) => "open".into(),
            Err(err) => err.kind().to_string().into(),
        }
    };
    let became = json!({
        "snapshot": open(&folder.join("snapshots/file")),
        "outside": open(&folder.join("outside")),
        "system": open(Path::new("/etc/passwd")),
    });
    println!("{became}");
    Ok(())
}
