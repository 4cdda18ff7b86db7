use std::io::Write as _;
use std::os::unix::net::UnixStream;

use proptest::prelude::*;

use super::super::testing::{Driver, Piece};
use super::*;

struct Lab {
    _folder: tempfile::TempDir,
    console: Console,
    driver: Driver,
    viewer: UnixStream,
}

fn lab() -> Lab {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("console");
    let console = Console::new(Arc::new(Hub::listening(&path).unwrap()));
    let viewer = UnixStream::connect(path).unwrap();
    Lab {
        _folder: folder,
        console,
        driver: Driver::new(&[QUEUE_SIZE; 2]),
        viewer,
    }
}

impl Lab {
    fn active() -> Self {
        let mut lab = lab();
        lab.console.activate(lab.driver.activation(0)).unwrap();
        lab
    }

    fn write(&mut self, bytes: &[u8]) {
        let address = self.driver.place(bytes);
        let length = u32::try_from(bytes.len()).unwrap();
        self.driver.offer(TRANSMIT, &[Piece::read(address, length)]);
    }
}

#[test]
fn what_the_guest_writes_is_shown() {
    let mut lab = Lab::active();
    lab.write(b"hello ");
    lab.write(b"world");
    lab.console.queue_ready(TRANSMIT);
    assert_eq!(lab.driver.used(TRANSMIT).len(), 2);
    assert_eq!(lab.console.hub().tail(100), b"hello world");
}

#[test]
fn a_viewer_that_reads_sees_all_of_a_flood() {
    let mut lab = Lab::active();
    lab.console.source_ready(0);
    let flood: Vec<u8> = (0..=250).cycle().take(2 * KEPT_BYTES).collect();
    let reader = {
        let mut viewer = lab.viewer.try_clone().unwrap();
        let length = flood.len();
        std::thread::spawn(move || {
            let mut seen = vec![0; length];
            std::io::Read::read_exact(&mut viewer, &mut seen).unwrap();
            seen
        })
    };
    for piece in flood.chunks(4096) {
        lab.write(piece);
        lab.console.queue_ready(TRANSMIT);
        lab.console.hub().serve();
    }
    assert_eq!(reader.join().unwrap(), flood);
}

#[test]
fn what_is_typed_waits_for_the_guests_buffers() {
    let mut lab = Lab::active();
    lab.viewer.write_all(b"root\n").unwrap();
    lab.console.source_ready(0);
    assert!(lab.driver.used(RECEIVE).is_empty());

    let (first, second) = (lab.driver.room(3), lab.driver.room(64));
    let heads = [
        lab.driver.offer(RECEIVE, &[Piece::write(first, 3)]),
        lab.driver.offer(RECEIVE, &[Piece::write(second, 64)]),
    ];
    lab.console.queue_ready(RECEIVE);
    assert_eq!(lab.driver.used(RECEIVE), [(heads[0], 3), (heads[1], 2)]);
    assert_eq!(lab.driver.bytes(first, 3), b"roo");
    assert_eq!(lab.driver.bytes(second, 2), b"t\n");
}

#[test]
fn a_chain_beyond_memory_goes_back_and_the_next_one_is_shown() {
    let mut lab = Lab::active();
    lab.driver.offer(TRANSMIT, &[Piece::read(1 << 40, 4)]);
    lab.driver.offer(TRANSMIT, &[Piece::read(u64::MAX, u32::MAX)]);
    lab.write(b"still here");
    lab.console.queue_ready(TRANSMIT);
    assert_eq!(lab.driver.used(TRANSMIT).len(), 3);
    assert_eq!(lab.console.hub().tail(100), b"still here");
}

#[test]
fn of_a_chain_of_gigabytes_only_the_beginning_is_looked_at() {
    let mut lab = Lab::active();
    let pieces = vec![Piece::read(0, 16 << 20); 32];
    lab.driver.offer(TRANSMIT, &pieces);
    lab.console.queue_ready(TRANSMIT);
    assert_eq!(lab.console.hub().stats().written_bytes, CHAIN_BYTES_MAX);
}

#[test]
fn while_paused_nothing_moves_and_afterwards_all_does() {
    let mut lab = Lab::active();
    lab.console.pause();
    lab.write(b"later");
    lab.viewer.write_all(b"x").unwrap();
    let room = lab.driver.room(8);
    lab.driver.offer(RECEIVE, &[Piece::write(room, 8)]);
    for queue in [RECEIVE, TRANSMIT] {
        lab.console.queue_ready(queue);
    }
    lab.console.source_ready(0);
    assert!(lab.driver.used(TRANSMIT).is_empty() && lab.driver.used(RECEIVE).is_empty());

    lab.console.resume();
    assert_eq!(lab.driver.used(TRANSMIT).len(), 1);
    assert_eq!(lab.driver.used(RECEIVE).len(), 1);
}

#[test]
fn a_saved_console_goes_on_where_its_queues_were() {
    let mut lab = Lab::active();
    lab.write(b"before ");
    lab.console.queue_ready(TRANSMIT);
    lab.driver.used(TRANSMIT);
    lab.console.pause();
    lab.write(b"after");
    let state = lab.console.save().unwrap();

    let mut other = self::lab();
    other.console.restore(&state).unwrap();
    other.console.activate(lab.driver.activation(0)).unwrap();
    assert_eq!(other.console.hub().tail(100), b"after");
    assert!(other.console.restore(b"nonsense").is_err());
}

#[test]
fn after_a_reset_the_queues_are_left_alone() {
    let mut lab = Lab::active();
    lab.console.reset();
    lab.write(b"nobody looks");
    lab.console.queue_ready(TRANSMIT);
    assert!(lab.driver.used(TRANSMIT).is_empty());
    assert!(lab.console.queues().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn no_driver_does_harm(data in prop::collection::vec(any::<u8>(), 0..600)) {
        super::fuzz::fuzz(&data);
    }
}
