//! The devices that a configuration asks for: what they are made of is opened here, once, before the process confines itself.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex};

use serde::Serialize;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::config::MachineConfig;
use crate::devices::event_loop::{Shared, lock};
use crate::devices::hub::{Hub, HubError, HubStats, ListenError};
use crate::devices::serial::Serial;
use crate::devices::virtio::balloon::{Balloon, BalloonStats, TargetError};
use crate::devices::virtio::block::{Block, BlockStats, OpenDiskError, ThreadStart};
use crate::devices::virtio::console::Console;
use crate::devices::virtio::entropy::Entropy;
use crate::devices::virtio::net::{Network, NetworkStats, OpenNetworkError};
use crate::devices::virtio::vsock::{Vsock, VsockStats};
use crate::driver::Event;

/// A disk gets a queue for each vCPU, up to this many.
const DISK_QUEUES_MAX: u8 = 4;

/// Why a device cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenDeviceError {
    /// A disk.
    #[error(transparent)]
    Disk(#[from] OpenDiskError),
    /// A network interface.
    #[error(transparent)]
    Network(#[from] OpenNetworkError),
    /// The host's side of the socket between guest and host.
    #[error(transparent)]
    Vsock(#[from] ListenError),
    /// The balloon's size.
    #[error(transparent)]
    Balloon(#[from] TargetError),
    /// A console's socket.
    #[error(transparent)]
    Console(#[from] HubError),
    /// A descriptor that a device needs.
    #[error("cannot make {what}")]
    System {
        /// What.
        what: &'static str,
        /// What the system said.
        #[source]
        err: io::Error,
    },
}

/// A machine's devices, each by what it is.
pub struct Devices {
    /// The serial port.
    pub serial: Arc<Serial>,
    /// What it raises its interrupt with.
    pub serial_line: EventFd,
    /// The disks, in the order of the configuration.
    pub disks: Vec<(String, Arc<Mutex<Block>>)>,
    /// The network interfaces, in the order of the configuration.
    pub networks: Vec<(String, Arc<Mutex<Network>>)>,
    /// The socket between guest and host.
    pub vsock: Option<Arc<Mutex<Vsock>>>,
    /// The balloon.
    pub balloon: Option<Arc<Mutex<Balloon>>>,
    /// The console.
    pub console: Option<Arc<Mutex<Console>>>,
    /// The source of randomness.
    pub entropy: Option<Arc<Mutex<Entropy>>>,
}

impl Devices {
    /// Opens what the configuration names. `start` runs first in each thread that a device starts later.
    pub fn open(config: &MachineConfig, start: ThreadStart) -> Result<Self, OpenDeviceError> {
        let system = |what| move |err| OpenDeviceError::System { what, err };
        let hub = |path: &Option<PathBuf>| match path {
            Some(path) => Hub::listening(path),
            None => Hub::standard_output(),
        };
        let serial_line = EventFd::new(EFD_NONBLOCK).map_err(system("the serial port's interrupt"))?;
        let line = serial_line
            .try_clone()
            .map_err(system("the serial port's interrupt"))?;
        let serial = Arc::new(Serial::new(line, Arc::new(hub(&config.serial_socket)?)));
        let queues = config.cpus.count.min(DISK_QUEUES_MAX);
        let mut disks = Vec::new();
        for disk in &config.disks {
            let block = Block::open(disk, queues.into(), start)?;
            disks.push((disk.id.clone(), Arc::new(Mutex::new(block))));
        }
        let mut networks = Vec::new();
        for network in &config.networks {
            let opened = Network::open(network, config.cpus.count)?;
            networks.push((network.id.clone(), Arc::new(Mutex::new(opened))));
        }
        let vsock = match &config.vsock {
            Some(vsock) => Some(Arc::new(Mutex::new(Vsock::new(vsock)?))),
            None => None,
        };
        let balloon = match &config.balloon {
            Some(balloon) => Some(Arc::new(Mutex::new(Balloon::new(
                balloon,
                config.memory.size_mib,
            )?))),
            None => None,
        };
        let console = match &config.console_socket {
            Some(path) => Some(Arc::new(Mutex::new(Console::new(Arc::new(Hub::listening(
                path,
            )?))))),
            None => None,
        };
        let entropy = if config.entropy {
            let entropy = Entropy::new().map_err(system("the source of randomness"))?;
            Some(Arc::new(Mutex::new(entropy)))
        } else {
            None
        };
        Ok(Self {
            serial,
            serial_line,
            disks,
            networks,
            vsock,
            balloon,
            console,
            entropy,
        })
    }

    /// Has the driver hold the machine where a disk finds no room on the host.
    pub fn hold_when_full(&self, events: &SyncSender<Event>) {
        for (id, disk) in &self.disks {
            let (id, events) = (id.clone(), events.clone());
            // It is the device thread that calls this, which the driver may be waiting for: it must not wait in turn.
            lock(disk).when_full(move || events.try_send(Event::DiskFull { id: id.clone() }).is_ok());
        }
    }

    /// The virtio devices, in the order in which the guest finds them. A snapshot depends on it.
    pub fn virtio(&self) -> Vec<Shared> {
        let mut devices: Vec<Shared> = Vec::new();
        for (_, disk) in &self.disks {
            devices.push(Arc::clone(disk) as Shared);
        }
        for (_, network) in &self.networks {
            devices.push(Arc::clone(network) as Shared);
        }
        if let Some(vsock) = &self.vsock {
            devices.push(Arc::clone(vsock) as Shared);
        }
        if let Some(balloon) = &self.balloon {
            devices.push(Arc::clone(balloon) as Shared);
        }
        if let Some(console) = &self.console {
            devices.push(Arc::clone(console) as Shared);
        }
        if let Some(entropy) = &self.entropy {
            devices.push(Arc::clone(entropy) as Shared);
        }
        devices
    }
}

/// What the devices have done, and how they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceStats {
    /// By the disk's name.
    pub disks: BTreeMap<String, BlockStats>,
    /// By the interface's name.
    pub networks: BTreeMap<String, NetworkStats>,
    /// The balloon, where there is one. What the guest says of its memory is what it said last; asking makes it say more.
    pub balloon: Option<BalloonStats>,
    /// The socket between guest and host, where there is one.
    pub vsock: Option<VsockStats>,
    /// The serial port.
    pub serial: HubStats,
}

impl Devices {
    /// What they have done.
    pub fn stats(&self) -> DeviceStats {
        let balloon = self.balloon.as_ref().map(|balloon| {
            let mut balloon = lock(balloon);
            balloon.request_stats();
            balloon.stats()
        });
        DeviceStats {
            disks: self
                .disks
                .iter()
                .map(|(id, disk)| (id.clone(), lock(disk).stats()))
                .collect(),
            networks: self
                .networks
                .iter()
                .map(|(id, network)| (id.clone(), lock(network).stats()))
                .collect(),
            balloon,
            vsock: self.vsock.as_ref().map(|vsock| lock(vsock).stats()),
            serial: self.serial.hub().stats(),
        }
    }
}
