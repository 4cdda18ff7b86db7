//! The socket device's entry for fuzzing.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::host::Host;
use super::packet::{HOST, Header, Operation, STREAM};
use super::{QUEUE_SIZE, QUEUES, Vsock};
use crate::devices::virtio::VirtioDevice as _;
use crate::devices::virtio::testing::{Driver, Piece, play};

const GUEST: u32 = 3;
/// The queue with what the guest sends.
pub(super) const TRANSMIT: usize = 1;
/// The first port that the host takes for its side of a connection.
const HOST_PORT: u32 = 1 << 30;
const OPERATIONS: [Operation; 7] = [
    Operation::Request,
    Operation::Response,
    Operation::Reset,
    Operation::Shutdown,
    Operation::Data,
    Operation::CreditUpdate,
    Operation::CreditRequest,
];

/// Lets a guest do what `data` says: either with its queues, or with packets on connections that the host made.
pub fn fuzz(data: &[u8]) {
    // Nobody listens there: what the guest asks for is refused.
    let Ok(mut host) = Host::with(GUEST, Path::new("/nonexistent/vsock"), None) else {
        return;
    };
    let Some((mode, script)) = data.split_first() else {
        return;
    };
    let mut clients = Vec::new();
    for port in 0..4 {
        let Ok((mut ours, theirs)) = UnixStream::pair() else {
            return;
        };
        let said = writeln!(ours, "CONNECT {port}").and_then(|()| ours.write_all(script));
        if said.is_ok() {
            host.welcome(theirs);
            clients.push(ours);
        }
    }
    let mut vsock = Vsock::with(GUEST, host);
    let mut driver = Driver::new(&[QUEUE_SIZE; QUEUES]);
    if mode % 2 == 0 {
        play(script, &mut driver, &mut vsock);
    } else {
        converse(script, &mut driver, &mut vsock, &mut clients);
    }
}

/// Each seven bytes are a packet, or something that a client does.
fn converse(script: &[u8], driver: &mut Driver, vsock: &mut Vsock, clients: &mut Vec<UnixStream>) {
    let _active = vsock.activate(driver.activation(0));
    for step in script.as_chunks::<7>().0 {
        let [what, port, length, flags, room, read, other] = *step;
        let buffer = driver.place(&[what; 256]);
        driver.offer(0, &[Piece::write(buffer, 64 + u32::from(other))]);
        match what % 16 {
            0 => {
                if let Some(client) = clients.get_mut(usize::from(port % 4)) {
                    let _full = client
                        .set_nonblocking(true)
                        .and_then(|()| client.write_all(&[port; 99]));
                }
            }
            1 => {
                clients.pop();
            }
            _ => {
                let operation = OPERATIONS.get(usize::from(what / 16) % 8).copied();
                let header = Header {
                    source: if other == 255 { 9 } else { GUEST.into() },
                    destination: if other == 254 { 9 } else { HOST },
                    source_port: u32::from(port % 5),
                    destination_port: HOST_PORT + u32::from(port / 5 % 5),
                    length: u32::from(length),
                    kind: if other == 253 { 9 } else { STREAM },
                    operation,
                    flags: flags.into(),
                    room: u32::from(room) << (room % 25),
                    read: u32::from(read) << (read % 25),
                };
                let address = driver.place(&header.bytes());
                let data = driver.place(&vec![port; usize::from(length)]);
                driver.offer(
                    TRANSMIT,
                    &[Piece::read(address, 44), Piece::read(data, u32::from(other))],
                );
            }
        }
        vsock.queue_ready(usize::from(other) % QUEUES);
    }
    vsock.reset();
}
