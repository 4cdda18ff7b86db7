use super::*;
use crate::devices::virtio::entropy::Entropy;
use crate::devices::virtio::testing::{Driver, Piece};

const BASE: MmioAddress = MmioAddress(0xd000_0000);
const QUEUE_SIZE: u16 = 64;
const READY: u32 = VIRTIO_CONFIG_S_ACKNOWLEDGE
    | VIRTIO_CONFIG_S_DRIVER
    | VIRTIO_CONFIG_S_FEATURES_OK
    | VIRTIO_CONFIG_S_DRIVER_OK;

fn transport(driver: &Driver) -> Transport {
    let device = Arc::new(Mutex::new(Entropy::new().unwrap()));
    let line = EventFd::new(EFD_NONBLOCK).unwrap();
    Transport::new(device, driver.memory().clone(), line).unwrap()
}

fn read(transport: &Transport, offset: u32) -> u32 {
    let mut bytes = [0; 4];
    transport.mmio_read(BASE, offset.into(), &mut bytes);
    u32::from_le_bytes(bytes)
}

fn write(transport: &Transport, offset: u32, value: u32) {
    transport.mmio_write(BASE, offset.into(), &value.to_le_bytes());
}

/// Does what a driver does, with the descriptors of its queue at `descriptors`.
fn set_up(transport: &Transport, descriptors: u64) {
    let [_, available, used] = Driver::rings(0);
    write(transport, register::VIRTIO_MMIO_STATUS, 0);
    write(transport, register::VIRTIO_MMIO_STATUS, 3);
    write(transport, register::VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    write(transport, register::VIRTIO_MMIO_DRIVER_FEATURES, 1);
    write(transport, register::VIRTIO_MMIO_STATUS, 11);
    write(transport, register::VIRTIO_MMIO_QUEUE_NUM, QUEUE_SIZE.into());
    let low = |address: u64| u32::try_from(address & u64::from(u32::MAX)).unwrap();
    let high = |address: u64| u32::try_from(address >> 32).unwrap();
    write(transport, register::VIRTIO_MMIO_QUEUE_DESC_LOW, low(descriptors));
    write(
        transport,
        register::VIRTIO_MMIO_QUEUE_DESC_HIGH,
        high(descriptors),
    );
    write(transport, register::VIRTIO_MMIO_QUEUE_AVAIL_LOW, low(available));
    write(transport, register::VIRTIO_MMIO_QUEUE_USED_LOW, low(used));
    write(transport, register::VIRTIO_MMIO_QUEUE_READY, 1);
    write(transport, register::VIRTIO_MMIO_STATUS, READY);
}

fn ask(driver: &mut Driver, transport: &Transport) -> usize {
    let room = driver.room(16);
    driver.offer(0, &[Piece::write(room, 16)]);
    lock(&**transport.device()).queue_ready(0);
    driver.used(0).len()
}

#[test]
fn a_driver_that_follows_the_steps_is_served() {
    let mut driver = Driver::new(&[QUEUE_SIZE]);
    let transport = transport(&driver);
    assert_eq!(read(&transport, register::VIRTIO_MMIO_MAGIC_VALUE), MAGIC);
    set_up(&transport, Driver::rings(0)[0]);
    assert_eq!(read(&transport, register::VIRTIO_MMIO_STATUS), READY);
    assert_eq!(ask(&mut driver, &transport), 1);
}

#[test]
fn a_queue_beyond_memory_makes_the_device_ask_for_a_reset_after_which_it_serves() {
    let mut driver = Driver::new(&[QUEUE_SIZE]);
    let transport = transport(&driver);
    for address in [1 << 40, u64::MAX - 15, 0xa_0000_0000] {
        set_up(&transport, address);
        let needs_reset = READY | VIRTIO_CONFIG_S_NEEDS_RESET;
        assert_eq!(read(&transport, register::VIRTIO_MMIO_STATUS), needs_reset);
        assert_eq!(ask(&mut driver, &transport), 0);
        driver.begin_again();
    }
    set_up(&transport, Driver::rings(0)[0]);
    assert_eq!(ask(&mut driver, &transport), 1);
}

#[test]
fn sizes_and_queues_that_do_not_exist_change_nothing() {
    let driver = Driver::new(&[QUEUE_SIZE]);
    let transport = transport(&driver);
    write(&transport, register::VIRTIO_MMIO_STATUS, 3);
    write(&transport, register::VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    write(&transport, register::VIRTIO_MMIO_DRIVER_FEATURES, 1);
    write(&transport, register::VIRTIO_MMIO_STATUS, 11);
    for size in [0, 3, 65535, 65536, u32::MAX] {
        write(&transport, register::VIRTIO_MMIO_QUEUE_NUM, size);
        assert_eq!(lock(&transport.setup).queues[0].size(), QUEUE_SIZE, "{size}");
    }
    write(&transport, register::VIRTIO_MMIO_QUEUE_SEL, u32::MAX);
    assert_eq!(read(&transport, register::VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
    write(&transport, register::VIRTIO_MMIO_QUEUE_READY, 1);
    assert!(!lock(&transport.setup).queues[0].ready());
}

#[test]
fn a_device_goes_on_where_it_was_saved() {
    let mut driver = Driver::new(&[QUEUE_SIZE]);
    let first = transport(&driver);
    set_up(&first, Driver::rings(0)[0]);
    assert_eq!(ask(&mut driver, &first), 1);
    first.pause();
    let state = first.save().unwrap();

    let second = transport(&driver);
    second.restore(&state).unwrap();
    second.resume();
    assert_eq!(ask(&mut driver, &second), 1);
}

#[test]
fn a_device_that_has_more_queues_here_goes_on_with_those_that_it_had() {
    let driver = Driver::new(&[QUEUE_SIZE]);
    let first = transport(&driver);
    set_up(&first, Driver::rings(0)[0]);
    first.pause();
    let mut state = first.save().unwrap();
    state.queues.clear();
    let second = transport(&driver);
    second.restore(&state).unwrap();
    assert!(!lock(&second.setup).queues[0].ready());

    let mut state = first.save().unwrap();
    state.queues.push(state.queues[0].clone());
    let refused = transport(&driver).restore(&state).unwrap_err().to_string();
    assert!(
        refused.contains("has more queues than there are here"),
        "{refused}"
    );
}

#[test]
fn a_device_that_asked_for_a_reset_is_saved_and_still_asks() {
    let driver = Driver::new(&[QUEUE_SIZE]);
    let first = transport(&driver);
    set_up(&first, 1 << 40);
    first.pause();
    let state = first.save().unwrap();

    let second = transport(&driver);
    second.restore(&state).unwrap();
    second.resume();
    let status = read(&second, register::VIRTIO_MMIO_STATUS);
    assert_eq!(status, READY | VIRTIO_CONFIG_S_NEEDS_RESET);
    set_up(&second, Driver::rings(0)[0]);
    assert_eq!(read(&second, register::VIRTIO_MMIO_STATUS), READY);
}
