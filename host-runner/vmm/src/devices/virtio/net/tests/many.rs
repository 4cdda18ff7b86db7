//! A guest with a driver of several queue pairs, and what is at the other side of them.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::net::UnixDatagram;

use virtio_bindings::virtio_net::{VIRTIO_NET_F_CTRL_VQ, VIRTIO_NET_F_MQ};

use crate::config::RateLimits;
use crate::devices::virtio::VirtioDevice as _;
use crate::devices::virtio::net::{HEADER, Network, double};
use crate::devices::virtio::testing::{Driver, Piece};

/// How many pairs there are.
pub const PAIRS: usize = 4;
/// The number of the control queue.
pub const CONTROL: usize = 2 * PAIRS;
/// What a driver of several pairs accepts.
pub const FEATURES: u64 = 1 << VIRTIO_NET_F_CTRL_VQ | 1 << VIRTIO_NET_F_MQ;
/// `VIRTIO_NET_OK` and `VIRTIO_NET_ERR`.
pub const OK: u8 = 0;
pub const ERR: u8 = 1;
/// What the answer's byte holds before there is an answer.
pub const UNANSWERED: u8 = 0x55;

thread_local! {
    /// What was asked of the host: whether to attach a queue, one by one.
    static SWITCHED: RefCell<Vec<bool>> = const { RefCell::new(Vec::new()) };
}

/// The host does as it is asked.
#[expect(
    clippy::unnecessary_wraps,
    reason = "as what stands in its place: a host can refuse"
)]
pub fn switch(_queue: &File, attached: bool) -> io::Result<()> {
    SWITCHED.with_borrow_mut(|switched| switched.push(attached));
    Ok(())
}

/// What was asked of the host since the last call.
pub fn switched() -> Vec<bool> {
    SWITCHED.take()
}

/// A guest, its interface, and the other sides of the queues of its tap.
pub struct Many {
    pub driver: Driver,
    pub network: Network,
    pub peers: Vec<UnixDatagram>,
}

impl Many {
    /// With an inactive device, and 4 buffers in each receive queue.
    pub fn new() -> Self {
        Self::with(RateLimits::default(), switch)
    }

    pub fn with(limit: RateLimits, switch: fn(&File, bool) -> io::Result<()>) -> Self {
        let (network, peers) = double::interface(PAIRS, limit, switch).unwrap();
        switched();
        let mut driver = Driver::new(&[16; CONTROL + 1]);
        for pair in 0..PAIRS {
            for _ in 0..4 {
                let address = driver.room(2048);
                driver.offer(2 * pair, &[Piece::write(address, 2048)]);
            }
        }
        Self {
            driver,
            network,
            peers,
        }
    }

    /// With a driver that has accepted all that several pairs need.
    pub fn started() -> Self {
        let mut many = Self::new();
        many.start();
        many
    }

    pub fn start(&mut self) {
        self.network.activate(self.driver.activation(FEATURES)).unwrap();
    }

    /// Puts a command into the control queue, in three buffers as Linux does: where its answer will be.
    pub fn put(&mut self, class: u8, command: u8, data: &[u8]) -> u64 {
        let head = self.driver.place(&[class, command]);
        let body = self.driver.place(data);
        let answer = self.driver.place(&[UNANSWERED]);
        let length = u32::try_from(data.len()).unwrap();
        let chain = [
            Piece::read(head, 2),
            Piece::read(body, length),
            Piece::write(answer, 1),
        ];
        self.driver.offer(CONTROL, &chain);
        answer
    }

    /// Gives a command: how it is answered.
    pub fn command(&mut self, class: u8, command: u8, data: &[u8]) -> u8 {
        let answer = self.put(class, command, data);
        self.network.queue_ready(CONTROL);
        self.driver.used(CONTROL);
        self.driver.bytes(answer, 1)[0]
    }

    /// `VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET`.
    pub fn set_pairs(&mut self, pairs: u16) -> u8 {
        self.command(4, 0, &pairs.to_le_bytes())
    }

    pub fn in_use(&self) -> usize {
        self.network.stats().queue_pairs.in_use
    }

    /// Sends a frame of these bytes by a pair.
    pub fn send(&mut self, pair: usize, frame: &[u8]) {
        let address = self.driver.place(&[&[0; HEADER], frame].concat());
        let length = u32::try_from(HEADER + frame.len()).unwrap();
        self.driver.offer(2 * pair + 1, &[Piece::read(address, length)]);
        self.network.queue_ready(2 * pair + 1);
    }

    /// What has come out of a queue of the tap.
    pub fn sent(&self, pair: usize) -> Option<Vec<u8>> {
        let mut buffer = [0; 4096];
        let length = self.peers[pair].recv(&mut buffer).ok()?;
        Some(buffer[HEADER..length].to_vec())
    }

    /// A frame comes to a queue of the tap, and the device is woken. How many frames the guest has got by that pair.
    pub fn receive(&mut self, pair: usize) -> usize {
        self.peers[pair].send(&[7; HEADER + 60]).unwrap();
        self.network.source_ready(super::super::device::WAKES);
        self.driver.used(2 * pair).len()
    }
}
