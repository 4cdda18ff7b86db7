//! The microVM monitor: one process for each guest, reached over its socket alone.
//!
//! ```text
//! STATE/instances/ID/guest.lock     held by the monitor as its standard input: whether the guest lives
//! RUNTIME/instances/ID/config.json  what the machine is made of
//!                      api.sock     the monitor's control socket
//!                      serial.sock  the guest's console, which begins with its last 64 KiB
//!                      vsock        the monitor's end of the guest's vsock
//!                      vsock_1024   where the guest tells its state
//!                      net.sock     where the monitor meets the guest's network
//!                      network.json which passt that is, and the ports that it publishes
//!                      ending.json  how the guest came to its end
//!                      resumed      there once the vCPUs were set running
//! ```

mod control;
mod document;
mod ending;
mod events;
mod guest;
mod introduction;
mod network;
mod notify;
mod readiness;

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use api::{EngineChoice, EngineKind, HardwareVirtualization, Mib};
use async_trait::async_trait;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use self::document::{API_SOCKET, CONFIG_FILE, ENDING_FILE};
use self::guest::{MicrovmGuest, RESUMED_FILE};
use self::network::Network;
pub use self::readiness::{Lack, MONITOR, PASST, Programs, installed, readiness};
use super::process::{self, Process, Program, remove_if_there};
use super::{Engine, EngineError, Guest, GuestEnd, GuestUser, LOG_BYTES_MAX, LaunchOrder, guest_user};
use crate::console::replay;
use crate::instance_files::{FileError, InstanceFiles, failed, private_dir};

/// What a guest takes of the machine's memory beside its own: the monitor's 4 MiB, and passt's 20 while it idles and up to 70 where many
/// connections are busy. Measured as proportional set size.
pub const MEMORY_OVERHEAD: Mib = Mib(32);
/// What the monitor writes, in the runtime folder.
const STDERR_FILE: &str = "stderr";
/// How long the monitor may take from its process to its answer, and passt until it serves: both are slow on a machine that is.
const START_DEADLINE: Duration = Duration::from_secs(20);
/// How long one that was killed may take to be gone.
const GIVE_UP_DEADLINE: Duration = Duration::from_secs(5);
/// How often a starting monitor is looked at.
const START_POLL: Duration = Duration::from_millis(10);

/// The engine.
#[derive(Debug)]
pub struct Microvm {
    files: InstanceFiles,
    hardware: HardwareVirtualization,
}

impl Microvm {
    /// The monitor on this machine, whether or not it can run here.
    pub fn new(files: InstanceFiles, hardware: &HardwareVirtualization) -> Self {
        Self {
            files,
            hardware: hardware.clone(),
        }
    }

    /// The programs that guests are run with; else what is missing. Looks anew each time.
    pub fn readiness(&self) -> Result<Programs, Lack> {
        readiness(&self.hardware)
    }

    fn runtime(&self, id: Uuid, file: &str) -> PathBuf {
        self.files.runtime_dir(id).join(file)
    }

    /// The end of what the guest's console showed, as text.
    fn console(&self, id: Uuid) -> String {
        let past = replay::past(&self.files.runtime_dir(id));
        let tail = past
            .get(past.len().saturating_sub(LOG_BYTES_MAX / 2)..)
            .unwrap_or_default();
        process::harmless(tail)
    }

    /// Makes the monitor's process and its guest's network.
    async fn spawn(&self, order: &LaunchOrder) -> Result<(Process, Network), EngineError> {
        let programs = self.readiness()?;
        let kernel = order.boot.kernel.as_ref().ok_or(Lack::Kernel)?;
        let folder = self.files.runtime_dir(order.id);
        private_dir(&folder)?;
        for file in [RESUMED_FILE, ENDING_FILE] {
            remove_if_there(&folder.join(file))?;
        }
        let config = folder.join(CONFIG_FILE);
        write_private(&config, document::document(order, kernel).to_string().as_bytes())?;
        network::announce(&folder, &order.ports)?;
        let listener = network::listen(&folder)?;
        let program = Program {
            engine: EngineKind::Microvm,
            path: &programs.monitor,
            arguments: &arguments(config, guest_user()),
            folder: &folder,
            stderr: &folder.join(STDERR_FILE),
            group: &order.group,
        };
        let mut process = process::spawn(&program, &self.files.lock(order.id))?;
        let connected = tokio::select! {
            connected = timeout(START_DEADLINE, network::accept(listener)) => connected,
            () = process.ended() => return Err(self.died(order.id, &mut process)),
        };
        let joined = match connected {
            Ok(Ok(stream)) => {
                network::join(&programs.passt, &folder, stream, &order.ports, &order.group).await
            }
            Ok(Err(err)) => Err(control::control("connect its guest's network", err)),
            Err(_) => Err(late("connect its guest's network")),
        };
        match joined {
            Ok(passt) => {
                tracing::info!(instance = %order.id, pid = process.pid(), passt = passt.pid(), "the monitor started");
                Ok((process, Network::new(&folder, passt, &order.ports)))
            }
            Err(error) => {
                give_up(order.id, &process).await;
                Err(error)
            }
        }
    }

    /// Waits until the new process answers, or tells why it ended.
    async fn greet(&self, id: Uuid, process: &mut Process) -> Result<(), EngineError> {
        let socket = self.runtime(id, API_SOCKET);
        let started = Instant::now();
        loop {
            match control::machine(&socket).await {
                Ok(_) => return Ok(()),
                Err(_) if process.has_ended() => return Err(self.died(id, process)),
                Err(EngineError::Control { .. }) if started.elapsed() < START_DEADLINE => {}
                Err(error) => return Err(error),
            }
            sleep(START_POLL).await;
        }
    }

    fn died(&self, id: Uuid, process: &mut Process) -> EngineError {
        EngineError::Died {
            engine: EngineKind::Microvm,
            ending: process.ending(),
            log: process::tail(&self.runtime(id, STDERR_FILE)),
        }
    }

    /// The process that answers on the control socket and says that it is the instance's.
    async fn who_answers(&self, id: Uuid) -> Result<Process, EngineError> {
        let socket = self.runtime(id, API_SOCKET);
        let hidden = || EngineError::Hidden {
            path: self.files.lock(id),
        };
        let (_, pid) = control::machine(&socket).await?;
        // The descriptor first, the question second: the process that answers is then the one that is held.
        let process = Process::open(pid).map_err(|_| hidden())?;
        let (machine, answering) = control::machine(&socket).await?;
        if machine.id != id.to_string() {
            return Err(EngineError::Foreign {
                path: socket,
                expected: id,
                found: machine.id,
            });
        }
        if answering == pid {
            Ok(process)
        } else {
            Err(hidden())
        }
    }

    /// The process that the lock names, where it is the instance's monitor.
    fn who_was_started(&self, id: Uuid) -> Result<Process, EngineError> {
        let lock = self.files.lock(id);
        let config = self.runtime(id, CONFIG_FILE).to_string_lossy().into_owned();
        let is_it = |pid: &u32| process::has_argument(*pid, &config);
        let found = process::named_pid(&lock).filter(is_it);
        let opened = found.and_then(|pid| Some((pid, Process::open(pid).ok()?)));
        match opened {
            Some((pid, process)) if is_it(&pid) => Ok(process),
            Some(_) | None => Err(EngineError::Hidden { path: lock }),
        }
    }
}

/// Half a start is none: what does not answer is not left running. Returns when it is gone, as far as that can be waited for: until then it
/// has the guest's lock, and another try would find that.
async fn give_up(id: Uuid, process: &Process) {
    if let Err(error) = process.kill() {
        tracing::warn!(instance = %id, %error, "cannot kill a monitor that did not start");
    }
    if timeout(GIVE_UP_DEADLINE, process.ended()).await.is_err() {
        tracing::warn!(instance = %id, pid = process.pid(), "a monitor that did not start does not end");
    }
}

/// The end of a text, at most `bytes_max` of it.
fn end_of_text(text: &str, bytes_max: usize) -> &str {
    let fits = |start: &usize| text.len() - start <= bytes_max;
    let start = text.char_indices().map(|(start, _)| start).find(fits);
    start.and_then(|start| text.get(start..)).unwrap_or_default()
}

/// The monitor opens what it needs as the agent's user, and then becomes `user`, where there is one.
fn arguments(config: PathBuf, user: Option<GuestUser>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["run".into(), "--config".into(), config.into()];
    if let Some(GuestUser { uid, gid, .. }) = user {
        let account = [
            "--uid".to_owned(),
            uid.to_string(),
            "--gid".to_owned(),
            gid.to_string(),
        ];
        arguments.extend(account.map(OsString::from));
    }
    arguments
}

fn late(operation: &'static str) -> EngineError {
    EngineError::TimedOut {
        engine: EngineKind::Microvm,
        operation,
        deadline_ms: u32::try_from(START_DEADLINE.as_millis()).unwrap_or(u32::MAX),
    }
}

/// Writes a file for the agent's user alone.
fn write_private(path: &std::path::Path, bytes: &[u8]) -> Result<(), FileError> {
    std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(failed("write", path))
}

#[async_trait]
impl Engine for Microvm {
    fn choice(&self) -> EngineChoice {
        EngineChoice {
            kind: EngineKind::Microvm,
            accelerated: self.hardware.available,
            reason: self.hardware.reason.clone(),
        }
    }

    async fn find(&self, id: Uuid) -> Result<Option<Box<dyn Guest>>, EngineError> {
        if !process::is_locked(&self.files.lock(id))? {
            return Ok(None);
        }
        let process = match self.who_answers(id).await {
            Ok(process) => process,
            Err(error @ (EngineError::Foreign { .. } | EngineError::Hidden { .. })) => return Err(error),
            Err(error) => {
                tracing::warn!(instance = %id, error = &error as &dyn std::error::Error, "a guest is alive and does not answer");
                self.who_was_started(id)?
            }
        };
        tracing::info!(instance = %id, pid = process.pid(), "found a live guest");
        Ok(Some(Box::new(MicrovmGuest::new(
            &self.files,
            id,
            process,
            Network::adopt(&self.files.runtime_dir(id)),
        ))))
    }

    fn was_spawned(&self, id: Uuid) -> bool {
        process::named_pid(&self.files.lock(id)).is_some()
    }

    fn prepare(&self, id: Uuid) -> Result<(), EngineError> {
        process::forget_pid(&self.files.lock(id))
    }

    async fn launch(&self, order: &LaunchOrder) -> Result<Box<dyn Guest>, EngineError> {
        let (mut process, network) = self.spawn(order).await?;
        match self.greet(order.id, &mut process).await {
            Ok(()) => Ok(Box::new(MicrovmGuest::new(
                &self.files,
                order.id,
                process,
                Some(network),
            ))),
            Err(error) => {
                give_up(order.id, &process).await;
                Err(error)
            }
        }
    }

    /// What the monitor wrote, and the last lines of the guest's console.
    fn last_words(&self, id: Uuid) -> String {
        let monitor = process::tail(&self.runtime(id, STDERR_FILE));
        let half = |text| end_of_text(text, LOG_BYTES_MAX / 2 - 1);
        format!("{}\n{}", half(&self.console(id)), half(&monitor))
            .trim()
            .to_owned()
    }

    fn end_of(&self, id: Uuid) -> GuestEnd {
        let ending = ending::read(&self.runtime(id, ENDING_FILE));
        ending::meaning(ending.as_ref())
    }
}

#[cfg(test)]
mod tests;
