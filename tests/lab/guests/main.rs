//! Guests on the microVM monitor, inside the lab: each scenario runs its guests and leaves what it saw.
//!
//! ```text
//! lab-guests prepare              outside of the lab: makes the guest's files, and prints their folder
//! lab-guests prepare debian       the same for the session that runs Debian
//! lab-guests SESSION FILES        the scenarios of one session
//! lab-guests SESSION FILES NAME   one of them
//! lab-guests confined FOLDER      is what a scenario starts: opens files there, confined as a monitor is
//! ```
//!
//! What each scenario saw goes to `$OUT/NAME.json`: facts, or `{"error": …}`. Whether the facts are good is for the tests to say. What all
//! monitors have written goes to `$OUT/logs.json`, by the name of their guest.

mod attacks;
mod confined;
mod debian;
mod devices;
mod disks;
mod elsewhere;
mod guest;
mod machines;
mod many;
mod memory;
mod moves;
mod network;
mod no_rings;
mod queues;
mod shapes;
mod troubles;

use std::error::Error;
use std::path::Path;

use serde_json::{Value, json};

use crate::guest::Files;

type Facts = Result<Value, Box<dyn Error>>;
type Scenario = (&'static str, fn(&Files) -> Facts);

const SESSIONS: [(&str, &[Scenario]); 10] = [
    (
        "machine",
        &[
            ("processors", machines::processors),
            ("most_processors", machines::most_processors),
            ("disks", disks::survive_a_reset),
            ("held", machines::held_under_load),
            ("balloon", memory::balloon_under_load),
            ("vsock", machines::vsock),
        ],
    ),
    (
        "devices",
        &[
            ("by_itself", memory::memory_by_itself),
            ("devices", devices::disks_and_console),
            ("no_rings", devices::disk_without_rings),
            ("confined", confined::files_in_reach),
            ("failing", troubles::disk_that_keeps_nothing),
            ("cut_short", troubles::kernel_cut_short),
        ],
    ),
    (
        "moves",
        &[
            ("chain", moves::chain_of_snapshots),
            ("kinds_of_memory", shapes::kinds_of_memory),
            ("connection", moves::connection),
            ("counter", moves::clock_of_the_counter),
            ("no_room", troubles::snapshot_without_room),
        ],
    ),
    (
        "network",
        &[
            ("network", network::dhcp_ping_and_pages),
            ("pairs", queues::pairs_by_kernel_and_by_monitor),
        ],
    ),
    ("crowd", &[("thirty", many::thirty)]),
    (
        "attacks",
        &[("hostile", attacks::hostile_guest), ("sweep", attacks::sweep)],
    ),
    ("debian", &[("debian", debian::boots_from_its_disk)]),
    ("features", &[("features", elsewhere::features)]),
    ("leave", &[("leave", elsewhere::leave)]),
    ("arrive", &[("arrive", elsewhere::arrive)]),
];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["prepare"] => println!("{}", support::lab_guest()?.display()),
        ["prepare", "debian"] => println!("{}", support::debian()?.display()),
        ["confined", folder] => confined::confine_and_open(Path::new(folder))?,
        [session, files] => perform(session, Path::new(files), None)?,
        [session, files, name] => perform(session, Path::new(files), Some(name))?,
        _ => return Err("lab-guests SESSION FILES".into()),
    }
    Ok(())
}

fn perform(session: &str, files: &Path, only: Option<&str>) -> Result<(), Box<dyn Error>> {
    let scenarios = SESSIONS
        .iter()
        .find(|(name, _)| *name == session)
        .ok_or("no such session")?
        .1;
    let out = std::env::var("OUT")?;
    let files = Files::new(files)?;
    for (name, scenario) in scenarios {
        if only.is_some_and(|only| only != *name) {
            continue;
        }
        let begun = std::time::Instant::now();
        let mut facts = scenario(&files).unwrap_or_else(|error| json!({"error": error.to_string()}));
        facts["took_ms"] = u32::try_from(begun.elapsed().as_millis())?.into();
        std::fs::write(
            Path::new(&out).join(format!("{name}.json")),
            serde_json::to_vec_pretty(&facts)?,
        )?;
    }
    let logs = serde_json::to_vec_pretty(&guest::logs()?)?;
    Ok(std::fs::write(Path::new(&out).join("logs.json"), logs)?)
}
