mod lab;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use proptest::prelude::*;

use super::super::testing::Piece;
use super::credit::ROOM_BYTES;
use super::fuzz::TRANSMIT;
use super::host::CONNECTIONS_MAX;
use super::packet::{HEADER_BYTES, Header, Operation, SHUTDOWN_BOTH, SHUTDOWN_RECEIVE, SHUTDOWN_SEND};
use super::*;
use lab::*;

#[test]
fn the_guest_finds_its_address() {
    let lab = Lab::inactive();
    let mut data = [0; 8];
    lab.vsock.read_config(0, &mut data);
    assert_eq!(u64::from_le_bytes(data), u64::from(GUEST));
    let mut beyond = [0; 8];
    lab.vsock.read_config(u64::MAX, &mut beyond);
    assert_eq!(beyond, [0; 8]);
}

#[test]
fn a_process_of_the_host_reaches_a_port_of_the_guest_and_both_talk() {
    let mut lab = Lab::new();
    let (mut client, port) = lab.host_connects();
    client.write_all(b"question").unwrap();
    let packets = lab.packets();
    assert_eq!(packets.len(), 1);
    assert_eq!(packets[0].0.operation, Some(Operation::Data));
    assert_eq!(packets[0].1, b"question");

    lab.send_data(GUEST_PORT, port, b"answer");
    let mut answer = [0; 6];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"answer");
    let stats = lab.vsock.stats();
    assert_eq!(
        (stats.connections, stats.to_guest_bytes, stats.from_guest_bytes),
        (1, 8, 6)
    );
}

#[test]
fn what_is_said_behind_the_first_line_is_for_the_guest() {
    let mut lab = Lab::new();
    let mut client = UnixStream::connect(lab.path()).unwrap();
    client.write_all(b"CONNE").unwrap();
    assert!(lab.packets().is_empty());
    client.write_all(b"CT 52\nhello").unwrap();
    let request = lab.packet();
    lab.send(
        lab.header(GUEST_PORT, request.source_port, Operation::Response),
        &[],
    );
    assert_eq!(lab.packets()[0].1, b"hello");
}

#[test]
fn who_talks_nonsense_is_turned_away() {
    let nonsense: [&[u8]; 6] = [
        b"CONNECT\n",
        b"CONNECT -1\n",
        b"CONNECT 4294967295\n",
        b"GET / HTTP/1.1\r\nHost: x",
        b"connect 52\n",
        b"\xff\xff\xff\n",
    ];
    let mut lab = Lab::new();
    for line in nonsense {
        let mut client = UnixStream::connect(lab.path()).unwrap();
        client.write_all(line).unwrap();
        assert!(lab.packets().is_empty());
        assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)), "{line:?}");
    }
    assert_eq!(lab.vsock.stats().refused, 6);
    assert_eq!(lab.vsock.stats().connections, 0);
}

#[test]
fn a_guest_that_refuses_ends_the_connection() {
    let mut lab = Lab::new();
    let mut client = UnixStream::connect(lab.path()).unwrap();
    client.write_all(b"CONNECT 52\n").unwrap();
    let request = lab.packet();
    lab.send(lab.header(GUEST_PORT, request.source_port, Operation::Reset), &[]);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    assert!(lab.packets().is_empty(), "a reset is not answered");
}

#[test]
fn a_process_of_the_guest_reaches_who_listens_on_the_host() {
    let mut lab = Lab::new();
    let mut server = lab.guest_connects();
    lab.send_data(CLIENT_PORT, HOST_PORT, b"ready\n");
    let mut line = [0; 6];
    server.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"ready\n");
}

#[test]
fn where_nobody_listens_the_guest_is_refused() {
    let mut lab = Lab::new();
    lab.send(lab.header(CLIENT_PORT, 9, Operation::Request), &[]);
    let answer = lab.packet();
    assert_eq!(answer.operation, Some(Operation::Reset));
    assert_eq!((answer.source_port, answer.destination_port), (9, CLIENT_PORT));
}

#[test]
fn the_guest_gets_no_more_than_it_has_room_for() {
    let mut lab = Lab::new();
    lab.room = 1000;
    let (mut client, port) = lab.host_connects();
    client.write_all(&[7; 2500]).unwrap();
    let packets = lab.packets();
    let data: usize = packets.iter().map(|(_, data)| data.len()).sum();
    assert_eq!(data, 1000);
    let last = packets.last().unwrap().0;
    assert_eq!(last.operation, Some(Operation::CreditRequest), "asked once");
    // Its reader sleeps: an answer that says so is no reason to ask again, and again.
    lab.send(lab.header(GUEST_PORT, port, Operation::CreditUpdate), &[]);
    assert!(lab.packets().is_empty());

    lab.read = 1000;
    lab.send(lab.header(GUEST_PORT, port, Operation::CreditUpdate), &[]);
    let data: usize = lab.packets().iter().map(|(_, data)| data.len()).sum();
    assert_eq!(data, 1000);
}

#[test]
fn a_stream_of_megabytes_arrives_whole_in_both_directions() {
    let mut lab = Lab::new();
    let (mut client, port) = lab.host_connects();
    let stream: Vec<u8> = (0..=250).cycle().take(1 << 20).collect();

    let mut writer = client.try_clone().unwrap();
    let sent = stream.clone();
    let writing = std::thread::spawn(move || writer.write_all(&sent).unwrap());
    let mut received = Vec::new();
    while received.len() < stream.len() {
        for (_, data) in lab.packets() {
            received.extend(data);
        }
        lab.read = u32::try_from(received.len()).unwrap();
        lab.send(lab.header(GUEST_PORT, port, Operation::CreditUpdate), &[]);
    }
    writing.join().unwrap();
    assert_eq!(received, stream);

    let length = stream.len();
    let reading = std::thread::spawn(move || {
        let mut read = vec![0; length];
        client.read_exact(&mut read).unwrap();
        // Open until the guest is done.
        (client, read)
    });
    let (mut sent, mut forwarded) = (0, 0);
    while sent < stream.len() {
        let room = usize::try_from(ROOM_BYTES).unwrap() - (sent - forwarded);
        let count = room.min(stream.len() - sent);
        lab.send_data(GUEST_PORT, port, &stream[sent..sent + count]);
        sent += count;
        if count == 0 {
            lab.send(lab.header(GUEST_PORT, port, Operation::CreditRequest), &[]);
        }
        if let Some((header, _)) = lab.packets().last() {
            assert_eq!(header.operation, Some(Operation::CreditUpdate));
            forwarded = usize::try_from(header.read).unwrap();
        }
    }
    // What the device kept goes as the reader makes room.
    while lab.vsock.stats().connections == 1 && !reading.is_finished() {
        lab.vsock.source_ready(0);
    }
    assert_eq!(reading.join().unwrap().1, stream);
}

#[test]
fn a_guest_that_sends_more_than_there_is_room_for_loses_the_connection() {
    let mut lab = Lab::new();
    let mut server = lab.guest_connects();
    let piece = vec![1; 32 << 10];
    let mut operations = Vec::new();
    // The host reads nothing: its socket fills, then the device's room.
    for _ in 0..100 {
        lab.send_data(CLIENT_PORT, HOST_PORT, &piece);
        operations = lab.operations();
        if operations.contains(&Operation::Reset) {
            break;
        }
    }
    assert_eq!(operations, [Operation::Reset]);
    assert_eq!(lab.vsock.stats().connections, 0);
    let mut rest = Vec::new();
    server.read_to_end(&mut rest).unwrap();
    assert!(!rest.is_empty());
}

#[test]
fn the_end_of_the_hosts_data_is_announced_behind_it() {
    let mut lab = Lab::new();
    let (mut client, port) = lab.host_connects();
    client.write_all(b"last words").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let packets = lab.packets();
    assert_eq!(packets[0].1, b"last words");
    assert_eq!(packets[1].0.operation, Some(Operation::Shutdown));
    assert_eq!(packets[1].0.flags, SHUTDOWN_SEND);
    assert_eq!(packets.len(), 2);

    lab.send_data(GUEST_PORT, port, b"reply");
    let mut reply = [0; 5];
    client.read_exact(&mut reply).unwrap();
    drop(client);
    let end = lab.packet();
    assert_eq!(
        (end.operation, end.flags),
        (Some(Operation::Shutdown), SHUTDOWN_BOTH)
    );
    lab.send(lab.header(GUEST_PORT, port, Operation::Reset), &[]);
    assert_eq!(lab.vsock.stats().connections, 0);
}

#[test]
fn a_guest_that_sends_no_more_ends_the_hosts_reading_and_one_that_is_done_is_answered() {
    let mut lab = Lab::new();
    let mut server = lab.guest_connects();
    lab.send_data(CLIENT_PORT, HOST_PORT, b"all");
    let shutdown = |lab: &Lab, flags| Header {
        flags,
        ..lab.header(CLIENT_PORT, HOST_PORT, Operation::Shutdown)
    };
    lab.send(shutdown(&lab, SHUTDOWN_SEND), &[]);
    let mut all = Vec::new();
    server.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"all");
    server.write_all(b"and you?").unwrap();
    assert_eq!(lab.packets()[0].1, b"and you?");

    lab.send(shutdown(&lab, SHUTDOWN_RECEIVE), &[]);
    assert_eq!(lab.operations(), [Operation::Reset]);
    assert_eq!(lab.vsock.stats().connections, 0);
}

/// A guest that has sent more than the host reads, has closed its end, and waits no longer (Linux waits 8 s); and how much it sent.
fn guest_that_left(lab: &mut Lab) -> (UnixStream, usize) {
    let server = lab.guest_connects();
    let piece = vec![1; 32 << 10];
    let mut sent = 0;
    while !lab.vsock.host.is_holding_back() {
        lab.send_data(CLIENT_PORT, HOST_PORT, &piece);
        sent += piece.len();
    }
    let _credit_of_what_was_read = lab.packets();
    let shutdown = Header {
        flags: SHUTDOWN_BOTH,
        ..lab.header(CLIENT_PORT, HOST_PORT, Operation::Shutdown)
    };
    lab.send(shutdown, &[]);
    lab.send(lab.header(CLIENT_PORT, HOST_PORT, Operation::Reset), &[]);
    assert!(lab.packets().is_empty());
    (server, sent)
}

#[test]
fn what_a_guest_sent_before_it_left_arrives() {
    let mut lab = Lab::new();
    let (mut server, sent) = guest_that_left(&mut lab);
    server.set_nonblocking(true).unwrap();
    let (mut received, mut bytes) = (0, vec![0; 1 << 20]);
    loop {
        match server.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => received += count,
            Err(err) => assert_eq!(err.kind(), ErrorKind::WouldBlock),
        }
        lab.vsock.source_ready(0);
    }
    assert_eq!(received, sent);
    assert_eq!(lab.vsock.stats().connections, 0);
    assert!(lab.packets().is_empty(), "the guest knows nothing of it any more");
}

#[test]
fn a_guest_that_left_may_come_back_and_one_whose_reader_left_too_is_forgotten() {
    let mut lab = Lab::new();
    let (server, _) = guest_that_left(&mut lab);
    drop(server);
    lab.vsock.source_ready(0);
    assert_eq!(lab.vsock.stats().connections, 0);
    assert!(lab.packets().is_empty());

    let mut lab = Lab::new();
    let (_server, _) = guest_that_left(&mut lab);
    lab.send_data(CLIENT_PORT, HOST_PORT, b"nonsense");
    assert_eq!(lab.operations(), [Operation::Reset]);
    assert_eq!(lab.vsock.stats().connections, 1, "its data waits on");
    // Where nobody listens any more it is refused, and what it sent before waits on; else it has a new connection.
    lab.send(lab.header(CLIENT_PORT, HOST_PORT, Operation::Request), &[]);
    assert_eq!(lab.operations(), [Operation::Reset]);
    assert!(lab.vsock.host.is_holding_back());
    std::fs::remove_file(format!("{}_{HOST_PORT}", lab.path().display())).unwrap();
    let _again = lab.guest_connects();
    assert!(!lab.vsock.host.is_holding_back());
    assert_eq!(lab.vsock.stats().connections, 1);
}

#[test]
fn packets_that_make_no_sense_are_reset_and_those_of_others_ignored() {
    let mut lab = Lab::new();
    let sense = lab.header(CLIENT_PORT, HOST_PORT, Operation::Data);
    for header in [
        Header { kind: 2, ..sense },
        Header {
            destination: 77,
            ..sense
        },
        Header {
            operation: None,
            ..sense
        },
        Header { length: 100, ..sense },
        Header {
            operation: Some(Operation::Shutdown),
            ..sense
        },
        sense,
    ] {
        lab.send(header, b"short");
        let answer = lab.packet();
        assert_eq!(answer.operation, Some(Operation::Reset), "{header:?}");
        assert_eq!(answer.source, header.destination);
    }
    lab.send(Header { source: 99, ..sense }, &[]);
    lab.send(
        Header {
            operation: Some(Operation::Reset),
            ..sense
        },
        &[],
    );
    assert!(lab.packets().is_empty());
}

#[test]
fn a_second_request_on_a_connection_ends_it() {
    let mut lab = Lab::new();
    let mut server = lab.guest_connects();
    lab.send(lab.header(CLIENT_PORT, HOST_PORT, Operation::Request), &[]);
    assert_eq!(lab.operations(), [Operation::Reset]);
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
}

#[test]
fn there_are_places_for_so_many_and_no_more() {
    let mut lab = Lab::new();
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        clients.push(UnixStream::connect(lab.path()).unwrap());
        lab.vsock.source_ready(0);
    }
    let mut late = UnixStream::connect(lab.path()).unwrap();
    lab.vsock.source_ready(0);
    assert_eq!(late.read(&mut [0]).unwrap(), 0);
    assert_eq!(lab.vsock.stats().connections, CONNECTIONS_MAX);
    lab.send(lab.header(CLIENT_PORT, HOST_PORT, Operation::Request), &[]);
    assert_eq!(lab.operations(), [Operation::Reset]);

    clients.pop();
    lab.vsock.source_ready(0);
    assert_eq!(lab.vsock.stats().connections, CONNECTIONS_MAX - 1);
}

#[test]
fn one_that_the_guest_has_forgotten_gives_way() {
    let mut lab = Lab::new();
    let (_slow, _) = guest_that_left(&mut lab);
    let mut clients = Vec::new();
    for _ in 1..CONNECTIONS_MAX {
        clients.push(UnixStream::connect(lab.path()).unwrap());
        lab.vsock.source_ready(0);
    }
    assert_eq!(lab.vsock.stats().connections, CONNECTIONS_MAX);
    assert!(lab.vsock.host.is_holding_back());
    clients.push(UnixStream::connect(lab.path()).unwrap());
    lab.vsock.source_ready(0);
    assert_eq!(lab.vsock.stats().connections, CONNECTIONS_MAX);
    assert!(!lab.vsock.host.is_holding_back());
    assert_eq!(lab.vsock.stats().refused, 0);
}

#[test]
fn buffers_of_no_use_lose_no_data() {
    let mut lab = Lab::inactive();
    lab.vsock.activate(lab.driver.activation(0)).unwrap();
    let mut client = UnixStream::connect(lab.path()).unwrap();
    client.write_all(b"CONNECT 52\n").unwrap();
    lab.driver.offer(RECEIVE, &[Piece::write(0, 44)]);
    lab.driver.offer(RECEIVE, &[Piece::write(1 << 40, 4096)]);
    lab.driver.offer(RECEIVE, &[Piece::read(0, 4096)]);
    lab.vsock.source_ready(0);
    assert!(lab.driver.used(RECEIVE).iter().all(|(_, length)| *length == 0));
    let buffer = lab.driver.room(64);
    lab.driver.offer(RECEIVE, &[Piece::write(buffer, 64)]);
    lab.vsock.queue_ready(RECEIVE);
    assert_eq!(lab.driver.used(RECEIVE)[0].1, 44);
    let request = Header::parse(lab.driver.bytes(buffer, HEADER_BYTES).first_chunk().unwrap());
    lab.send(
        lab.header(GUEST_PORT, request.source_port, Operation::Response),
        &[],
    );

    client.write_all(b"kept").unwrap();
    let room = lab.driver.room(64);
    // Its header has a place, its data has not.
    lab.driver
        .offer(RECEIVE, &[Piece::write(room, 44), Piece::write(1 << 40, 64)]);
    let head = lab.driver.offer(RECEIVE, &[Piece::write(room, 64)]);
    lab.vsock.source_ready(0);
    let used = lab.driver.used(RECEIVE);
    assert_eq!((used[0].1, used[1]), (0, (head, 48)));
    assert_eq!(lab.driver.bytes(room + 44, 4), b"kept");
}

#[test]
fn who_connects_before_the_driver_is_ready_waits_for_it() {
    let mut lab = Lab::inactive();
    let mut client = UnixStream::connect(lab.path()).unwrap();
    client.write_all(b"CONNECT 52\n").unwrap();
    lab.vsock.source_ready(0);
    lab.vsock.activate(lab.driver.activation(0)).unwrap();
    lab.offer_buffer();
    assert_eq!(lab.operations(), [Operation::Request]);
}

#[test]
fn while_paused_nothing_moves_and_afterwards_all_does() {
    let mut lab = Lab::new();
    let (mut client, _) = lab.host_connects();
    lab.vsock.pause();
    client.write_all(b"later").unwrap();
    assert!(lab.packets().is_empty());
    lab.vsock.resume();
    assert_eq!(lab.packets()[0].1, b"later");
}

#[test]
fn after_a_restore_the_guest_learns_that_its_connections_are_gone() {
    let mut lab = Lab::new();
    let (_client, port) = lab.host_connects();
    lab.vsock.pause();
    let state = lab.vsock.save().unwrap();

    let other = Lab::inactive();
    lab.vsock = other.vsock;
    lab.folder = other.folder;
    lab.vsock.restore(&state).unwrap();
    assert!(lab.vsock.restore(b"nonsense").is_err());
    lab.vsock.activate(lab.driver.activation(0)).unwrap();
    let event = lab.driver.place(&[0xff; 4]);
    let head = lab.driver.offer(EVENTS, &[Piece::write(event, 4)]);
    lab.vsock.queue_ready(EVENTS);
    assert_eq!(lab.driver.used(EVENTS), [(head, 4)]);
    assert_eq!(lab.driver.bytes(event, 4), TRANSPORT_RESET);
    lab.driver.offer(EVENTS, &[Piece::write(event, 4)]);
    lab.vsock.queue_ready(EVENTS);
    assert!(lab.driver.used(EVENTS).is_empty(), "once");

    lab.send_data(GUEST_PORT, port, b"into the void");
    assert_eq!(lab.operations(), [Operation::Reset]);
}

#[test]
fn a_reset_of_the_device_ends_all_connections() {
    let mut lab = Lab::new();
    let (mut client, _) = lab.host_connects();
    lab.vsock.reset();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    assert_eq!(lab.vsock.stats().connections, 0);
    lab.vsock.queue_ready(TRANSMIT);
    lab.vsock.source_ready(0);
}

#[test]
fn a_host_that_does_not_read_stops_its_own_connection_and_no_other() {
    let mut lab = Lab::new();
    let (slow, slow_port) = lab.host_connects();
    let (mut quick, quick_port) = lab.host_connects();
    slow.set_nonblocking(true).unwrap();
    let piece = vec![1; 32 << 10];
    while !lab.vsock.host.is_holding_back() {
        lab.send_data(GUEST_PORT, slow_port, &piece);
    }
    lab.send_data(GUEST_PORT, quick_port, b"through");
    let mut seen = [0; 7];
    quick.read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"through");

    // As it reads, the rest comes.
    let mut slow = slow;
    let mut bytes = vec![0; 1 << 20];
    while lab.vsock.host.is_holding_back() {
        let got = slow.read(&mut bytes);
        assert!(got.is_ok() || got.is_err_and(|err| err.kind() == ErrorKind::WouldBlock));
        lab.vsock.source_ready(0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn no_driver_does_harm(data in prop::collection::vec(any::<u8>(), 0..600)) {
        super::fuzz::fuzz(&data);
    }
}
