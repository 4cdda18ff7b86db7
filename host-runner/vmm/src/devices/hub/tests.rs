use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use super::*;

/// A hub, and the folder of its socket.
fn hub() -> (tempfile::TempDir, Arc<Hub>, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("console");
    let hub = Arc::new(Hub::listening(&path).unwrap());
    (folder, hub, path)
}

/// Waits for the hub's descriptor as the device thread does, and lets it work. `false` when nothing comes.
fn turn(hub: &Hub) -> bool {
    let outer = Epoll::new().unwrap();
    let event = EpollEvent::new(EventSet::IN, 0);
    outer.ctl(ControlOperation::Add, hub.as_raw_fd(), event).unwrap();
    let mut events = [EpollEvent::default()];
    let ready = outer.wait(50, &mut events).unwrap() > 0;
    if ready {
        hub.serve();
    }
    ready
}

fn quiet(hub: &Hub) {
    while turn(hub) {}
}

fn read_exactly(viewer: &mut UnixStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    viewer.read_exact(&mut bytes).unwrap();
    bytes
}

fn nothing_to_read(viewer: &mut UnixStream) -> bool {
    viewer.set_nonblocking(true).unwrap();
    let found = viewer.read(&mut [0]);
    viewer.set_nonblocking(false).unwrap();
    found.is_err_and(|err| err.kind() == io::ErrorKind::WouldBlock)
}

#[test]
fn a_newcomer_is_shown_what_was_written_before_and_then_what_is_new() {
    let (_folder, hub, path) = hub();
    hub.append(b"before ");
    let mut viewer = UnixStream::connect(path).unwrap();
    assert!(turn(&hub));
    hub.append(b"after");
    quiet(&hub);
    assert_eq!(read_exactly(&mut viewer, 12), b"before after");
    assert!(nothing_to_read(&mut viewer));
}

#[test]
fn the_guest_wakes_the_device_thread_once_a_batch() {
    let (_folder, hub, path) = hub();
    let mut viewer = UnixStream::connect(path).unwrap();
    quiet(&hub);
    hub.append(b"a");
    assert!(lock(&hub.state).awake);
    assert!(turn(&hub), "the first byte after a silence wakes");
    assert!(lock(&hub.state).awake, "the timer runs: nobody has to wake");
    for byte in b"bcd" {
        hub.append(&[*byte]);
    }
    assert!(turn(&hub), "the timer brings the rest");
    assert_eq!(read_exactly(&mut viewer, 4), b"abcd");
    quiet(&hub);
    assert!(!lock(&hub.state).awake, "silence again");
}

#[test]
fn without_viewers_nobody_is_woken() {
    let (_folder, hub, _path) = hub();
    hub.append(b"to nobody");
    assert!(!turn(&hub));
    assert_eq!(hub.tail(6), b"nobody");
}

#[test]
fn a_viewer_that_does_not_read_loses_the_oldest_bytes_and_the_guest_never_waits() {
    let (_folder, hub, path) = hub();
    let mut slow = UnixStream::connect(&path).unwrap();
    let mut quick = UnixStream::connect(&path).unwrap();
    quiet(&hub);
    let line: Vec<u8> = (0..=250).cycle().take(KEPT_BYTES / 2).collect();
    let rounds = 40;
    for _ in 0..rounds {
        hub.append(&line);
        hub.serve();
        assert_eq!(read_exactly(&mut quick, line.len()), line);
    }
    hub.append(b"the end");
    // As the slow one reads, it gets what it had been sent, and then the last 64 KiB.
    let mut seen = Vec::new();
    while !seen.ends_with(b"the end") {
        hub.serve();
        let mut piece = vec![0; 1 << 16];
        let count = slow.read(&mut piece).unwrap();
        seen.extend_from_slice(&piece[..count]);
    }
    assert!(seen.len() < rounds * line.len(), "{} bytes", seen.len());
    assert!(seen.ends_with(&hub.tail(KEPT_BYTES)));
}

#[test]
fn what_viewers_type_reaches_the_guest_and_what_it_does_not_take_waits_with_them() {
    let (_folder, hub, path) = hub();
    let mut viewer = UnixStream::connect(path).unwrap();
    let typed: Vec<u8> = (0..=250).cycle().take(3 * TYPED_BYTES_MAX).collect();
    viewer.write_all(&typed).unwrap();
    quiet(&hub);
    assert!(hub.has_typed());
    assert_eq!(lock(&hub.state).typed.len(), TYPED_BYTES_MAX);

    let mut taken = Vec::new();
    let mut buffer = [0; 64];
    while taken.len() < typed.len() {
        let count = hub.take(&mut buffer);
        taken.extend_from_slice(&buffer[..count]);
        if count == 0 {
            assert!(turn(&hub), "the rest comes as soon as there is room");
        }
    }
    assert_eq!(taken, typed);
    assert_eq!(hub.stats().typed_bytes, typed.len() as u64);
}

#[test]
fn who_types_and_leaves_is_heard() {
    let (_folder, hub, path) = hub();
    hub.append(b"what it is too late to be shown");
    let mut viewer = UnixStream::connect(path).unwrap();
    viewer.write_all(b"reboot\n").unwrap();
    drop(viewer);
    quiet(&hub);
    let mut buffer = [0; 64];
    let count = hub.take(&mut buffer);
    assert_eq!(&buffer[..count], b"reboot\n");
    assert_eq!(hub.stats().viewers, 0);
}

#[test]
fn who_left_with_more_than_the_guest_takes_keeps_nobody_out() {
    let (_folder, hub, path) = hub();
    for _ in 0..VIEWERS_MAX {
        let mut viewer = UnixStream::connect(&path).unwrap();
        viewer.write_all(&[b'x'; 2 * TYPED_BYTES_MAX]).unwrap();
        quiet(&hub);
    }
    hub.append(b"to nobody");
    quiet(&hub);
    let mut late = UnixStream::connect(&path).unwrap();
    quiet(&hub);
    assert_eq!(read_exactly(&mut late, 9), b"to nobody");
}

#[test]
fn who_stops_typing_may_go_on_looking() {
    let (_folder, hub, path) = hub();
    let mut viewer = UnixStream::connect(path).unwrap();
    viewer.shutdown(std::net::Shutdown::Write).unwrap();
    quiet(&hub);
    hub.append(b"still here");
    quiet(&hub);
    assert_eq!(read_exactly(&mut viewer, 10), b"still here");
}

#[test]
fn there_are_seats_for_eight_and_a_seat_is_free_when_its_viewer_leaves() {
    let (_folder, hub, path) = hub();
    let mut seated: Vec<_> = (0..VIEWERS_MAX)
        .map(|_| UnixStream::connect(&path).unwrap())
        .collect();
    quiet(&hub);
    assert_eq!(hub.stats().viewers, VIEWERS_MAX);
    let mut late = UnixStream::connect(&path).unwrap();
    quiet(&hub);
    assert_eq!(late.read(&mut [0]).unwrap(), 0, "turned away");

    drop(seated.swap_remove(3));
    quiet(&hub);
    let mut next = UnixStream::connect(&path).unwrap();
    quiet(&hub);
    hub.append(b"x");
    quiet(&hub);
    assert_eq!(read_exactly(&mut next, 1), b"x");
    assert_eq!(hub.stats().viewers, VIEWERS_MAX);
}

#[test]
fn the_last_lines_are_text() {
    let (_folder, hub, _path) = hub();
    hub.append(b"one\r\ntwo\nthr\xffee\nfour");
    assert_eq!(hub.last_lines(2), ["thr\u{fffd}ee", "four"]);
    assert_eq!(hub.last_lines(0), Vec::<String>::new());
    assert_eq!(hub.last_lines(100).len(), 4);
}

#[test]
fn the_socket_file_goes_with_the_console() {
    let (_folder, hub, path) = hub();
    drop(hub);
    assert!(!path.exists());
}
