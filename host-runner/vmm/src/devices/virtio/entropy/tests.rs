use proptest::prelude::*;

use super::super::testing::{Driver, Piece};
use super::*;

fn active() -> (Driver, Entropy) {
    let driver = Driver::new(&[QUEUE_SIZE]);
    let mut entropy = Entropy::new().unwrap();
    entropy.activate(driver.activation(0)).unwrap();
    (driver, entropy)
}

/// How many bytes each request got that went back since the last call.
fn lengths(driver: &mut Driver) -> Vec<u32> {
    driver.used(0).iter().map(|(_, length)| *length).collect()
}

#[test]
fn a_request_is_filled_and_no_two_are_alike() {
    let (mut driver, mut entropy) = active();
    let rooms = [driver.room(64), driver.room(64)];
    for room in rooms {
        driver.offer(0, &[Piece::write(room, 40), Piece::write(room + 40, 24)]);
    }
    entropy.queue_ready(0);
    assert_eq!(lengths(&mut driver), [64, 64]);
    let [first, second] = rooms.map(|room| driver.bytes(room, 64));
    assert_ne!(first, second);
    assert_ne!(first, [0; 64]);
    assert_eq!(entropy.given_bytes(), 128);
}

#[test]
fn a_request_is_bounded() {
    let (mut driver, mut entropy) = active();
    let room = driver.room(1 << 20);
    driver.offer(0, &[Piece::write(room, 1 << 20)]);
    entropy.queue_ready(0);
    assert_eq!(driver.used(0)[0].1, 64 << 10);
    assert_eq!(driver.bytes(room + (64 << 10), 1024), [0; 1024]);
}

#[test]
fn who_asks_for_too_much_waits_and_is_woken() {
    let (mut driver, mut entropy) = active();
    let room = driver.room(64 << 10);
    for _ in 0..32 {
        driver.offer(0, &[Piece::write(room, 64 << 10)]);
    }
    entropy.queue_ready(0);
    let served = driver.used(0).len();
    assert!((16..32).contains(&served), "the burst: {served}");

    let source = entropy.sources()[0];
    let epoll = vmm_sys_util::epoll::Epoll::new().unwrap();
    let event = vmm_sys_util::epoll::EpollEvent::new(vmm_sys_util::epoll::EventSet::IN, 0);
    epoll
        .ctl(
            vmm_sys_util::epoll::ControlOperation::Add,
            source.descriptor,
            event,
        )
        .unwrap();
    assert_eq!(epoll.wait(10_000, &mut [event]).unwrap(), 1);
    entropy.source_ready(source.token);
    assert!(!driver.used(0).is_empty(), "tokens came back");
}

#[test]
fn buffers_beyond_memory_or_for_reading_get_nothing() {
    let (mut driver, mut entropy) = active();
    driver.offer(0, &[Piece::write(1 << 40, 64)]);
    driver.offer(0, &[Piece::read(0, 64)]);
    entropy.queue_ready(0);
    assert_eq!(lengths(&mut driver), [0, 0]);
}

#[test]
fn while_paused_requests_wait() {
    let (mut driver, mut entropy) = active();
    entropy.pause();
    let room = driver.room(16);
    driver.offer(0, &[Piece::write(room, 16)]);
    entropy.queue_ready(0);
    assert!(driver.used(0).is_empty());

    let state = entropy.save().unwrap();
    let mut other = Entropy::new().unwrap();
    other.restore(&state).unwrap();
    assert!(other.restore(&[1]).is_err());
    other.activate(driver.activation(0)).unwrap();
    assert_eq!(driver.used(0).len(), 1);
}

#[test]
fn after_a_reset_the_queue_is_left_alone() {
    let (mut driver, mut entropy) = active();
    entropy.reset();
    let room = driver.room(16);
    driver.offer(0, &[Piece::write(room, 16)]);
    entropy.queue_ready(0);
    assert!(driver.used(0).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn no_driver_does_harm(data in prop::collection::vec(any::<u8>(), 0..600)) {
        super::fuzz::fuzz(&data);
    }
}
