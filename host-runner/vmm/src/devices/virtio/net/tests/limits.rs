//! Limits that all pairs share.

use std::time::{Duration, Instant};

use super::guest::wake;
use super::many::{Many, OK, switch};
use crate::config::{BucketConfig, RateLimits};
use crate::devices::virtio::VirtioDevice as _;
use crate::devices::virtio::net::HEADER;
use crate::devices::virtio::net::device::WAKES;
use crate::devices::virtio::testing::Piece;

fn limited(bytes: Option<BucketConfig>, operations: Option<BucketConfig>) -> Many {
    let mut many = Many::with(RateLimits { bytes, operations }, switch);
    many.start();
    assert_eq!(many.set_pairs(4), OK);
    many
}

/// Puts frames into a transmit queue without a kick.
fn put(many: &mut Many, pair: usize, count: usize, length: usize) {
    let bytes = u32::try_from(HEADER + length).unwrap();
    for _ in 0..count {
        let address = many.driver.room(bytes);
        many.driver.offer(2 * pair + 1, &[Piece::read(address, bytes)]);
    }
}

#[test]
fn a_limit_is_one_for_all_pairs() {
    let three = BucketConfig {
        per_second: 1,
        burst: 3,
    };
    let mut many = limited(None, Some(three));
    for pair in 0..4 {
        put(&mut many, pair, 2, 60);
        many.network.queue_ready(2 * pair + 1);
        for _ in 0..2 {
            many.peers[pair].send(&[7; HEADER + 60]).unwrap();
        }
    }
    many.network.source_ready(WAKES);
    assert_eq!(many.network.stats().sent.frames, 3);
    // What is received is paid for when the next frame is wanted: one for each pair that has had one.
    let received = many.network.stats().received.frames;
    assert!((4..=7).contains(&received), "{received}");
}

/// Sends by all pairs at once, and lets the device be woken until `enough`. How many frames each has sent then.
fn race(many: &mut Many, enough: impl Fn(&[u64]) -> bool) -> Vec<u64> {
    for pair in 0..4 {
        many.network.queue_ready(2 * pair + 1);
    }
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let each = many.network.stats().queue_pairs.each;
        let sent: Vec<u64> = each.iter().map(|pair| pair.sent.frames).collect();
        if enough(&sent) {
            return sent;
        }
        assert!(Instant::now() < end, "{sent:?}");
        for pair in 0..4 {
            while many.sent(pair).is_some() {}
        }
        wake(&mut many.network);
    }
}

#[test]
fn pairs_take_turns_at_a_limit() {
    let few = BucketConfig {
        per_second: 200,
        burst: 1,
    };
    let mut many = limited(None, Some(few));
    for pair in 0..4 {
        put(&mut many, pair, 15, 60);
    }
    let sent = race(&mut many, |sent| sent.iter().sum::<u64>() >= 24);
    assert!(sent.iter().all(|frames| (5..=7).contains(frames)), "{sent:?}");
}

#[test]
fn small_frames_of_one_pair_do_not_keep_large_ones_of_another_from_their_tokens() {
    let narrow = BucketConfig {
        per_second: 50_000,
        burst: 1500,
    };
    let mut many = limited(Some(narrow), None);
    put(&mut many, 0, 15, 1500);
    put(&mut many, 1, 15, 60);
    let sent = race(&mut many, |sent| sent[0] >= 4);
    assert!(sent[1] >= 2, "and the other way round: {sent:?}");
}

#[test]
fn a_pair_that_is_switched_off_while_it_waits_does_not_hold_up_the_others() {
    let few = BucketConfig {
        per_second: 100,
        burst: 1,
    };
    let mut many = limited(None, Some(few));
    for pair in [3, 0] {
        put(&mut many, pair, 2, 60);
        many.network.queue_ready(2 * pair + 1);
    }
    assert_eq!(many.set_pairs(1), OK);
    let sent = race(&mut many, |sent| sent[0] == 2);
    assert!(sent[3] < 2, "{sent:?}");
}
