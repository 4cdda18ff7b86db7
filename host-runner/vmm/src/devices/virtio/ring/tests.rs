use std::path::Path;

use proptest::prelude::*;

use super::super::VirtioDevice;
use super::super::balloon::Balloon;
use super::super::console::Console;
use super::super::entropy::Entropy;
use super::super::testing::{Driver, Piece};
use super::super::vsock::Vsock;
use super::*;
use crate::config::{BalloonConfig, VsockConfig};
use crate::devices::hub::Hub;

/// Serves a queue on which a driver put things, and counts the chains.
fn serve(driver: &mut Driver) -> usize {
    let mut activation = driver.activation(0);
    let (memory, interrupt) = (activation.memory.clone(), Arc::clone(&activation.interrupt));
    let mut ring = Ring::take(&mut activation, 0).unwrap();
    let mut count = 0;
    ring.serve(&memory, &interrupt, |_| {
        count += 1;
        Done::Used(1)
    });
    count
}

#[test]
fn what_is_available_is_worked_on_and_given_back_with_one_interrupt() {
    let mut driver = Driver::new(&[8]);
    let address = driver.place(b"data");
    let heads: Vec<u16> = (0..3)
        .map(|_| driver.offer(0, &[Piece::read(address, 4)]))
        .collect();
    assert_eq!(serve(&mut driver), 3);
    assert_eq!(
        driver.used(0),
        heads.iter().map(|head| (*head, 1)).collect::<Vec<_>>()
    );
    assert_eq!(driver.interrupts(), 1);
}

#[test]
fn a_driver_that_wants_no_interrupts_gets_none() {
    let mut driver = Driver::new(&[8]);
    driver.want_interrupts(0, false);
    driver.offer(0, &[Piece::read(0, 4)]);
    assert_eq!(serve(&mut driver), 1);
    assert_eq!(driver.interrupts(), 0);
}

#[test]
fn what_has_to_wait_is_found_again() {
    let mut driver = Driver::new(&[8]);
    let head = driver.offer(0, &[Piece::read(0, 4)]);
    let mut activation = driver.activation(0);
    let (memory, interrupt) = (activation.memory.clone(), Arc::clone(&activation.interrupt));
    let mut ring = Ring::take(&mut activation, 0).unwrap();
    ring.serve(&memory, &interrupt, |_| Done::Later);
    assert!(driver.used(0).is_empty());
    ring.serve(&memory, &interrupt, |_| Done::Used(7));
    assert_eq!(driver.used(0), [(head, 7)]);
}

#[test]
fn a_loop_goes_back_unread() {
    let mut driver = Driver::new(&[8]);
    driver.write_descriptor(0, 3, 0, 4, 1, 4);
    driver.write_descriptor(0, 4, 0, 4, 1, 3);
    driver.offer_head(0, 3);
    assert_eq!(serve(&mut driver), 0);
    assert_eq!(driver.used(0), [(3, 0)]);
}

#[test]
fn an_available_index_from_nowhere_ends_the_work() {
    for event_index in [false, true] {
        let mut driver = Driver::new(&[8]);
        driver.use_event_index(event_index);
        driver.offer(0, &[Piece::read(0, 4)]);
        driver.set_available_index(0, 1000);
        assert_eq!(serve(&mut driver), 0);
        assert!(driver.used(0).is_empty());
    }
}

/// Each device that works on its queues as rings.
fn devices(folder: &Path) -> Vec<Box<dyn VirtioDevice>> {
    let vsock = VsockConfig {
        cid: 3,
        path: folder.join("vsock"),
    };
    vec![
        Box::new(Balloon::new(&BalloonConfig::default(), 32).unwrap()),
        Box::new(Console::new(Arc::new(Hub::quiet().unwrap()))),
        Box::new(Entropy::new().unwrap()),
        Box::new(Vsock::new(&vsock).unwrap()),
    ]
}

#[test]
fn an_available_ring_at_address_0_is_given_up_and_does_not_keep_the_device_thread() {
    let folder = tempfile::tempdir().unwrap();
    for mut device in devices(folder.path()) {
        let sizes = device.queue_sizes();
        let driver = Driver::new(&sizes);
        let mut activation = driver.activation(device.features());
        for queue in &mut activation.queues {
            queue.try_set_avail_ring_address(GuestAddress(0)).unwrap();
        }
        // Its index: there is something.
        driver.memory().write_obj(1_u16.to_le(), GuestAddress(2)).unwrap();
        device.activate(activation).unwrap();
        for queue in 0..sizes.len() {
            device.queue_ready(queue);
            assert!(!driver.is_kicked(queue), "{} {queue}", device.name());
        }
    }
}

#[test]
fn a_driver_that_adds_as_fast_as_is_given_back_has_its_turn_and_no_more() {
    // Good chains, and ones of two buffers in the wrong order.
    for (flags, done) in [([0, 0], 8), ([3, 0], 0)] {
        let mut driver = Driver::new(&[8]);
        driver.write_descriptor(0, 0, 0, 4, flags[0], 1);
        driver.write_descriptor(0, 1, 0, 4, flags[1], 0);
        driver.set_available_index(0, 1);
        let mut activation = driver.activation(0);
        // The rings lie over each other: what is given back is available once more.
        let [_, available, _] = Driver::rings(0);
        activation.queues[0]
            .try_set_used_ring_address(GuestAddress(available))
            .unwrap();
        activation.queues[0].set_next_used(1);
        let (memory, interrupt) = (activation.memory.clone(), Arc::clone(&activation.interrupt));
        let mut ring = Ring::take(&mut activation, 0).unwrap();
        let mut count = 0;
        ring.serve(&memory, &interrupt, |_| {
            count += 1;
            Done::Used(0)
        });
        assert_eq!((count, driver.is_kicked(0)), (done, true), "{flags:?}");
    }
}

#[test]
fn a_head_beyond_the_table_ends_the_work() {
    let mut driver = Driver::new(&[8]);
    driver.offer_head(0, 8);
    assert_eq!(serve(&mut driver), 0);
    assert!(driver.used(0).is_empty());
}

#[test]
fn a_chain_of_more_segments_than_anybody_needs_goes_back_unread() {
    let mut driver = Driver::new(&[256]);
    let pieces = vec![Piece::read(0, 1); SEGMENTS_MAX + 1];
    let head = driver.offer(0, &pieces);
    assert_eq!(serve(&mut driver), 0);
    assert_eq!(driver.used(0), [(head, 0)]);
    driver.offer(0, &pieces[1..]);
    assert_eq!(serve(&mut driver), 1);
}

#[test]
fn an_indirect_table_is_walked_and_one_within_another_is_not() {
    let mut driver = Driver::new(&[8]);
    driver.offer_indirect(0, &[Piece::read(0, 4), Piece::write(64, 4)]);
    assert_eq!(serve(&mut driver), 1);
    let head = driver.offer_indirect_twice(0);
    driver.used(0);
    assert_eq!(serve(&mut driver), 0);
    assert_eq!(driver.used(0), [(head, 0)]);
}

proptest! {
    #[test]
    fn segments_are_one_run_of_bytes(
        lengths in prop::collection::vec(0..40_u32, 0..8),
        skip in 0..200_u64,
        count in 0..200_usize,
    ) {
        let mut driver = Driver::new(&[8]);
        let mut all = Vec::new();
        let mut list = Vec::new();
        for length in lengths {
            let bytes: Vec<u8> = (0..length).map(|_| u8::try_from(all.len() % 256).unwrap() ^ 0x5a).collect();
            let address = driver.place(&bytes);
            all.extend_from_slice(&bytes);
            list.push(Segment { address, length });
        }
        let segments = Segments(list);
        prop_assert_eq!(segments.bytes(), all.len() as u64);
        let from = usize::try_from(skip).unwrap();
        let mut buffer = vec![0; count];
        let expected = all.get(from.min(all.len())..).unwrap().get(..count);
        let read = segments.read(driver.memory(), skip, &mut buffer);
        prop_assert_eq!(read.is_ok(), expected.is_some() || count == 0);
        if let Some(expected) = expected {
            prop_assert_eq!(&buffer, expected);
            prop_assert!(segments.write(driver.memory(), skip, &vec![0xee; count]).is_ok());
            segments.read(driver.memory(), skip, &mut buffer).unwrap();
            prop_assert_eq!(buffer, vec![0xee; count]);
        }
    }
}

#[test]
fn segments_beyond_memory_are_refused() {
    let driver = Driver::new(&[8]);
    for address in [u64::MAX, u64::MAX - 3, 1 << 40] {
        let segments = Segments(vec![Segment { address, length: 8 }]);
        assert!(segments.read(driver.memory(), 2, &mut [0; 4]).is_err());
        assert!(segments.write(driver.memory(), 2, &[0; 4]).is_err());
    }
}
