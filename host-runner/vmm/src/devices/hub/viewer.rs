//! Those who look at a console.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;

use rustix::net::SendFlags;

use super::ring::Ring;

/// Where a console's output goes.
#[derive(Debug)]
enum Way {
    /// Somebody who connected, and may type.
    Socket(UnixStream),
    /// Standard output, in a description of our own that never waits.
    File(File),
    /// Standard output that is a socket: nobody but us must find that it never waits, so each call says so.
    Shared(File),
}

/// One viewer.
#[derive(Debug)]
pub struct Viewer {
    way: Way,
    /// What it has seen of the ring.
    position: u64,
    /// It may have typed something that nobody had room for.
    pub unread: bool,
    /// It is gone: what it typed before that still counts.
    pub gone: bool,
}

impl Viewer {
    /// Somebody who connected.
    pub fn connected(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self::new(Way::Socket(socket)))
    }

    /// Standard output.
    ///
    /// It is opened once more, so that writes that do not wait are ours alone: the mode belongs to the description, which this process
    /// shares with whoever started it.
    pub fn standard_output() -> io::Result<Self> {
        let descriptor = rustix::io::fcntl_dupfd_cloexec(io::stdout().as_fd(), 3)?;
        let file = File::from(descriptor);
        let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
        if kind == rustix::fs::FileType::Socket {
            return Ok(Self::new(Way::Shared(file)));
        }
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let own = OpenOptions::new()
            .append(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path)?;
        Ok(Self::new(Way::File(own)))
    }

    fn new(way: Way) -> Self {
        Self {
            way,
            position: 0,
            unread: true,
            gone: false,
        }
    }

    /// Writes what it has not seen, until it takes no more. `false` when it cannot be reached.
    pub fn show(&mut self, ring: &Ring) -> bool {
        // Bounded: the ring does not grow meanwhile.
        loop {
            let (from, piece) = ring.piece(self.position);
            self.position = from;
            if piece.is_empty() {
                return true;
            }
            match self.send(piece) {
                Ok(count) => self.position += count as u64,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return err.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = match &mut self.way {
            Way::Socket(socket) => socket.write(bytes)?,
            Way::File(file) => file.write(bytes)?,
            Way::Shared(file) => rustix::net::send(&*file, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?,
        };
        if sent == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(sent)
    }

    /// Takes what it typed, as far as `typed` has room up to `most` bytes. `false` when it cannot be reached.
    pub fn listen(&mut self, typed: &mut VecDeque<u8>, most: usize) -> bool {
        let Way::Socket(socket) = &mut self.way else {
            self.unread = false;
            return true;
        };
        let mut buffer = [0; 512];
        while self.unread {
            let room = most.saturating_sub(typed.len()).min(buffer.len());
            let Some(place) = buffer.get_mut(..room).filter(|place| !place.is_empty()) else {
                return true;
            };
            match socket.read(place) {
                // It types no more, but may go on to look.
                Ok(0) => self.unread = false,
                Ok(count) => typed.extend(place.iter().take(count)),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => self.unread = false,
                Err(_) => return false,
            }
        }
        !self.gone
    }
}

impl AsRawFd for Viewer {
    fn as_raw_fd(&self) -> RawFd {
        match &self.way {
            Way::Socket(socket) => socket.as_raw_fd(),
            Way::File(file) | Way::Shared(file) => file.as_raw_fd(),
        }
    }
}
