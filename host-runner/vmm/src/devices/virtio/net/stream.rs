//! A Unix stream socket that carries frames, each behind its length (four bytes, big-endian), as passt and QEMU's `-netdev stream` do.
//!
//! The virtio header stays here: the other side would not know what to do with it, so no offload is offered.
//!
//! Threat: the other side is a process of the same user, and may still be broken or taken over: its lengths are bounded, what it sends is
//! held in one buffer of a fixed size, and what it does not read waits in the guest's ring. A length out of range ends the connection: where
//! the next frame begins cannot be known after that. So do many frames in a row that are too short for any use: passing over them takes nothing
//! of the guest's, and would keep the devices' thread for as long as they come.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use vmm_sys_util::timerfd::TimerFd;

use super::error::OpenNetworkError;
use super::link::LinkError;
use super::pieces::Pieces;
use super::{FRAME_MIN, HEADER};
use crate::log::say;

/// The longest frame on the wire, in bytes.
pub const WIRE_MAX: usize = 65535;
/// The length before each frame.
const PREFIX: usize = 4;
/// How many frames too short for Ethernet are passed over in a row.
const SHORT_MAX: u32 = 64;
/// How long until the first attempt to connect again; each one after it waits twice as long.
const RETRY_MIN: Duration = Duration::from_millis(50);
/// The longest wait between two attempts.
const RETRY_MAX: Duration = Duration::from_secs(2);

/// A connection that comes back.
pub struct Stream {
    path: PathBuf,
    address: SocketAddrUnix,
    socket: Option<OwnedFd>,
    /// What was read and not handed over: `input[start..end]`. As long as the longest frame, allocated with the first byte.
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// The rest of a frame of which the socket took a part: `output[sent..]`. At most one frame.
    output: Vec<u8>,
    sent: usize,
    retry: TimerFd,
    wait: Duration,
    reconnects: u64,
    errors: u64,
    /// How many frames in a row were too short.
    short: u32,
}

impl Stream {
    /// Connects to who listens on `path`. Where somebody did and does not at present, as an agent that is being replaced, the link is down
    /// until somebody does.
    pub fn open(path: &Path) -> Result<Self, OpenNetworkError> {
        let address = SocketAddrUnix::new(path).map_err(|_| OpenNetworkError::SocketPath {
            path: path.to_owned(),
        })?;
        let failed = |err: io::Error| OpenNetworkError::Connect {
            path: path.to_owned(),
            err,
        };
        match connect(&address) {
            Ok(socket) => Self::new(path, address, socket).map_err(failed),
            Err(Errno::CONNREFUSED) => {
                say(&format_args!(
                    "nobody listens on {} at present; tried again",
                    path.display()
                ));
                let mut stream = Self::with(path, address, None).map_err(failed)?;
                stream.try_later();
                Ok(stream)
            }
            Err(err) => Err(failed(err.into())),
        }
    }

    /// A connection that exists. It comes back through `address`.
    pub fn new(path: &Path, address: SocketAddrUnix, socket: OwnedFd) -> io::Result<Self> {
        Self::with(path, address, Some(socket))
    }

    fn with(path: &Path, address: SocketAddrUnix, socket: Option<OwnedFd>) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            address,
            socket,
            input: Vec::new(),
            start: 0,
            end: 0,
            output: Vec::new(),
            sent: 0,
            retry: TimerFd::new()?,
            wait: RETRY_MIN,
            reconnects: 0,
            errors: 0,
            short: 0,
        })
    }

    /// The socket's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The socket, while there is one.
    pub fn socket(&self) -> Option<RawFd> {
        self.socket.as_ref().map(OwnedFd::as_raw_fd)
    }

    /// Becomes readable when it is time to [reconnect](Self::reconnect).
    pub fn timer(&self) -> RawFd {
        self.retry.as_raw_fd()
    }

    /// How often the other side has come back.
    pub fn reconnects(&self) -> u64 {
        self.reconnects
    }

    /// Frames that made no sense.
    pub fn errors(&self) -> u64 {
        self.errors
    }

    /// Whether a part of a frame waits to be sent.
    pub fn has_unsent(&self) -> bool {
        self.sent < self.output.len()
    }

    /// Tries to connect again. Returns the new socket, which is to be watched.
    pub fn reconnect(&mut self) -> Option<RawFd> {
        if self.socket.is_some() {
            return None;
        }
        let Ok(socket) = connect(&self.address) else {
            self.try_later();
            return None;
        };
        self.wait = RETRY_MIN;
        self.reconnects += 1;
        Some(self.socket.insert(socket).as_raw_fd())
    }

    /// The connection is over, and what was half sent or half received with it.
    pub fn disconnect(&mut self) {
        if self.socket.take().is_some() {
            self.try_later();
        }
        self.start = 0;
        self.end = 0;
        self.short = 0;
        self.output.clear();
        self.sent = 0;
    }

    fn try_later(&mut self) {
        // Fails only for a time that is none.
        let _armed = self.retry.reset(self.wait, None);
        self.wait = (2 * self.wait).min(RETRY_MAX);
    }

    /// Copies the next frame behind an empty header into the first `room` bytes of the pieces, and the rest into `spill`.
    pub fn receive(
        &mut self,
        pieces: &mut Pieces,
        room: usize,
        spill: &mut Vec<u8>,
    ) -> Result<usize, LinkError> {
        loop {
            if let Some(frame) = self.next_frame() {
                spill.clear();
                let (place, rest) = frame.split_at(frame.len().min(room.saturating_sub(HEADER)));
                let length = HEADER + frame.len();
                let copied = pieces
                    .copy_in(0, &[0; HEADER])
                    .and_then(|()| pieces.copy_in(HEADER, place));
                spill.extend_from_slice(rest);
                return copied.map(|()| length).map_err(|_| LinkError::Failed);
            }
            self.read()?;
        }
    }

    /// The next whole frame that was read. Nonsense ends the connection.
    fn next_frame(&mut self) -> Option<&[u8]> {
        loop {
            let held = self.input.get(self.start..self.end)?;
            let prefix: [u8; PREFIX] = held.get(..PREFIX)?.try_into().ok()?;
            let length = usize::try_from(u32::from_be_bytes(prefix)).unwrap_or(usize::MAX);
            if length > WIRE_MAX {
                self.errors += 1;
                self.disconnect();
                return None;
            }
            if held.len() < PREFIX + length {
                return None;
            }
            let begin = self.start + PREFIX;
            self.start = begin + length;
            if length >= FRAME_MIN {
                self.short = 0;
                return self.input.get(begin..begin + length);
            }
            // Too short for Ethernet, but the next one is where it should be.
            self.errors += 1;
            self.short += 1;
            if self.short > SHORT_MAX {
                self.disconnect();
                return None;
            }
        }
    }

    /// Reads what there is, as much as the buffer holds.
    fn read(&mut self) -> Result<(), LinkError> {
        let socket = self.socket.as_ref().ok_or(LinkError::Wait)?;
        if self.input.is_empty() {
            // Zeroed by the system, page by page as it is used.
            self.input = vec![0; PREFIX + WIRE_MAX];
        }
        self.input.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        // Never empty: a whole frame would have been taken.
        let place = self.input.get_mut(self.end..).unwrap_or_default();
        match rustix::io::read(socket, place) {
            Ok(0) => self.disconnect(),
            Ok(length) => {
                self.end += length;
                return Ok(());
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.disconnect(),
        }
        Err(LinkError::Wait)
    }

    /// Sends the frame in the pieces, without its header.
    pub fn send(&mut self, pieces: &mut Pieces) -> Result<(), LinkError> {
        self.flush()?;
        let Some(socket) = &self.socket else {
            return Err(LinkError::Failed);
        };
        let length = pieces.bytes().saturating_sub(HEADER);
        if length > WIRE_MAX {
            return Err(LinkError::Failed);
        }
        let prefix = u32::try_from(length)
            .map_err(|_| LinkError::Failed)?
            .to_be_bytes();
        // A process of ours ignores SIGPIPE, as every Rust program does: a closed socket is an error here.
        let written = match pieces.write_to(socket.as_fd(), &prefix, HEADER) {
            Ok(written) => written,
            Err(err) if is_wait(&err) => return Err(LinkError::Wait),
            Err(_) => {
                self.disconnect();
                return Err(LinkError::Failed);
            }
        };
        if written < PREFIX + length {
            // The rest must follow before anything else may, and its buffers go back to the guest now.
            let of_prefix = written.min(PREFIX);
            let of_frame = written - of_prefix;
            self.output
                .extend_from_slice(prefix.get(of_prefix..).unwrap_or_default());
            let rest = pieces.copy_out(HEADER + of_frame, length - of_frame, &mut self.output);
            if rest.is_err() {
                self.disconnect();
                return Err(LinkError::Failed);
            }
        }
        Ok(())
    }

    /// Sends what waits. An error says that some of it still does.
    pub fn flush(&mut self) -> Result<(), LinkError> {
        while self.has_unsent() {
            let Some(socket) = &self.socket else {
                self.disconnect();
                return Err(LinkError::Failed);
            };
            match rustix::io::write(socket, self.output.get(self.sent..).unwrap_or_default()) {
                Ok(length) => self.sent += length,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(LinkError::Wait),
                Err(_) => {
                    self.disconnect();
                    return Err(LinkError::Failed);
                }
            }
        }
        self.output.clear();
        self.sent = 0;
        Ok(())
    }
}

fn is_wait(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Never waits: a listener whose backlog is full is tried again later.
fn connect(address: &SocketAddrUnix) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, address)?;
    Ok(socket)
}
