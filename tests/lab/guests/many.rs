//! Thirty guests on one host.

use std::process::Command;
use std::time::Instant;

use serde_json::json;
use support::{run, wait_until};

use crate::Facts;
use crate::guest::{DEADLINE, Files};
use crate::network::{Bridge, config};

const GUESTS: u32 = 30;
/// The memory of each, in MiB.
const MEMORY_MIB: u32 = 96;

/// Started at once, each with an address and a page of its own; then each is asked for its page.
pub fn thirty(files: &Files) -> Facts {
    let bridge = Bridge::new("pond3", "10.80.0.1/24")?;
    let begun = Instant::now();
    let mut guests = Vec::new();
    for number in 1..=GUESTS {
        let tap = bridge.tap(&format!("pond3-{number}"))?;
        let mut config = config(&tap, number, true);
        config["memory"] = json!({"size_mib": MEMORY_MIB});
        guests.push(files.launch(&format!("many-{number}"), &config)?);
    }
    let launched_ms = begun.elapsed().as_millis();
    for (number, guest) in (1..).zip(&mut guests) {
        guest.wait_ready()?;
        guest.send(&format!(
            "ip addr add 10.80.0.{} dev eth0; ip link set eth0 up; mkdir /tmp/www; echo guest {number} >/tmp/www/index.html; \
             httpd -p 80 -h /tmp/www",
            network_address(number)
        ))?;
    }
    let ready_ms = begun.elapsed().as_millis();
    let mut answers = Vec::new();
    for number in 1..=GUESTS {
        let host = network_address(number);
        let url = format!("http://10.80.0.{}/", host.trim_end_matches("/24"));
        let page = wait_until("the guest serves its page", DEADLINE, || {
            run(Command::new("curl").args(["--silent", "--fail", "--max-time", "10", &url])).ok()
        })?;
        answers.push(page.trim().to_owned());
    }
    let (mut overhead_kib, mut kernels_kib, mut kernels_share_kib) = (0, 0, 0);
    for guest in &guests {
        overhead_kib += guest.monitor.overhead_kib(MEMORY_MIB)?;
        let mappings = guest.monitor.mappings()?;
        for one in mappings.iter().filter(|one| one.of.ends_with("/vmlinux")) {
            kernels_kib += one.resident_kib;
            kernels_share_kib += one.share_kib;
        }
    }
    Ok(json!({
        "answers": answers,
        "launched_ms": u32::try_from(launched_ms)?,
        "ready_ms": u32::try_from(ready_ms)?,
        "overhead_kib_each": overhead_kib / GUESTS,
        "of_the_kernel_kib_each": kernels_kib / GUESTS,
        "of_the_kernel_kib_in_all": kernels_share_kib,
    }))
}

fn network_address(number: u32) -> String {
    format!("{}/24", number + 10)
}
