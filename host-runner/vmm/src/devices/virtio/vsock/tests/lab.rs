//! A guest with a driver of its sockets, on a host with processes.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use crate::config::VsockConfig;
use crate::devices::virtio::VirtioDevice as _;
use crate::devices::virtio::testing::{Driver, Piece};
use crate::devices::virtio::vsock::credit::ROOM_BYTES;
use crate::devices::virtio::vsock::fuzz::TRANSMIT;
use crate::devices::virtio::vsock::packet::{HEADER_BYTES, HOST, Header, Operation, STREAM};
use crate::devices::virtio::vsock::{QUEUE_SIZE, QUEUES, Vsock};

pub const GUEST: u32 = 5;
pub const RECEIVE: usize = 0;
pub const EVENTS: usize = 2;
/// A port that a process of the guest listens on.
pub const GUEST_PORT: u32 = 52;
/// A port of a process of the guest that connects.
pub const CLIENT_PORT: u32 = 40_000;
/// A port that a process of the host listens on.
pub const HOST_PORT: u32 = 1024;
pub const BUFFER_BYTES: u32 = 4096;
/// The room that the guest says it has.
pub const GUEST_ROOM: u32 = 256 << 10;

/// A guest with its driver, and the host around it.
pub struct Lab {
    pub folder: tempfile::TempDir,
    pub vsock: Vsock,
    pub driver: Driver,
    pub buffers: BTreeMap<u16, u64>,
    /// What the guest's process has read: goes into each header.
    pub read: u32,
    pub room: u32,
}

impl Lab {
    pub fn inactive() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = VsockConfig {
            cid: GUEST,
            path: folder.path().join("vsock"),
        };
        Self {
            vsock: Vsock::new(&config).unwrap(),
            folder,
            driver: Driver::new(&[QUEUE_SIZE; QUEUES]),
            buffers: BTreeMap::new(),
            read: 0,
            room: GUEST_ROOM,
        }
    }

    pub fn new() -> Self {
        let mut lab = Self::inactive();
        lab.vsock.activate(lab.driver.activation(0)).unwrap();
        for _ in 0..16 {
            lab.offer_buffer();
        }
        lab
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("vsock")
    }

    pub fn offer_buffer(&mut self) {
        let address = self.driver.room(BUFFER_BYTES);
        self.offer_buffer_at(address);
    }

    pub fn offer_buffer_at(&mut self, address: u64) {
        let head = self.driver.offer(RECEIVE, &[Piece::write(address, BUFFER_BYTES)]);
        self.buffers.insert(head, address);
    }

    pub fn header(&self, guest_port: u32, host_port: u32, operation: Operation) -> Header {
        Header {
            source: GUEST.into(),
            destination: HOST,
            source_port: guest_port,
            destination_port: host_port,
            length: 0,
            kind: STREAM,
            operation: Some(operation),
            flags: 0,
            room: self.room,
            read: self.read,
        }
    }

    pub fn send(&mut self, header: Header, data: &[u8]) {
        let mark = self.driver.mark();
        let at = self.driver.place(&header.bytes());
        let data_at = self.driver.place(data);
        let pieces = [
            Piece::read(at, u32::try_from(HEADER_BYTES).unwrap()),
            Piece::read(data_at, u32::try_from(data.len()).unwrap()),
        ];
        self.driver.offer(TRANSMIT, &pieces);
        self.vsock.queue_ready(TRANSMIT);
        assert_eq!(self.driver.used(TRANSMIT).len(), 1);
        self.driver.forget(mark);
    }

    pub fn send_data(&mut self, guest_port: u32, host_port: u32, data: &[u8]) {
        let header = Header {
            length: u32::try_from(data.len()).unwrap(),
            ..self.header(guest_port, host_port, Operation::Data)
        };
        self.send(header, data);
    }

    /// The packets that the guest got, whose buffers it offers again.
    pub fn packets(&mut self) -> Vec<(Header, Vec<u8>)> {
        self.vsock.source_ready(0);
        let mut packets = Vec::new();
        loop {
            let used = self.driver.used(RECEIVE);
            if used.is_empty() {
                return packets;
            }
            for (head, length) in used {
                let address = self.buffers.remove(&head).unwrap();
                let bytes = self.driver.bytes(address, usize::try_from(length).unwrap());
                let (header, data) = bytes.split_first_chunk::<HEADER_BYTES>().unwrap();
                packets.push((Header::parse(header), data.to_vec()));
                self.offer_buffer_at(address);
            }
            self.vsock.queue_ready(RECEIVE);
        }
    }

    /// The one packet that the guest got.
    pub fn packet(&mut self) -> Header {
        let packets = self.packets();
        assert_eq!(packets.len(), 1, "{packets:?}");
        packets[0].0
    }

    pub fn operations(&mut self) -> Vec<Operation> {
        self.packets()
            .iter()
            .filter_map(|(header, _)| header.operation)
            .collect()
    }

    /// A process of the host, connected to the guest's port: its socket, and its port.
    pub fn host_connects(&mut self) -> (UnixStream, u32) {
        let mut client = UnixStream::connect(self.path()).unwrap();
        client
            .write_all(format!("CONNECT {GUEST_PORT}\n").as_bytes())
            .unwrap();
        let request = self.packet();
        assert_eq!(request.operation, Some(Operation::Request));
        assert_eq!((request.source, request.destination_port), (HOST, GUEST_PORT));
        let port = request.source_port;
        self.send(self.header(GUEST_PORT, port, Operation::Response), &[]);
        let mut answer = vec![0; format!("OK {port}\n").len()];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(answer, format!("OK {port}\n").as_bytes());
        (client, port)
    }

    /// A process of the guest, connected to a port of the host: the host's socket.
    pub fn guest_connects(&mut self) -> UnixStream {
        let listener = UnixListener::bind(format!("{}_{HOST_PORT}", self.path().display())).unwrap();
        self.send(self.header(CLIENT_PORT, HOST_PORT, Operation::Request), &[]);
        let response = self.packet();
        assert_eq!(response.operation, Some(Operation::Response));
        assert_eq!(response.room, ROOM_BYTES);
        listener.accept().unwrap().0
    }
}
