use proptest::prelude::*;
use vm_memory::bitmap::Bitmap as _;
use vm_memory::{GuestMemoryBackend as _, GuestMemoryRegion as _};

use super::super::testing::{Driver, Piece};
use super::discard::PAGE_BYTES;
use super::*;

const STATS: usize = 2;
const REPORTING: usize = 3;
const ALL: u64 = FEATURE_STATS | FEATURE_DEFLATE_ON_OOM | FEATURE_POISON | FEATURE_REPORTING;
/// A page number in the driver's memory that nothing else uses.
const PAGE: u32 = 16 << 8;
/// The size of a page.
const SIZE: u32 = 4096;

fn balloon() -> Balloon {
    Balloon::new(&BalloonConfig::default(), 32).unwrap()
}

fn active(features: u64) -> (Driver, Balloon) {
    let driver = Driver::new(&[QUEUE_SIZE; QUEUES]);
    let mut balloon = balloon();
    balloon.activate(driver.activation(features)).unwrap();
    (driver, balloon)
}

fn address(page: u32) -> u64 {
    u64::from(page) * PAGE_BYTES
}

/// Writes into pages, so that it can be seen whether they are taken.
fn fill(driver: &Driver, pages: std::ops::Range<u32>) {
    use vm_memory::{Bytes as _, GuestAddress};
    for page in pages {
        let bytes = [0xaa; SIZE as usize];
        driver
            .memory()
            .write_slice(&bytes, GuestAddress(address(page)))
            .unwrap();
    }
    driver
        .memory()
        .iter()
        .for_each(|region| (**region).bitmap().forget());
}

fn is_zero(driver: &Driver, page: u32) -> bool {
    driver
        .bytes(address(page), SIZE as usize)
        .iter()
        .all(|byte| *byte == 0)
}

fn is_dirty(driver: &Driver, page: u32) -> bool {
    let region = driver.memory().iter().next().unwrap();
    region.bitmap().dirty_at(usize::try_from(address(page)).unwrap())
}

fn allocated_bytes(driver: &Driver) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let region = driver.memory().iter().next().unwrap();
    region.file_offset().unwrap().file().metadata().unwrap().blocks() * 512
}

fn inflate_pages(driver: &mut Driver, balloon: &mut Balloon, pages: &[u32]) {
    let bytes: Vec<u8> = pages.iter().flat_map(|page| page.to_le_bytes()).collect();
    let at = driver.place(&bytes);
    driver.offer(INFLATE, &[Piece::read(at, u32::try_from(bytes.len()).unwrap())]);
    balloon.queue_ready(INFLATE);
}

#[test]
fn inflated_pages_go_to_the_host_read_as_zeroes_and_are_dirty() {
    let (mut driver, mut balloon) = active(ALL);
    fill(&driver, PAGE..PAGE + 8);
    // In the order in which an allocator gives them, one of them twice.
    inflate_pages(
        &mut driver,
        &mut balloon,
        &[PAGE + 3, PAGE + 1, PAGE + 2, PAGE + 2, PAGE + 6],
    );
    assert_eq!(driver.used(INFLATE).len(), 1);
    for page in PAGE..PAGE + 8 {
        let taken = [PAGE + 1, PAGE + 2, PAGE + 3, PAGE + 6].contains(&page);
        assert_eq!(is_zero(&driver, page), taken, "{}", page - PAGE);
        assert_eq!(is_dirty(&driver, page), taken, "{}", page - PAGE);
    }
    assert_eq!(balloon.stats().given_back_bytes, 4 * PAGE_BYTES);
}

#[test]
fn the_host_has_the_pages_back() {
    let (mut driver, mut balloon) = active(ALL);
    fill(&driver, PAGE..PAGE + 8);
    // The rings have their pages after this.
    inflate_pages(&mut driver, &mut balloon, &[PAGE]);
    let before = allocated_bytes(&driver);
    inflate_pages(&mut driver, &mut balloon, &[PAGE + 2, PAGE + 1, PAGE + 5]);
    assert_eq!(before - allocated_bytes(&driver), 3 * PAGE_BYTES);
}

#[test]
fn a_turn_makes_a_bounded_number_of_calls_and_the_rest_comes_with_the_next() {
    const CHAINS: usize = 16;
    let (mut driver, mut balloon) = active(ALL);
    fill(&driver, PAGE..PAGE + 1);
    // No two pages are neighbours: each is a system call.
    let numbers: Vec<u8> = (0..1024_u32)
        .flat_map(|at| (PAGE + 2 * at).to_le_bytes())
        .collect();
    let at = driver.place(&numbers);
    for _ in 0..CHAINS {
        driver.offer(INFLATE, &[Piece::read(at, u32::try_from(numbers.len()).unwrap())]);
    }
    balloon.queue_ready(INFLATE);
    let mut used = driver.used(INFLATE).len();
    assert!(used > 0 && used < CHAINS / 2, "{used}");
    while used < CHAINS {
        balloon.queue_ready(INFLATE);
        let more = driver.used(INFLATE).len();
        assert!(more > 0, "{used}");
        used += more;
    }
}

#[test]
fn page_numbers_beyond_memory_are_left_out() {
    let (mut driver, mut balloon) = active(ALL);
    fill(&driver, PAGE..PAGE + 1);
    inflate_pages(
        &mut driver,
        &mut balloon,
        &[u32::MAX, PAGE, 32 << 8, (32 << 8) + 1, 0x000f_ffff],
    );
    assert!(is_zero(&driver, PAGE));
    assert_eq!(balloon.stats().given_back_bytes, PAGE_BYTES);
}

#[test]
fn reported_buffers_at_the_end_of_all_addresses_are_left_out() {
    let (mut driver, mut balloon) = active(ALL);
    fill(&driver, PAGE..PAGE + 1);
    let last = u64::MAX - 2;
    driver.offer(REPORTING, &[Piece::write(last, 2), Piece::write(last, 3)]);
    balloon.queue_ready(REPORTING);
    assert_eq!(driver.used(REPORTING).len(), 1);
    assert!(!is_zero(&driver, PAGE));
    assert_eq!(balloon.stats().given_back_bytes, 0);
}

#[test]
fn of_a_chain_only_so_many_page_numbers_are_looked_at() {
    let (mut driver, mut balloon) = active(ALL);
    let last = PAGE + u32::try_from(PAGES_MAX).unwrap();
    fill(&driver, last - 1..last + 1);
    let pages: Vec<u32> = (PAGE..=last).collect();
    inflate_pages(&mut driver, &mut balloon, &pages);
    assert!(is_zero(&driver, last - 1));
    assert!(!is_zero(&driver, last));
}

#[test]
fn reported_pages_go_to_the_host_at_once() {
    let (mut driver, mut balloon) = active(ALL);
    fill(&driver, PAGE..PAGE + 4);
    // Two whole pages, and of two more only a part: those stay.
    let start = address(PAGE) + 100;
    let head = driver.offer(REPORTING, &[Piece::write(start, 3 * SIZE)]);
    balloon.queue_ready(REPORTING);
    assert_eq!(driver.used(REPORTING), [(head, 0)]);
    let taken: Vec<bool> = (PAGE..PAGE + 4).map(|page| is_zero(&driver, page)).collect();
    assert_eq!(taken, [false, true, true, false]);
}

#[test]
fn a_guest_that_reports_more_than_it_has_gets_one_turn_after_the_other() {
    const MEMORY: u64 = 32 << 20;
    let (mut driver, mut balloon) = active(ALL);
    // The upper half of the memory, again and again: each chain is 64 times the memory.
    let pieces = vec![Piece::write(address(PAGE), 16 << 20); 128];
    let heads: Vec<u16> = (0..3)
        .map(|_| driver.offer_indirect(REPORTING, &pieces))
        .collect();
    for (turn, head) in (1..).zip(heads) {
        balloon.queue_ready(REPORTING);
        assert_eq!(driver.used(REPORTING), [(head, 0)], "turn {turn}");
        assert_eq!(balloon.stats().given_back_bytes, turn * MEMORY);
        assert!(driver.is_kicked(REPORTING), "turn {turn}: the others wait");
    }
    balloon.queue_ready(REPORTING);
    assert!(!driver.is_kicked(REPORTING));
}

#[test]
fn a_guest_that_fills_free_pages_with_something_keeps_them() {
    let (mut driver, mut balloon) = active(ALL);
    balloon.write_config(CONFIG_POISON, &0xaaaa_aaaa_u32.to_le_bytes());
    fill(&driver, PAGE..PAGE + 1);
    driver.offer(REPORTING, &[Piece::write(address(PAGE), SIZE)]);
    balloon.queue_ready(REPORTING);
    assert_eq!(driver.used(REPORTING).len(), 1);
    assert!(!is_zero(&driver, PAGE));
}

#[test]
fn queues_of_features_that_were_not_accepted_take_no_number() {
    let (mut driver, mut balloon) = active(FEATURE_REPORTING);
    fill(&driver, PAGE..PAGE + 1);
    driver.offer(STATS, &[Piece::write(address(PAGE), SIZE)]);
    balloon.queue_ready(STATS);
    assert!(is_zero(&driver, PAGE));
}

#[test]
fn statistics_are_kept_by_name_and_the_buffer_goes_back_when_new_ones_are_wanted() {
    let (mut driver, mut balloon) = active(ALL);
    let mut bytes = Vec::new();
    for (tag, value) in [(4_u16, 1000_u64), (5, 2000), (999, 7)] {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(value.to_le_bytes());
    }
    let at = driver.place(&bytes);
    let head = driver.offer(STATS, &[Piece::read(at, u32::try_from(bytes.len()).unwrap())]);
    balloon.queue_ready(STATS);
    let stats = balloon.stats();
    assert_eq!(
        stats.guest,
        BTreeMap::from([("free_bytes", 1000), ("total_bytes", 2000)])
    );
    assert_eq!(stats.told, 1);
    assert!(driver.used(STATS).is_empty(), "the driver waits for a request");

    balloon.request_stats();
    assert_eq!(driver.used(STATS), [(head, 0)]);
    assert_eq!(driver.interrupts(), 1);
    balloon.request_stats();
    assert!(driver.used(STATS).is_empty(), "it has not answered yet");
}

#[test]
fn a_target_leaves_the_guest_something() {
    let mut balloon = balloon();
    assert!(balloon.set_target_mib(32).is_err());
    balloon.set_target_mib(31).unwrap();
    let mut config = [0xff; 20];
    balloon.read_config(0, &mut config[..16]);
    assert_eq!(config[..8], [0, 31, 0, 0, 0, 0, 0, 0]);
    balloon.write_config(CONFIG_ACTUAL, &512_u32.to_le_bytes());
    balloon.write_config(0, &[0xff; 4]);
    balloon.write_config(CONFIG_ACTUAL, &[1, 2]);
    assert_eq!((balloon.target_mib(), balloon.actual_mib()), (31, 2));
}

#[test]
fn a_saved_balloon_is_as_it_was_and_nonsense_is_refused() {
    let mut balloon = balloon();
    balloon.set_target_mib(10).unwrap();
    balloon.write_config(CONFIG_ACTUAL, &512_u32.to_le_bytes());
    let state = balloon.save().unwrap();
    let mut other = self::balloon();
    other.restore(&state).unwrap();
    assert_eq!(other.registers, balloon.registers);

    let mut longer = state.clone();
    longer.push(0);
    assert!(other.restore(&longer).is_err());
    assert!(other.restore(&[]).is_err());
    let mut small = Balloon::new(&BalloonConfig::default(), 8).unwrap();
    assert!(small.restore(&state).is_err());
}

#[test]
fn while_paused_nothing_is_given_back_and_afterwards_it_is() {
    let (mut driver, mut balloon) = active(ALL);
    fill(&driver, PAGE..PAGE + 1);
    balloon.pause();
    inflate_pages(&mut driver, &mut balloon, &[PAGE]);
    assert!(driver.used(INFLATE).is_empty() && !is_zero(&driver, PAGE));
    balloon.resume();
    assert!(is_zero(&driver, PAGE));
}

#[test]
fn a_reset_forgets_what_the_driver_held() {
    let (mut driver, mut balloon) = active(ALL);
    balloon.set_target_mib(10).unwrap();
    balloon.write_config(CONFIG_ACTUAL, &512_u32.to_le_bytes());
    balloon.reset();
    assert_eq!((balloon.target_mib(), balloon.actual_mib()), (10, 0));
    fill(&driver, PAGE..PAGE + 1);
    inflate_pages(&mut driver, &mut balloon, &[PAGE]);
    assert!(!is_zero(&driver, PAGE));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn no_driver_does_harm(data in prop::collection::vec(any::<u8>(), 0..600)) {
        super::fuzz::fuzz(&data);
    }
}
