//! A guest with a network driver.

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use crate::config::{NetworkBackend, NetworkConfig, RateLimits};
use crate::devices::virtio::VirtioDevice as _;
use crate::devices::virtio::net::fuzz::{RECEIVE, TRANSMIT};
use crate::devices::virtio::net::{HEADER, Network};
use crate::devices::virtio::testing::{Driver, Piece};

/// The guest's hardware address.
pub const GUEST: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

/// A configuration with this backend.
pub fn config(backend: NetworkBackend) -> NetworkConfig {
    NetworkConfig {
        id: "net0".to_owned(),
        mac: "52:54:00:12:34:56".to_owned(),
        backend,
        limit: RateLimits::default(),
    }
}

/// Waits for one of the device's events as the device thread does, and lets the device see it.
pub fn wake(network: &mut Network) {
    let epoll = Epoll::new().unwrap();
    for source in network.sources() {
        let event = EpollEvent::new(EventSet::IN, source.token.into());
        epoll
            .ctl(ControlOperation::Add, source.descriptor, event)
            .unwrap();
    }
    let mut events = [EpollEvent::default()];
    assert_eq!(
        epoll.wait(10_000, &mut events).unwrap(),
        1,
        "nothing has woken it"
    );
    network.source_ready(u32::try_from(events[0].data()).unwrap());
}

/// A guest: its driver, and the buffers that it has given for frames.
pub struct Guest {
    pub driver: Driver,
    /// Where each buffer lies, by the head of its chain.
    buffers: Vec<(u16, u64)>,
}

/// A frame that the guest received.
#[derive(Debug, PartialEq, Eq)]
pub struct Received {
    pub header: [u8; HEADER],
    /// The bytes behind the header.
    pub frame: Vec<u8>,
    /// How many buffers it filled.
    pub buffers: u16,
}

impl Guest {
    /// A guest with two queues of this size.
    pub fn new(size: u16) -> Self {
        Self {
            driver: Driver::new(&[size, size]),
            buffers: Vec::new(),
        }
    }

    /// Starts the driver with the features of the device that it knows.
    pub fn start(&mut self, network: &mut Network, features: u64) {
        network.activate(self.driver.activation(features)).unwrap();
    }

    /// Gives `count` buffers of `length` bytes for frames.
    pub fn give(&mut self, count: usize, length: u32) {
        for _ in 0..count {
            let address = self.driver.room(length);
            let head = self.driver.offer(RECEIVE, &[Piece::write(address, length)]);
            self.buffers.push((head, address));
        }
    }

    /// Sends a frame, with a header that asks for nothing.
    pub fn send(&mut self, network: &mut Network, frame: &[u8]) -> u16 {
        let address = self.driver.place(&[&[0; HEADER], frame].concat());
        let length = u32::try_from(HEADER + frame.len()).unwrap();
        let head = self.driver.offer(TRANSMIT, &[Piece::read(address, length)]);
        network.queue_ready(TRANSMIT);
        head
    }

    /// The frames that have come, each put together from its buffers.
    pub fn received(&mut self) -> Vec<Received> {
        let mut frames = Vec::new();
        let mut used = self.driver.used(RECEIVE).into_iter();
        while let Some(first) = used.next() {
            let mut bytes = self.take(first);
            let buffers = u16::from_le_bytes([bytes[10], bytes[11]]);
            for _ in 1..buffers {
                // All buffers of a frame come at once.
                bytes.extend(self.take(used.next().unwrap()));
            }
            let frame = bytes.split_off(HEADER);
            frames.push(Received {
                header: bytes.try_into().unwrap(),
                frame,
                buffers,
            });
        }
        frames
    }

    fn take(&mut self, (head, length): (u16, u32)) -> Vec<u8> {
        let at = self
            .buffers
            .iter()
            .position(|(buffer, _)| *buffer == head)
            .unwrap();
        let (_, address) = self.buffers.remove(at);
        self.driver.bytes(address, length as usize)
    }
}
