//! Requests that make sense.

use super::guest::*;

#[test]
fn a_read_brings_what_is_in_the_file() {
    let file = numbered(64);
    let mut guest = Guest::new(open(&config(&file)));
    let (status, written, data) = guest.run(IN, 7, &[], 1024);
    assert_eq!((status, written), (OK, 1025));
    assert_eq!(data, [sector_of(7), sector_of(8)].concat());
    assert_eq!(guest.disk.stats().reads, 1);
    assert_eq!(guest.disk.stats().read_bytes, 1024);
}

#[test]
fn a_write_reaches_the_file() {
    let file = numbered(64);
    let mut guest = Guest::new(open(&config(&file)));
    let (status, written, _) = guest.run(OUT, 3, &[0x5a; 1024], 0);
    assert_eq!((status, written), (OK, 1));
    assert_eq!(in_file(&file, 3, 2), [0x5a; 1024]);
    assert_eq!(in_file(&file, 2, 1), sector_of(2));
    assert_eq!(in_file(&file, 5, 1), sector_of(5));
    assert_eq!(guest.run(FLUSH, 0, &[], 0).0, OK);
    assert_eq!(guest.disk.stats().flushes, 1);
}
