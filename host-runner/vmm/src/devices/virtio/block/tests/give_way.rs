//! Giving way to the driver: when it pays, and what comes of it.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use vm_memory::{Bytes as _, GuestAddress};

use super::guest::*;
use crate::devices::virtio::VirtioDevice as _;
use crate::devices::virtio::block::give_way::{GiveWay, Host};
use crate::devices::virtio::testing::Driver;

const fn us(microseconds: u64) -> Duration {
    Duration::from_micros(microseconds)
}

/// A guest as the disk sees it: how long a turn takes, and what comes when it is given way.
#[derive(Clone, Copy)]
struct Load {
    /// A turn with a single request.
    alone: Duration,
    /// A turn that gives way, and how many requests come meanwhile.
    crowd: Duration,
    added: u32,
    /// How long the guest does nothing with the disk after each turn.
    pause: Duration,
}

/// 16 requests at a time, from a vCPU that has the processor together with the disk.
const DEEP: Load = Load {
    alone: us(20),
    crowd: us(80),
    added: 15,
    pause: us(0),
};

/// A host on which the turns happen.
struct Turns {
    give_way: GiveWay,
    now: Instant,
}

impl Turns {
    fn new() -> Self {
        Self {
            give_way: GiveWay::default(),
            now: Instant::now(),
        }
    }

    /// So many turns of a guest: in how many of them it was given way.
    fn of(&mut self, load: Load, turns: u32) -> u32 {
        (0..turns)
            .filter(|_| {
                let gives_way = self.give_way.begin(self.now, 1);
                if gives_way {
                    self.give_way.added(load.added);
                }
                self.now += load.pause + if gives_way { load.crowd } else { load.alone };
                gives_way
            })
            .count()
            .try_into()
            .unwrap()
    }
}

#[test]
fn requests_that_come_faster_in_crowds_are_always_waited_for() {
    let mut turns = Turns::new();
    assert!(turns.of(DEEP, 100) > 50);
    assert_eq!(turns.of(DEEP, 100), 100);
}

#[test]
fn a_driver_that_has_one_request_is_hardly_ever_given_way() {
    let single = Load { added: 0, ..DEEP };
    assert!(Turns::new().of(single, 10_000) < 20);
}

#[test]
fn a_guest_that_keeps_the_processor_for_itself_is_hardly_ever_given_way() {
    let busy = Load {
        crowd: us(4_000),
        ..DEEP
    };
    assert!(Turns::new().of(busy, 10_000) < 20);
}

#[test]
fn what_has_paid_is_given_up_soon_when_it_pays_no_more_and_found_again() {
    let mut turns = Turns::new();
    assert!(turns.of(DEEP, 200) > 100);
    let single = Load { added: 0, ..DEEP };
    assert!(turns.of(single, 100) < 10);
    assert!(turns.of(DEEP, 2_000) > 500);
}

#[test]
fn what_a_guest_does_between_its_requests_tells_nothing_of_them() {
    let rare = Load {
        pause: us(30_000),
        ..DEEP
    };
    assert_eq!(Turns::new().of(rare, 10_000), 0);
}

#[test]
fn it_waits_for_the_driver_half_as_long_as_a_request_takes_and_never_long() {
    let mut turns = Turns::new();
    assert_eq!(turns.give_way.patience(), us(0));
    turns.of(DEEP, 3);
    assert_eq!(turns.give_way.patience(), us(10));
    let slow = Load {
        alone: us(15_000),
        added: 0,
        ..DEEP
    };
    turns.of(slow, 1_000);
    assert_eq!(turns.give_way.patience(), us(500));
}

thread_local! {
    static PASSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static BEGAN: Instant = Instant::now();
}

/// A clock on which ten microseconds pass from one look to the next.
fn now() -> Instant {
    PASSED.set(PASSED.get() + us(10));
    BEGAN.with(|began| *began + PASSED.get())
}

#[test]
fn a_request_is_answered_although_nothing_comes_while_it_is_given_way() {
    let file = numbered(64);
    let mut guest = Guest::new(open(&config(&file)));
    let ways_given = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&ways_given);
    guest.disk.host = Host {
        now,
        give_way: Box::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        }),
    };
    for _ in 0..100 {
        assert_eq!(guest.run(IN, 3, &[], 512), (OK, 513, sector_of(3)));
    }
    // Tried after 16 requests, 32 more, and so on; each time until the driver's time is over, which is before the second look here.
    assert_eq!(ways_given.load(Ordering::Relaxed), 2);
}

#[test]
fn a_driver_that_adds_without_end_keeps_the_devices_thread_for_a_turn() {
    let file = numbered(64);
    let mut guest = Guest::new(open(&config(&file)));
    let memory = guest.driver.memory().clone();
    let [_, available, _] = Driver::rings(0);
    let ways_given = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&ways_given);
    guest.disk.host = Host {
        now,
        // The same request again and again: one that is answered at once, and takes no slot.
        give_way: Box::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            let index = GuestAddress(available + 2);
            let shown: u16 = memory.read_obj(index).unwrap();
            memory.write_obj(shown.wrapping_add(1), index).unwrap();
        }),
    };
    guest.prepare(0, GET_ID, 0, &[], 20);
    for shown in 1..100 {
        guest.driver.set_available_index(0, shown);
        guest.disk.queue_ready(0);
        let ways_given = ways_given.load(Ordering::Relaxed);
        if ways_given > 0 {
            // A turn of the disk is 256 requests.
            assert_eq!(ways_given, 256);
            return;
        }
    }
    panic!("it never gave way");
}

#[test]
fn what_comes_while_it_is_given_way_is_taken_along_without_a_kick() {
    let file = numbered(64);
    let mut guest = Guest::new(open(&config(&file)));
    let memory = guest.driver.memory().clone();
    let [_, available, _] = Driver::rings(0);
    let ways_given = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&ways_given);
    guest.disk.host = Host {
        now,
        // Meanwhile the driver shows one request more.
        give_way: Box::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            let index = GuestAddress(available + 2);
            let shown: u16 = memory.read_obj(index).unwrap();
            memory.write_obj(shown + 1, index).unwrap();
        }),
    };
    let mut next = guest.prepare(0, IN, 3, &[], 512);
    for shown in 1..100 {
        let after = guest.prepare(0, IN, 3, &[], 512);
        guest.driver.set_available_index(0, shown);
        guest.disk.queue_ready(0);
        let added = ways_given.load(Ordering::Relaxed);
        guest.wait_for(0, 1 + usize::try_from(added).unwrap());
        assert_eq!((guest.status(next), guest.data(next)), (OK, sector_of(3)));
        if added > 0 {
            assert_eq!((guest.status(after), guest.data(after)), (OK, sector_of(3)));
            return;
        }
        next = after;
    }
    panic!("it never gave way");
}
