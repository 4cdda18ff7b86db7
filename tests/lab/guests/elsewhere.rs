//! Snapshots that go to a machine with another processor. The lab is one such machine after the other, and each leaves in its output what the
//! next one finds by `$FROM`.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use support::{program, run, wait_until};

use crate::Facts;
use crate::guest::{DEADLINE, Files, Guest};
use crate::machines::COUNT;

/// The guests, each of the CPU model that it is called after.
const MODELS: [&str; 2] = ["host", "pool"];
/// Features by which the two machines differ, as the guest's kernel calls them.
const DIFFERENT: &str = "grep -cwE 'avx2|bmi2' /proc/cpuinfo || true";

fn from() -> Result<PathBuf, Box<dyn Error>> {
    Ok(std::env::var("FROM")?.into())
}

fn out() -> Result<PathBuf, Box<dyn Error>> {
    Ok(std::env::var("OUT")?.into())
}

fn offered() -> Result<String, Box<dyn Error>> {
    Ok(run(Command::new(program("microvm")?).arg("cpu-features"))?)
}

/// What this machine's processor offers.
pub fn features(_: &Files) -> Facts {
    fs::write(out()?.join("offered"), offered()?)?;
    Ok(json!({"offered": serde_json::from_str::<Value>(&offered()?)?}))
}

/// Guests of both models are saved on this machine; the pool is of it and of the one before.
pub fn leave(files: &Files) -> Facts {
    let here = out()?.join("offered");
    fs::write(&here, offered()?)?;
    let pool = run(Command::new(program("microvm")?)
        .arg("cpu-pool")
        .args([here, from()?.join("offered")]))?;
    let pool: Value = serde_json::from_str(&pool)?;
    let configs = [
        json!({"cpus": {"count": 2, "model": "host"}}),
        json!({"cpus": {"count": 2, "model": {"pool": pool}}}),
    ];
    let mut facts = json!({"words": pool});
    // Both boot at once.
    let mut guests = Vec::new();
    for (name, config) in MODELS.into_iter().zip(&configs) {
        guests.push((name, files.launch(name, config)?));
    }
    for (name, mut guest) in guests {
        guest.wait_ready()?;
        let different = guest.run(DIFFERENT)?;
        let counted = save(&mut guest, &out()?.join(name))?;
        facts[name] = json!({"different": different, "counted": counted});
    }
    fs::write(out()?.join("left"), facts.to_string())?;
    Ok(facts)
}

/// Saves a guest that counts, to a folder that stays. Returns how far it has come.
fn save(guest: &mut Guest, to: &Path) -> Result<u64, Box<dyn Error>> {
    guest.run(COUNT)?;
    let counted = wait_until("the guest counts", DEADLINE, || {
        guest.number("cat /tmp/count").ok()
    })?;
    guest.post("/v1/pause")?;
    guest.snapshot("away", false)?;
    guest.monitor.kill();
    fs::create_dir(to)?;
    for file in ["state", "memory"] {
        fs::copy(
            guest.place.file("snapshots").join("away").join(file),
            to.join(file),
        )?;
    }
    Ok(counted)
}

/// The guest of the pool goes on on this machine, which has less; the other is refused.
pub fn arrive(files: &Files) -> Facts {
    let left: Value = serde_json::from_slice(&fs::read(from()?.join("left"))?)?;
    let restored = |name: &str, model: Value| -> Result<Value, Box<dyn Error>> {
        let snapshot = from()?.join(name);
        Ok(json!({"cpus": {"count": 2, "model": model}, "restore": [snapshot]}))
    };
    let mut guest = files.launch("pool", &restored("pool", json!({"pool": left["words"]}))?)?;
    let counted = left["pool"]["counted"].as_u64().ok_or("it had counted")?;
    let goes_on = wait_until("the guest counts on", DEADLINE, || {
        guest.number("cat /tmp/count").ok().filter(|now| *now > counted)
    })?;
    drop(guest);
    let place = Files::place("host")?;
    // The monitor may be gone before its console is reached.
    if let Ok(mut guest) = files.launch("host", &restored("host", json!("host"))?) {
        guest.monitor.wait(DEADLINE)?;
    }
    Ok(json!({
        "counted": [counted, goes_on],
        "refused": fs::read_to_string(place.file("log"))?.trim(),
    }))
}
