//! One connection between a port of the guest and a Unix socket of the host.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use super::credit::{Credit, ROOM_BYTES};
use super::packet::{HEADER_BYTES, Header, Operation, SHUTDOWN_BOTH, SHUTDOWN_RECEIVE, SHUTDOWN_SEND};
use crate::devices::virtio::ring::{BufferError, Segments};
use crate::memory::GuestMemory;

/// The most data in one packet to the guest, in bytes.
const DATA_BYTES_MAX: u64 = 64 << 10;

/// What becomes of a connection after something happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Keep,
    /// It is over, and the guest knows.
    Drop,
    /// It is over, and the guest is told.
    Reset,
}

/// A packet for the guest, beside what all packets of the connection have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing {
    /// What for.
    pub operation: Operation,
    /// With which flags.
    pub flags: u32,
    /// How many bytes of data were put behind the header.
    pub length: u32,
}

/// What came of looking for a packet for the guest.
#[derive(Debug)]
pub enum Found {
    /// A packet.
    Packet(Outgoing),
    /// Nothing, until something happens.
    Nothing,
    /// The guest's buffer is of no use.
    BadBuffer,
    /// The connection is over.
    Over,
}

/// How far the two sides have agreed. A connection that is over is gone, from whichever stage.
///
/// ```text
/// ToRequest --> Requested --> Established --> GuestLeft      of the host's asking
/// ToRespond ------------------^                              of the guest's
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The host wants a connection, which the guest is to be asked for.
    ToRequest,
    /// The guest has been asked.
    Requested,
    /// The guest asked, and is to be answered.
    ToRespond,
    /// Both agreed.
    Established,
    /// The guest has forgotten the connection, after all that it sent and announced: it is there for what the host has yet to read of that.
    GuestLeft,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    socket: UnixStream,
    stage: Stage,
    credit: Credit,
    /// What the guest sent and the socket did not take: empty, and without memory, while the host keeps up.
    unsent: VecDeque<u8>,
    /// The socket may have data, or an end.
    readable: bool,
    /// What the host's process does no more: `SHUTDOWN_SEND` when all that it sent has been read, `SHUTDOWN_RECEIVE` when its end is closed.
    host_done: u32,
    /// The guest announced that it receives or sends no more.
    guest_done: u32,
    /// What the guest has been told of that kind.
    shutdown_told: u32,
    /// The guest asked for its credit.
    credit_due: bool,
    /// It waits in the line of those that have something for the guest.
    pub in_line: bool,
}

impl Connection {
    /// A connection that the host (`by_host`) or the guest asked for. The socket never waits.
    pub fn new(socket: UnixStream, by_host: bool) -> Self {
        Self {
            socket,
            stage: if by_host {
                Stage::ToRequest
            } else {
                Stage::ToRespond
            },
            credit: Credit::default(),
            unsent: VecDeque::new(),
            readable: true,
            host_done: 0,
            guest_done: 0,
            shutdown_told: 0,
            credit_due: false,
            in_line: false,
        }
    }

    /// Takes a packet of the guest, whose data (as much as its header says, which has been checked) lies in `buffers` behind the header.
    pub fn take(
        &mut self,
        header: &Header,
        host_port: u32,
        buffers: &Segments,
        memory: &GuestMemory,
    ) -> Verdict {
        self.heard(header);
        match header.operation {
            Some(Operation::Response) => self.accepted(host_port),
            // A guest that closed its end waits for so long that the other side reads, and no longer.
            Some(Operation::Reset) if self.guest_done == SHUTDOWN_BOTH && !self.unsent.is_empty() => {
                self.stage = Stage::GuestLeft;
                Verdict::Keep
            }
            Some(Operation::Reset) => Verdict::Drop,
            // Before the guest agreed there is nothing to send, end or count.
            _ if matches!(self.stage, Stage::ToRequest | Stage::Requested) => Verdict::Reset,
            Some(Operation::Shutdown) => {
                self.guest_done |= header.flags & SHUTDOWN_BOTH;
                self.finish()
            }
            Some(Operation::Data) => self.forward(header.length, buffers, memory),
            Some(Operation::CreditUpdate) => Verdict::Keep,
            Some(Operation::CreditRequest) => {
                self.credit_due = true;
                Verdict::Keep
            }
            Some(Operation::Request) | None => Verdict::Reset,
        }
    }

    /// Whether the guest knows nothing of it any more, and only what it sent is yet to go on.
    pub fn guest_left(&self) -> bool {
        self.stage == Stage::GuestLeft
    }

    /// It is over, whether or not the guest has to hear of that.
    fn over(&self) -> Verdict {
        if self.guest_left() {
            Verdict::Drop
        } else {
            Verdict::Reset
        }
    }

    /// Takes what each packet of the guest says of its room.
    pub fn heard(&mut self, header: &Header) {
        self.credit.heard(header.room, header.read);
    }

    fn accepted(&mut self, host_port: u32) -> Verdict {
        if self.stage != Stage::Requested {
            return Verdict::Reset;
        }
        self.stage = Stage::Established;
        let answer = format!("OK {host_port}\n");
        // The socket is empty so far: it takes a line, or its other end is gone.
        match self.socket.write(answer.as_bytes()) {
            Ok(count) if count == answer.len() => Verdict::Keep,
            _ => Verdict::Reset,
        }
    }

    /// Data of the guest goes on to the host: at once, or behind what waits already.
    fn forward(&mut self, length: u32, buffers: &Segments, memory: &GuestMemory) -> Verdict {
        if self.guest_done & SHUTDOWN_SEND != 0 || !self.credit.receive(length) {
            return Verdict::Reset;
        }
        let mut sent = 0;
        if self.unsent.is_empty() && length > 0 {
            sent = match buffers.drain(memory, HEADER_BYTES as u64, length.into(), &mut self.socket) {
                // At most `length`.
                Ok(count) => u32::try_from(count).unwrap_or(length),
                Err(BufferError::Moving(err)) if would_block(&err) => 0,
                Err(_) => return Verdict::Reset,
            };
        }
        self.credit.forward(sent);
        if !self.keep(sent, length, buffers, memory) {
            return Verdict::Reset;
        }
        Verdict::Keep
    }

    /// Keeps what the socket did not take. `false` when it lies outside memory.
    fn keep(&mut self, sent: u32, length: u32, buffers: &Segments, memory: &GuestMemory) -> bool {
        let mut piece = [0; 1 << 10];
        let mut done = sent;
        while done < length {
            let count = usize::try_from(length - done)
                .unwrap_or(piece.len())
                .min(piece.len());
            let (now, _) = piece.split_at_mut(count);
            if buffers
                .read(memory, HEADER_BYTES as u64 + u64::from(done), now)
                .is_err()
            {
                return false;
            }
            self.unsent.extend(&*now);
            done += u32::try_from(count).unwrap_or(length);
        }
        true
    }

    /// The socket has something, takes something, or is closed (`hung_up`).
    pub fn socket_ready(&mut self, readable: bool, writable: bool, hung_up: bool) -> Verdict {
        self.readable |= readable || hung_up;
        if hung_up {
            self.host_done |= SHUTDOWN_RECEIVE;
            // Nobody waits for the guest's answer any more.
            if matches!(self.stage, Stage::ToRequest | Stage::Requested) {
                return Verdict::Reset;
            }
        }
        if writable && !self.unsent.is_empty() {
            return self.flush();
        }
        Verdict::Keep
    }

    /// Sends what waits, as far as the socket takes it.
    fn flush(&mut self) -> Verdict {
        while !self.unsent.is_empty() {
            let (first, _) = self.unsent.as_slices();
            match self.socket.write(first) {
                Ok(0) => return self.over(),
                Ok(count) => {
                    self.unsent.drain(..count);
                    // At most ROOM_BYTES.
                    self.credit.forward(u32::try_from(count).unwrap_or(ROOM_BYTES));
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) if would_block(&err) => return Verdict::Keep,
                Err(_) => return self.over(),
            }
        }
        self.unsent = VecDeque::new();
        self.finish()
    }

    /// Does what the guest announced, once all that it sent before has gone.
    fn finish(&mut self) -> Verdict {
        if !self.unsent.is_empty() {
            return Verdict::Keep;
        }
        if self.guest_done == SHUTDOWN_BOTH {
            return self.over();
        }
        // Where the other end is gone already, there is nobody to tell.
        let _gone = match self.guest_done {
            SHUTDOWN_SEND => self.socket.shutdown(Shutdown::Write),
            SHUTDOWN_RECEIVE => self.socket.shutdown(Shutdown::Read),
            _ => Ok(()),
        };
        Verdict::Keep
    }

    /// Whether there may be something for the guest.
    pub fn has_something(&self) -> bool {
        match self.stage {
            Stage::ToRequest | Stage::ToRespond => true,
            Stage::Requested | Stage::GuestLeft => false,
            Stage::Established => {
                self.credit_due || self.readable || self.credit.should_tell() || self.shutdown_due() != 0
            }
        }
    }

    /// Looks for a packet for the guest, and puts its data, if it has some, behind the place of the header in `buffers`, which have room for
    /// more than a header.
    pub fn give(&mut self, buffers: &Segments, memory: &GuestMemory) -> Found {
        let packet = |operation, flags| {
            Found::Packet(Outgoing {
                operation,
                flags,
                length: 0,
            })
        };
        match self.stage {
            Stage::ToRequest => {
                self.stage = Stage::Requested;
                return packet(Operation::Request, 0);
            }
            Stage::ToRespond => {
                self.stage = Stage::Established;
                return packet(Operation::Response, 0);
            }
            Stage::Requested | Stage::GuestLeft => return Found::Nothing,
            Stage::Established => {}
        }
        if self.readable && self.guest_done & SHUTDOWN_RECEIVE == 0 {
            if self.credit.free() > 0 {
                match self.read(buffers, memory) {
                    Found::Nothing => {}
                    found => return found,
                }
            } else if self.credit.ask() {
                return packet(Operation::CreditRequest, 0);
            }
        }
        let shutdown = self.shutdown_due();
        if shutdown != 0 {
            self.shutdown_told = shutdown;
            return packet(Operation::Shutdown, shutdown);
        }
        if self.credit_due || self.credit.should_tell() {
            self.credit_due = false;
            return packet(Operation::CreditUpdate, 0);
        }
        Found::Nothing
    }

    /// Reads from the socket straight into the guest's buffer.
    fn read(&mut self, buffers: &Segments, memory: &GuestMemory) -> Found {
        let room = buffers.bytes().saturating_sub(HEADER_BYTES as u64);
        let most = room.min(DATA_BYTES_MAX).min(self.credit.free().into());
        match buffers.fill(memory, HEADER_BYTES as u64, most, &mut self.socket) {
            Ok(0) => {
                self.readable = false;
                self.host_done |= SHUTDOWN_SEND;
                Found::Nothing
            }
            Ok(count) => {
                // At most DATA_BYTES_MAX.
                let length = u32::try_from(count).unwrap_or(0);
                self.credit.send(length);
                Found::Packet(Outgoing {
                    operation: Operation::Data,
                    flags: 0,
                    length,
                })
            }
            Err(BufferError::Outside) => Found::BadBuffer,
            Err(BufferError::Moving(err)) if would_block(&err) => {
                self.readable = false;
                Found::Nothing
            }
            Err(BufferError::Moving(_)) => Found::Over,
        }
    }

    /// What the guest is to be told of the host's end, if it is more than it knows.
    fn shutdown_due(&self) -> u32 {
        let hung_up = self.host_done & SHUTDOWN_RECEIVE != 0;
        // Data comes first: the end is known only when all has been read, or when the guest wants no more.
        let over = self.host_done & SHUTDOWN_SEND != 0 || hung_up && self.guest_done & SHUTDOWN_RECEIVE != 0;
        let now = match (over, hung_up) {
            (true, true) => SHUTDOWN_BOTH,
            (true, false) => SHUTDOWN_SEND,
            (false, _) => 0,
        };
        if now & !self.shutdown_told == 0 { 0 } else { now }
    }

    /// Whether something waits for the host's process to read.
    #[cfg(test)]
    pub fn is_holding_back(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// What each header to the guest says of our room, and of what went on to the host.
    pub fn tell_credit(&mut self) -> (u32, u32) {
        (ROOM_BYTES, self.credit.tell())
    }
}

fn would_block(err: &io::Error) -> bool {
    err.kind() == io::ErrorKind::WouldBlock
}
