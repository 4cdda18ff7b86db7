//! One machine, from its configuration to its end.

use std::fs::File;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

use crate::api::{Api, Identity};
use crate::config::{ConfigError, MachineConfig};
use crate::devices::event_loop::{self, Subscriber};
use crate::devices::hub::{ListenError, listen};
use crate::driver::{Driver, EVENTS_MAX, Ending, Event, RunState};
use crate::ending::EndNote;
use crate::happenings::Listeners;
use crate::log::say;
use crate::machine::{self, BuildError, Devices, Machine, OpenDeviceError};
use crate::sandbox::{self, Confinement, ThreadKind};

/// The stacks of the device thread and of the one that accepts connections, in bytes.
const STACK: usize = 256 << 10;

/// Why a machine did not come to run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Its configuration.
    #[error("the configuration is wrong: {0}")]
    Config(#[from] ConfigError),
    /// A device.
    #[error(transparent)]
    Device(#[from] OpenDeviceError),
    /// A part.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The control socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The file that its end is written to.
    #[error("cannot write {}", path.display())]
    EndingFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        err: io::Error,
    },
    /// A thread's filter of system calls.
    #[error("cannot confine the {kind} thread")]
    Confine {
        /// Which.
        kind: ThreadKind,
        /// What the system said.
        #[source]
        err: io::Error,
    },
    /// A thread.
    #[error("cannot start the {kind} thread")]
    Thread {
        /// Which.
        kind: ThreadKind,
        /// What the system said.
        #[source]
        err: io::Error,
    },
}

/// Runs a machine to its end. There is no other thread in the process yet.
pub fn run(config: &MachineConfig, confinement: &Confinement) -> Result<Ending, RunError> {
    config.check()?;
    let (sender, events) = sync_channel(EVENTS_MAX);
    let ending_file = match &config.ending_file {
        Some(path) => Some(File::create(path).map_err(|err| RunError::EndingFile {
            path: path.clone(),
            err,
        })?),
        None => None,
    };
    let api_socket = match &config.api_socket {
        Some(path) => Some(listen_blocking(path)?),
        None => None,
    };
    let devices = Devices::open(config, sandbox::enter_disk_worker)?;
    devices.hold_when_full(&sender);
    let machine = machine::build(config, devices, &sender, confinement)?;
    let failed = sender.clone();
    spawn(ThreadKind::Devices, {
        let subscribers = subscribers(&machine);
        move || {
            let error = event_loop::run(subscribers);
            let _driver_gone = failed.send(Event::DevicesFailed(format!(
                "the device thread stopped: {error}"
            )));
        }
    })?;
    let listeners = Arc::<Listeners>::default();
    let end = Arc::new(EndNote::new(ending_file, Arc::clone(&listeners)));
    if let Some(listener) = api_socket {
        let api = Api {
            identity: Identity {
                id: config.id.clone(),
                vcpus: config.cpus.count,
                memory_mib: config.memory.size_mib,
                version: env!("CARGO_PKG_VERSION"),
            },
            events: sender,
            listeners: Arc::clone(&listeners),
            end: Arc::clone(&end),
            leave,
        };
        spawn(ThreadKind::Api, move || {
            let error = api.serve(&listener);
            crate::devices::once("api", &format_args!("the control socket failed: {error}"));
        })?;
    }
    let state = if config.paused {
        RunState::Paused
    } else {
        RunState::Running
    };
    let mut driver = Driver {
        state,
        full_disk: None,
        snapshot_directory: config.snapshot_directory.clone(),
        last_snapshot: machine.went_on_from,
        listeners,
    };
    let kind = ThreadKind::Driver;
    sandbox::enter(kind).map_err(|err| RunError::Confine { kind, err })?;
    let ending = driver.drive(&machine, &events);
    match end.write(&ending) {
        Ok(()) => Ok(ending),
        // Whoever was told to end the machine ends the process, too: two that do so at once are one too many.
        Err(_killed) => loop {
            thread::park();
        },
    }
}

/// Ends the process from another thread than the one that drives the machine, whatever that is at.
fn leave(ending: &Ending) {
    say(&format_args!("microvm: {ending}"));
    process::exit(ending.exit_code().into());
}

/// A socket whose connections are waited for, by a thread of its own.
fn listen_blocking(path: &Path) -> Result<UnixListener, RunError> {
    let listener = listen(path)?;
    let thread = |err| RunError::Thread {
        kind: ThreadKind::Api,
        err,
    };
    listener.set_nonblocking(false).map_err(thread)?;
    Ok(listener)
}

fn subscribers(machine: &Machine) -> Vec<Subscriber> {
    let mut subscribers: Vec<Subscriber> = vec![Box::new(Arc::clone(&machine.devices.serial))];
    for transport in &machine.transports {
        subscribers.push(Box::new(transport.watched()));
    }
    subscribers
}

/// Starts a thread, and returns when it is confined.
fn spawn(kind: ThreadKind, body: impl FnOnce() + Send + 'static) -> Result<(), RunError> {
    let (sender, confined) = sync_channel(1);
    thread::Builder::new()
        .name(kind.to_string())
        .stack_size(STACK)
        .spawn(move || {
            let entered = sandbox::enter(kind);
            let may_work = entered.is_ok();
            // It is waited for below.
            let _nobody_waits = sender.send(entered);
            if may_work {
                body();
            }
        })
        .map_err(|err| RunError::Thread { kind, err })?;
    confined
        .recv()
        .unwrap_or_else(|gone| Err(io::Error::other(gone)))
        .map_err(|err| RunError::Confine { kind, err })
}
