//! The other side of a stream socket.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use tempfile::TempDir;

use super::guest::config;
use crate::config::{NetworkBackend, NetworkConfig};
use crate::devices::virtio::net::Network;

/// Who listens on a socket, as passt does.
pub struct Peer {
    directory: TempDir,
    listener: Option<UnixListener>,
}

impl Peer {
    /// Listens.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("socket")).unwrap();
        Self {
            directory,
            listener: Some(listener),
        }
    }

    /// Where.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// The configuration of an interface that connects here.
    pub fn config(&self) -> NetworkConfig {
        config(NetworkBackend::Stream { path: self.path() })
    }

    /// A device that is connected, and this side's end.
    pub fn connect(&self) -> (Network, UnixStream) {
        self.connect_with(&self.config())
    }

    /// As [`connect`](Self::connect), with another configuration.
    pub fn connect_with(&self, config: &NetworkConfig) -> (Network, UnixStream) {
        let network = Network::open(config, 1).unwrap();
        (network, self.accept())
    }

    /// Takes the connection that has come.
    pub fn accept(&self) -> UnixStream {
        self.listener.as_ref().unwrap().accept().unwrap().0
    }

    /// Nobody listens any more; the socket's file is left behind, as by a process that was killed.
    pub fn die(&mut self) {
        self.listener = None;
    }

    /// Nobody listens any more.
    pub fn stop(&mut self) {
        self.listener = None;
        std::fs::remove_file(self.path()).unwrap();
    }

    /// Somebody listens again.
    pub fn start(&mut self) {
        self.listener = Some(UnixListener::bind(self.path()).unwrap());
    }
}

/// Sends a frame, whatever its length.
pub fn put(socket: &mut UnixStream, frame: &[u8]) {
    let length = u32::try_from(frame.len()).unwrap();
    socket
        .write_all(&[&length.to_be_bytes(), frame].concat())
        .unwrap();
}

/// Takes a frame.
pub fn get(socket: &mut UnixStream) -> Vec<u8> {
    let mut prefix = [0; 4];
    socket.read_exact(&mut prefix).unwrap();
    let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
    socket.read_exact(&mut frame).unwrap();
    frame
}
