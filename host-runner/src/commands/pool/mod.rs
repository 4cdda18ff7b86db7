//! `pool dump` and `pool schema`: the live pool as one JSON document.

mod agents;
mod history;
mod schema;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use api::client::ClientError;
use api::seen::{instance_seen, machine_seen};
use pool::inventory::{INVENTORY_FORMAT, Inventory, InventoryError};
use uuid::Uuid;

use super::CommandError;
use crate::cli::{Common, PoolDump};
use agents::{Reading, Source};

/// Why the pool was not written down.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// A machine does not answer, or not as it should.
    #[error("cannot read {machine}{remedy}")]
    Machine {
        /// Its address.
        machine: String,
        /// What to do about it; begins with `; ` where there is something.
        remedy: &'static str,
        /// Why.
        #[source]
        err: ClientError,
    },
    /// Some machines are missing, and were named before.
    #[error(
        "{missing} of {all} machines could not be read, and nothing was written; --skip-unreachable writes the others down"
    )]
    Incomplete {
        /// How many.
        missing: usize,
        /// Of how many.
        all: usize,
    },
    /// No machine could be read.
    #[error("none of the machines could be read, and nothing was written")]
    Nothing,
    /// What the machines say does not fit together.
    #[error("what the machines say does not fit together")]
    Contradiction(#[source] InventoryError),
    /// The file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        err: io::Error,
    },
}

/// Writes the live pool down.
pub async fn dump(common: &Common, options: &PoolDump) -> Result<ExitCode, CommandError> {
    let mut sources = Vec::new();
    if options.machines.is_empty() || options.local {
        sources.push(Source::Local(super::connect::find(common).await?));
    }
    sources.extend(options.machines.iter().cloned().map(Source::Ssh));
    let mut readings = Vec::with_capacity(sources.len());
    let mut missing = 0;
    for (source, read) in agents::read_all(&sources).await {
        match read {
            Ok(reading) => readings.push(reading),
            Err(err) => {
                missing += 1;
                let error = agents::explained(source, err);
                let words = super::with_causes(&error);
                eprintln!("host-runner: {}", super::words::presentable(&words));
            }
        }
    }
    if readings.is_empty() {
        return Err(DumpError::Nothing.into());
    }
    if missing > 0 && !options.skip_unreachable {
        let all = sources.len();
        return Err(DumpError::Incomplete { missing, all }.into());
    }
    let (inventory, loosened) = inventory_of(&readings);
    for name in loosened {
        let words = format!(
            "{name} is tied to a machine that was not read; in the document it is fixed to where it is"
        );
        eprintln!("host-runner: {}", super::words::presentable(&words));
    }
    inventory.check().map_err(DumpError::Contradiction)?;
    let mut text = serde_json::to_string_pretty(&inventory)?;
    text.push('\n');
    match &options.output {
        None => super::print(&text)?,
        Some(path) => super::save::save(path, text.as_bytes()).map_err(|err| DumpError::Write {
            path: path.clone(),
            err,
        })?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the document's form.
pub fn print_schema() -> Result<ExitCode, CommandError> {
    super::print(&schema::document()?)?;
    Ok(ExitCode::SUCCESS)
}

/// Puts the machines together. One that was read twice, by two addresses, counts once.
///
/// Returns besides the names of the instances that are tied to a machine which was not read.
fn inventory_of(readings: &[Reading]) -> (Inventory, Vec<String>) {
    let taken_at_s = jiff::Timestamp::now().as_second();
    let mut inventory = Inventory {
        format: INVENTORY_FORMAT,
        // Nobody counts a pool's states across its machines; a later dump has a higher number.
        version: u32::try_from(taken_at_s).unwrap_or(u32::MAX),
        taken_at_s,
        machines: Vec::with_capacity(readings.len()),
        instances: Vec::new(),
    };
    // Here the pool calls machines what they call themselves.
    let of_host: BTreeMap<Uuid, Uuid> = readings
        .iter()
        .map(|reading| (reading.snapshot.host.id, reading.snapshot.host.id))
        .collect();
    let mut loosened = Vec::new();
    for Reading { snapshot, history } in readings {
        let host = &snapshot.host;
        if inventory.machines.iter().any(|known| known.id == host.id) {
            continue;
        }
        let mut machine = machine_seen(
            host.id,
            &host.hostname,
            host,
            Some(&snapshot.usage),
            &snapshot.images,
        );
        machine.usage = history.machine.series();
        inventory.machines.push(machine);
        for instance in &snapshot.instances {
            let usage = history
                .instances
                .get(&instance.id)
                .and_then(history::Samples::series);
            inventory
                .instances
                .push(instance_seen(instance, host.id, &of_host, usage));
            let pin = instance.spec.placement.pin;
            if pin.is_some_and(|pin| !of_host.contains_key(&pin)) {
                loosened.push(instance.spec.name.clone());
            }
        }
    }
    (inventory, loosened)
}
