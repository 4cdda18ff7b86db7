//! The host's side: who listens, who connects, and which packets that makes.
//!
//! ```text
//! host process --connect--> PATH        "CONNECT 52\n" ... "OK 1073741824\n", then bytes   (the guest listens on port 52)
//! guest process --connect--> port 1024  PATH_1024 must be listened on                     (by a process of the host)
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use super::connection::{Connection, Found, Verdict};
use super::packet::{HEADER_BYTES, HOST, Header, Operation, STREAM};
use crate::devices::hub::{ListenError, listen};
use crate::devices::virtio::ring::Chain;
use crate::memory::GuestMemory;

/// How many connections there are at most, those that are not yet made among them.
pub const CONNECTIONS_MAX: usize = 256;
/// How many resets wait for the guest to have room; a guest that provokes more than that gets no answer.
const RESETS_MAX: usize = 256;
/// The longest first line of who connects: `CONNECT 4294967295\n`.
const GREETING_BYTES_MAX: usize = 19;
/// The ports of the host's side of connections that the host makes: far from those that the guest would connect to.
const HOST_PORTS: Range<u32> = 1 << 30..1 << 31;
/// The port that stands for any (`VMADDR_PORT_ANY`): no connection has it.
const ANY_PORT: u32 = u32::MAX;
/// How many events are taken from the kernel at once.
const EVENTS: usize = 32;
/// How often in one call: enough for all descriptors to have had one.
const ROUNDS: usize = CONNECTIONS_MAX / EVENTS + 1;

/// A connection's name: its port at the host, and its port in the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ports {
    host: u32,
    guest: u32,
}

impl Ports {
    fn token(self) -> u64 {
        u64::from(self.host) << 32 | u64::from(self.guest)
    }

    fn of(token: u64) -> Self {
        Self {
            host: u32::try_from(token >> 32).unwrap_or(ANY_PORT),
            guest: u32::try_from(token & u64::from(u32::MAX)).unwrap_or(ANY_PORT),
        }
    }
}

/// Of the events: somebody connects. Tokens with this host port and another guest port are those who have not said whereto.
const LISTENER: Ports = Ports {
    host: ANY_PORT,
    guest: ANY_PORT,
};

/// What the sockets did, for the API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct VsockStats {
    /// Connections now, those that are not yet made among them.
    pub connections: usize,
    /// Connections that were made or refused since the start.
    pub begun: u64,
    /// Those that were refused, by either side.
    pub refused: u64,
    /// Bytes that went to the guest.
    pub to_guest_bytes: u64,
    /// Bytes that came from the guest.
    pub from_guest_bytes: u64,
}

/// Whom a packet that makes no sense, or a connection that is over, is answered for.
#[derive(Debug, Clone, Copy)]
struct Reset {
    /// Who is said to send it: whom the guest wrote to.
    source: u64,
    ports: Ports,
}

/// The host's side.
#[derive(Debug)]
pub struct Host {
    guest: u64,
    epoll: Epoll,
    listener: Option<UnixListener>,
    path: PathBuf,
    /// Who connected and has not said whereto, by a number.
    waiting: BTreeMap<u32, UnixStream>,
    connections: BTreeMap<Ports, Connection>,
    /// Those that may have something for the guest, in turn.
    line: VecDeque<Ports>,
    resets: VecDeque<Reset>,
    next_port: u32,
    stats: VsockStats,
}

impl Host {
    /// The host's side for a guest of that address, listening on a Unix socket.
    pub fn new(guest: u32, path: &Path) -> Result<Self, ListenError> {
        let refuse = |err: io::Error| ListenError::Listen {
            path: path.to_owned(),
            err,
        };
        let listener = listen(path)?;
        let descriptor = listener.as_raw_fd();
        let host = Self::with(guest, path, Some(listener)).map_err(refuse)?;
        let event = EpollEvent::new(EventSet::IN, LISTENER.token());
        host.epoll
            .ctl(ControlOperation::Add, descriptor, event)
            .map_err(refuse)?;
        Ok(host)
    }

    /// The host's side without a listener: who connects is [brought](Self::welcome).
    pub fn with(guest: u32, path: &Path, listener: Option<UnixListener>) -> io::Result<Self> {
        Ok(Self {
            guest: guest.into(),
            epoll: Epoll::new()?,
            listener,
            path: path.to_owned(),
            waiting: BTreeMap::new(),
            connections: BTreeMap::new(),
            line: VecDeque::new(),
            resets: VecDeque::new(),
            next_port: HOST_PORTS.start,
            stats: VsockStats::default(),
        })
    }

    /// What it did.
    pub fn stats(&self) -> VsockStats {
        VsockStats {
            connections: self.count(),
            ..self.stats
        }
    }

    /// Whether a host process is slower than the guest.
    #[cfg(test)]
    pub fn is_holding_back(&self) -> bool {
        self.connections.values().any(Connection::is_holding_back)
    }

    fn count(&self) -> usize {
        self.waiting.len() + self.connections.len()
    }

    /// Ends all connections, and tells nobody in the guest.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.connections.clear();
        self.line.clear();
        self.resets.clear();
    }

    /// Looks what the sockets have, without waiting. Whether there may be more.
    pub fn poll(&mut self) -> bool {
        for _ in 0..ROUNDS {
            let mut events = [EpollEvent::default(); EVENTS];
            // An interrupted call is made again by who is told that there may be more.
            let Ok(count) = self.epoll.wait(0, &mut events) else {
                return true;
            };
            for event in events.iter().take(count) {
                self.on_event(Ports::of(event.data()), event.event_set());
            }
            if count < EVENTS {
                return false;
            }
        }
        true
    }

    fn on_event(&mut self, ports: Ports, events: EventSet) {
        if ports == LISTENER {
            self.accept();
        } else if ports.host == ANY_PORT {
            self.listen_to(ports.guest);
        } else if let Some(connection) = self.connections.get_mut(&ports) {
            let readable = events.intersects(EventSet::IN | EventSet::READ_HANG_UP);
            let hung_up = events.intersects(EventSet::HANG_UP | EventSet::ERROR);
            let verdict = connection.socket_ready(readable, events.contains(EventSet::OUT), hung_up);
            self.settle(ports, verdict);
        }
    }

    /// Whether there is a place for one more. Where there is none, one is taken that only waits for its reader, and that its guest has forgotten.
    fn has_place(&mut self) -> bool {
        if self.count() < CONNECTIONS_MAX {
            return true;
        }
        let mut left = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.guest_left());
        let forgotten = left.next().map(|(ports, _)| *ports);
        if let Some(ports) = forgotten {
            self.drop_connection(ports);
        }
        forgotten.is_some()
    }

    fn accept(&mut self) {
        // Bounded: who finds no place is turned away, and the listener's queue is short. What is left comes with the next look.
        for _ in 0..CONNECTIONS_MAX {
            let Some(Ok((socket, _))) = self.listener.as_ref().map(UnixListener::accept) else {
                return;
            };
            self.welcome(socket);
        }
    }

    /// Takes somebody who connected, if there is a place.
    pub fn welcome(&mut self, socket: UnixStream) {
        self.stats.begun += 1;
        let free = (0..ANY_PORT).find(|number| !self.waiting.contains_key(number));
        let Some(number) = free.filter(|_| self.has_place()) else {
            self.stats.refused += 1;
            return;
        };
        let ports = Ports {
            host: ANY_PORT,
            guest: number,
        };
        if socket.set_nonblocking(true).is_ok() && self.watch(ControlOperation::Add, &socket, ports).is_ok() {
            self.waiting.insert(number, socket);
            // Most have said it already.
            self.listen_to(number);
        }
    }

    fn watch(&self, operation: ControlOperation, socket: &UnixStream, ports: Ports) -> io::Result<()> {
        let events = EventSet::IN | EventSet::OUT | EventSet::READ_HANG_UP | EventSet::EDGE_TRIGGERED;
        self.epoll.ctl(
            operation,
            socket.as_raw_fd(),
            EpollEvent::new(events, ports.token()),
        )
    }

    /// Reads whereto somebody wants, once the line is whole; then asks the guest.
    fn listen_to(&mut self, number: u32) {
        let Some(socket) = self.waiting.remove(&number) else {
            return;
        };
        match greeting(&socket) {
            Greeting::Incomplete => {
                self.waiting.insert(number, socket);
            }
            Greeting::Nonsense => self.stats.refused += 1,
            Greeting::Port(guest) => {
                let ports = Ports {
                    host: self.free_port(guest),
                    guest,
                };
                if self.watch(ControlOperation::Modify, &socket, ports).is_ok() {
                    self.connections.insert(ports, Connection::new(socket, true));
                    self.queue(ports);
                }
            }
        }
    }

    /// A port of the host that no connection to this port of the guest has.
    fn free_port(&mut self, guest: u32) -> u32 {
        loop {
            let host = self.next_port;
            self.next_port = if host + 1 < HOST_PORTS.end {
                host + 1
            } else {
                HOST_PORTS.start
            };
            // Ends: there are more ports than connections.
            if !self.connections.contains_key(&Ports { host, guest }) {
                return host;
            }
        }
    }

    /// Takes a packet of the guest.
    pub fn take(&mut self, chain: &Chain, memory: &GuestMemory) {
        let mut bytes = [0; HEADER_BYTES];
        if chain.readable.read(memory, 0, &mut bytes).is_err() {
            return;
        }
        let header = Header::parse(&bytes);
        // A packet in another's name is nobody's (5.10.6.4.1).
        if header.source != self.guest {
            return;
        }
        let ports = Ports {
            host: header.destination_port,
            guest: header.source_port,
        };
        let data = chain.readable.bytes() - HEADER_BYTES as u64;
        let sense = header.destination == HOST
            && header.kind == STREAM
            && u64::from(header.length) <= data
            && ports.host != ANY_PORT
            && ports.guest != ANY_PORT;
        if !sense {
            self.drop_connection(ports);
            self.reset(header.destination, &header, ports);
            return;
        }
        let Some(connection) = self
            .connections
            .get_mut(&ports)
            .filter(|connection| !connection.guest_left())
        else {
            match header.operation {
                Some(Operation::Request) => self.connect(&header, ports),
                _ => self.reset(HOST, &header, ports),
            }
            return;
        };
        let verdict = connection.take(&header, ports.host, &chain.readable, memory);
        if header.operation == Some(Operation::Data) && verdict == Verdict::Keep {
            self.stats.from_guest_bytes += u64::from(header.length);
        }
        self.settle(ports, verdict);
    }

    /// The guest wants to reach a port of the host: whoever listens on its socket.
    fn connect(&mut self, header: &Header, ports: Ports) {
        self.stats.begun += 1;
        if self.has_place()
            && let Ok(socket) = reach(&self.path, ports.host)
            && self.watch(ControlOperation::Add, &socket, ports).is_ok()
        {
            // What is left of one of the same ports that the guest has forgotten.
            self.drop_connection(ports);
            let mut connection = Connection::new(socket, false);
            connection.heard(header);
            self.connections.insert(ports, connection);
            self.queue(ports);
            return;
        }
        self.stats.refused += 1;
        self.reset(HOST, header, ports);
    }

    /// Lets a connection go on, or not.
    fn settle(&mut self, ports: Ports, verdict: Verdict) {
        match verdict {
            Verdict::Keep => self.queue(ports),
            Verdict::Drop => self.drop_connection(ports),
            Verdict::Reset => {
                self.drop_connection(ports);
                self.push_reset(HOST, ports);
            }
        }
    }

    /// Puts a connection into the line of those that may have something for the guest.
    fn queue(&mut self, ports: Ports) {
        if let Some(connection) = self.connections.get_mut(&ports)
            && !connection.in_line
            && connection.has_something()
        {
            connection.in_line = true;
            self.line.push_back(ports);
        }
    }

    fn drop_connection(&mut self, ports: Ports) {
        let dropped = self.connections.remove(&ports);
        if dropped.is_some_and(|connection| connection.in_line) {
            self.line.retain(|waiting| *waiting != ports);
        }
    }

    /// Answers a packet that makes no sense, unless it is itself such an answer.
    fn reset(&mut self, source: u64, header: &Header, ports: Ports) {
        if header.operation != Some(Operation::Reset) {
            self.push_reset(source, ports);
        }
    }

    fn push_reset(&mut self, source: u64, ports: Ports) {
        if self.resets.len() < RESETS_MAX {
            self.resets.push_back(Reset { source, ports });
        }
    }

    /// Whether [`give`](Self::give) may have something.
    pub fn has_something(&self) -> bool {
        !self.resets.is_empty() || !self.line.is_empty()
    }

    /// Puts the next packet into a chain of the guest: how many bytes, 0 where the chain is of no use. `None` when there is nothing.
    pub fn give(&mut self, chain: &Chain, memory: &GuestMemory) -> Option<u32> {
        if !self.has_something() {
            return None;
        }
        let buffers = &chain.writable;
        // Room for the header is seen to before anything is taken from a socket: what was taken could not be put back.
        let usable = buffers.bytes() > HEADER_BYTES as u64;
        if !usable || buffers.write(memory, 0, &[0; HEADER_BYTES]).is_err() {
            return Some(0);
        }
        let header = match self.next(chain, memory)? {
            Next::Packet(header) => header,
            Next::BadBuffer => return Some(0),
        };
        // Cannot fail: it did not a moment ago, and memory stays.
        let _written = buffers.write(memory, 0, &header.bytes());
        self.stats.to_guest_bytes += u64::from(header.length);
        // Data is at most 64 KiB.
        Some(
            header
                .length
                .saturating_add(u32::try_from(HEADER_BYTES).unwrap_or(0)),
        )
    }

    fn next(&mut self, chain: &Chain, memory: &GuestMemory) -> Option<Next> {
        if let Some(reset) = self.resets.pop_front() {
            return Some(Next::Packet(Header {
                source: reset.source,
                operation: Some(Operation::Reset),
                ..self.blank(reset.ports)
            }));
        }
        // Ends: each turn takes one from the line, and only what has a packet goes back into it.
        while let Some(ports) = self.line.pop_front() {
            let blank = self.blank(ports);
            let Some(connection) = self.connections.get_mut(&ports) else {
                continue;
            };
            connection.in_line = false;
            match connection.give(&chain.writable, memory) {
                Found::Nothing => {}
                Found::BadBuffer => {
                    self.queue(ports);
                    return Some(Next::BadBuffer);
                }
                Found::Over => {
                    self.drop_connection(ports);
                    let header = Header {
                        operation: Some(Operation::Reset),
                        ..blank
                    };
                    return Some(Next::Packet(header));
                }
                Found::Packet(packet) => {
                    let (room, read) = connection.tell_credit();
                    let header = Header {
                        operation: Some(packet.operation),
                        flags: packet.flags,
                        length: packet.length,
                        room,
                        read,
                        ..blank
                    };
                    self.queue(ports);
                    return Some(Next::Packet(header));
                }
            }
        }
        None
    }

    /// What all packets to the guest have.
    fn blank(&self, ports: Ports) -> Header {
        Header {
            source: HOST,
            destination: self.guest,
            source_port: ports.host,
            destination_port: ports.guest,
            length: 0,
            kind: STREAM,
            operation: None,
            flags: 0,
            room: 0,
            read: 0,
        }
    }
}

impl AsRawFd for Host {
    /// Readable when [`poll`](Host::poll) finds something.
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.listener.is_some() {
            // Who comes next would replace the file as well: this is courtesy.
            let _left_behind = std::fs::remove_file(&self.path);
        }
    }
}

/// What a chain was used for.
enum Next {
    Packet(Header),
    BadBuffer,
}

/// What somebody who connected has said.
enum Greeting {
    Incomplete,
    Nonsense,
    Port(u32),
}

/// Reads the first line of who connected, and nothing behind it: that is for the guest.
fn greeting(mut socket: &UnixStream) -> Greeting {
    let mut bytes = [0; GREETING_BYTES_MAX];
    let seen = match rustix::net::recv(
        socket,
        bytes.as_mut_slice(),
        RecvFlags::PEEK | RecvFlags::DONTWAIT,
    ) {
        Ok((_, count)) => count,
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Greeting::Incomplete,
        Err(_) => return Greeting::Nonsense,
    };
    let Some(end) = bytes.iter().take(seen).position(|byte| *byte == b'\n') else {
        let over = seen == 0 || seen == bytes.len();
        return if over {
            Greeting::Nonsense
        } else {
            Greeting::Incomplete
        };
    };
    let (line, _) = bytes.split_at_mut((end + 1).min(GREETING_BYTES_MAX));
    if socket.read_exact(line).is_err() {
        return Greeting::Nonsense;
    }
    let port = str::from_utf8(line)
        .ok()
        .and_then(|line| line.strip_prefix("CONNECT ")?.strip_suffix('\n')?.parse().ok())
        .filter(|port| *port != ANY_PORT);
    port.map_or(Greeting::Nonsense, Greeting::Port)
}

/// Connects to whoever listens for the guest on a port, without waiting: a full queue is a refusal.
fn reach(path: &Path, port: u32) -> io::Result<UnixStream> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!("_{port}"));
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(Path::new(&name))?)?;
    Ok(socket.into())
}
