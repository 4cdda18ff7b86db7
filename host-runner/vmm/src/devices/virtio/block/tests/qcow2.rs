//! Images and what is behind them.

use std::error::Error as _;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::guest::*;
use super::images;
use crate::config::{DiskConfig, DiskFormat};
use crate::devices::virtio::block::fuzz::fuzz_qcow2;
use crate::devices::virtio::block::{Block, GrowError, OpenDiskError, Qcow2Error};

const BYTES: u64 = 1 << 20;

fn config(path: &Path) -> DiskConfig {
    DiskConfig {
        path: path.into(),
        format: DiskFormat::Qcow2,
        ..config_of("root")
    }
}

fn refused(path: &Path) -> Qcow2Error {
    match Block::open(&config(path), 1, || {}) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(OpenDiskError::Qcow2 { err, .. }) => err,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn an_overlay_takes_the_writes_and_its_base_stays_as_it_was() {
    let files = TempDir::new().unwrap();
    let base = files.path().join("base");
    let bytes: Vec<u8> = (0..2048).flat_map(sector_of).collect();
    std::fs::write(&base, &bytes).unwrap();
    let disk = files.path().join("disk");
    images::overlay(&disk, BYTES, "base", "raw");
    let mut guest = Guest::new(open(&config(&disk)));
    assert_eq!(guest.run(IN, 1000, &[], 512).2, sector_of(1000));
    assert_eq!(guest.run(OUT, 1000, &[0xee; 512], 0).0, OK);
    assert_eq!(guest.run(WRITE_ZEROES, 0, &range(0, 500, 1), 0).0, OK);
    assert_eq!(guest.run(FLUSH, 0, &[], 0).0, OK);
    assert_eq!(guest.run(IN, 1000, &[], 512).2, [0xee; 512]);
    assert_eq!(guest.run(IN, 1001, &[], 512).2, sector_of(1001));
    assert!(std::fs::read(&base).unwrap() == bytes);
}

/// What a file takes on its disk, in bytes.
fn taken(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).unwrap().blocks() * 512
}

#[test]
fn a_large_disk_takes_no_more_room_than_a_small_one() {
    const LARGE: u64 = 1 << 40;
    let files = TempDir::new().unwrap();
    let (empty, overlay) = (files.path().join("empty"), files.path().join("overlay"));
    images::empty(&empty, BYTES - 512);
    // What the disk is made over goes on for a while where the disk ends.
    std::fs::write(files.path().join("base"), vec![0xbb; 2 << 20]).unwrap();
    images::overlay(&overlay, BYTES - 512, "base", "raw");
    for path in [empty, overlay] {
        let mut guest = Guest::new(open(&config(&path)));
        guest.disk.grow(LARGE).unwrap();
        let (end, sector) = (LARGE / 512 - 1, BYTES / 512);
        for sector in [sector - 1, sector, 2 * sector - 1, 2 * sector, end] {
            assert_eq!(guest.run(IN, sector, &[], 512).2, [0; 512], "{sector}");
        }
        assert_eq!(guest.run(OUT, end, &[7; 512], 0).0, OK);
        assert_eq!(guest.run(IN, end, &[], 512).2, [7; 512]);
        assert!(taken(&path) < 2 << 20, "{}", taken(&path));
    }
}

#[test]
fn a_disk_does_not_grow_beyond_what_is_done_in_no_time() {
    let files = TempDir::new().unwrap();
    let (empty, overlay) = (files.path().join("empty"), files.path().join("overlay"));
    images::empty(&empty, BYTES);
    let refused = open(&config(&empty)).grow(1 << 50);
    assert!(matches!(refused, Err(GrowError::TooLarge { .. })));
    let base = std::fs::File::create(files.path().join("base")).unwrap();
    base.set_len(3 << 40).unwrap();
    images::overlay(&overlay, BYTES, "base", "raw");
    let mut disk = open(&config(&overlay));
    let refused = disk.grow(2 << 40);
    assert!(matches!(refused, Err(GrowError::Covered { most }) if most == BYTES + (1 << 40)));
    assert_eq!(disk.capacity_bytes(), BYTES);
    // Nothing has been done.
    drop(disk);
    assert_eq!(open(&config(&overlay)).capacity_bytes(), BYTES);
}

#[test]
fn two_machines_share_a_base_and_nobody_writes_it_meanwhile() {
    let files = TempDir::new().unwrap();
    let base = files.path().join("base");
    images::empty(&base, BYTES);
    for name in ["one", "two"] {
        images::overlay(&files.path().join(name), BYTES, "base", "qcow2");
    }
    let _one = open(&config(&files.path().join("one")));
    let _two = open(&config(&files.path().join("two")));
    assert!(matches!(
        Block::open(&config(&base), 1, || {}),
        Err(OpenDiskError::InUse { .. })
    ));
}

#[test]
fn a_chain_has_an_end() {
    let files = TempDir::new().unwrap();
    let at = |number: usize| files.path().join(format!("{number}"));
    images::empty(&at(0), BYTES);
    for number in 1..17 {
        images::overlay(&at(number), BYTES, &format!("{}", number - 1), "qcow2");
    }
    open(&config(&at(15)));
    assert!(matches!(refused(&at(16)), Qcow2Error::Chain));
}

#[test]
fn a_format_is_never_guessed() {
    let files = TempDir::new().unwrap();
    let base = files.path().join("base");
    images::empty(&base, BYTES);
    let disk = files.path().join("disk");
    for format in ["vmdk", "QCOW2", "file", "luks", ""] {
        images::overlay(&disk, BYTES, "base", format);
        assert!(
            matches!(refused(&disk), Qcow2Error::BackingFormat { .. }),
            "{format}"
        );
        std::fs::remove_file(&disk).unwrap();
    }
    images::overlay(&disk, BYTES, "base", "raw");
    let mut image = std::fs::read(&disk).unwrap();
    // The extension that names the format becomes one that nobody knows.
    let at = image
        .windows(4)
        .position(|bytes| bytes == [0xe2, 0x79, 0x2a, 0xca])
        .unwrap();
    image[at..at + 4].copy_from_slice(&[0x12, 0x34, 0x56, 0x78]);
    std::fs::write(&disk, image).unwrap();
    assert!(matches!(refused(&disk), Qcow2Error::NoBackingFormat));
}

#[test]
fn what_is_behind_an_image_is_a_file_by_its_name() {
    let files = TempDir::new().unwrap();
    let disk = files.path().join("disk");
    for name in ["nbd:unix:/x", "json:{}", "file:base", "..", "/", "base/", "."] {
        images::overlay(&disk, BYTES, name, "raw");
        assert!(matches!(refused(&disk), Qcow2Error::BackingName { .. }), "{name}");
        std::fs::remove_file(&disk).unwrap();
    }
    images::overlay(&disk, BYTES, "/dev/zero", "raw");
    assert!(matches!(
        Block::open(&config(&disk), 1, || {}),
        Err(OpenDiskError::Kind { .. })
    ));
    std::fs::remove_file(&disk).unwrap();
    images::overlay(&disk, BYTES, "gone", "raw");
    let missing = Block::open(&config(&disk), 1, || {}).map(|_| ()).unwrap_err();
    assert!(
        missing
            .to_string()
            .contains("/gone; does it exist, and may this user read it?"),
        "{missing}"
    );
}

#[test]
fn an_image_that_is_its_own_base_is_refused() {
    let files = TempDir::new().unwrap();
    let disk = files.path().join("disk");
    images::overlay(&disk, BYTES, "disk", "qcow2");
    assert!(Block::open(&config(&disk), 1, || {}).is_err());
    let mut reader = config(&disk);
    reader.read_only = true;
    assert!(matches!(
        Block::open(&reader, 1, || {}),
        Err(OpenDiskError::Qcow2 {
            err: Qcow2Error::Chain,
            ..
        })
    ));
}

#[test]
fn a_raw_disk_with_an_images_header_stays_a_raw_disk() {
    let files = TempDir::new().unwrap();
    let disk = files.path().join("disk");
    images::overlay(&disk, BYTES, "/etc/passwd", "raw");
    let mut config = config(&disk);
    config.format = DiskFormat::Raw;
    let mut guest = Guest::new(open(&config));
    assert_eq!(guest.run(IN, 0, &[], 512).2[..4], *b"QFI\xfb");
}

#[test]
fn what_is_no_image_is_refused_and_the_reason_is_kept() {
    let file = numbered(64);
    let error = Block::open(&config(file.path()), 1, || {})
        .map(|_| ())
        .unwrap_err();
    let reason = error.source().unwrap();
    assert_eq!(reason.to_string(), "it is no usable qcow2 image");
    assert!(reason.source().is_some());
}

#[test]
fn an_image_that_denies_its_own_clusters_is_not_written() {
    let files = TempDir::new().unwrap();
    let path = files.path().join("disk");
    let image = sample();
    let entry =
        |at: usize| usize::try_from(u64::from_be_bytes(image[at..at + 8].try_into().unwrap())).unwrap();
    let table = entry(48);
    let block = entry(table);
    // The first block of counts, the count of the header, the number of tables.
    for (at, count) in [(table, 8), (block, 2), (56, 4)] {
        let mut damaged = image.clone();
        damaged[at..at + count].fill(0);
        std::fs::write(&path, damaged).unwrap();
        assert!(matches!(refused(&path), Qcow2Error::Counts), "{at}");
        // To be read it is good enough.
        let mut reader = config(&path);
        reader.read_only = true;
        let mut guest = Guest::new(open(&reader));
        assert_eq!(guest.run(IN, 8, &[], 4096).2, [0xee; 4096]);
    }
}

/// An image with some data, small enough to be mutated a lot.
fn sample() -> Vec<u8> {
    let files = TempDir::new().unwrap();
    let path = files.path().join("disk");
    images::empty(&path, BYTES);
    let mut guest = Guest::new(open(&config(&path)));
    assert_eq!(guest.run(OUT, 8, &[0xee; 4096], 0).0, OK);
    drop(guest);
    std::fs::read(&path).unwrap()
}

#[test]
fn an_image_that_is_cut_off_anywhere_does_no_harm() {
    let image = sample();
    for length in (0..200).chain((200..image.len()).step_by(4096)) {
        fuzz_qcow2(&image[..length]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn an_image_whose_tables_lie_does_no_harm(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..12),
    ) {
        let mut image = sample();
        for (place, value, in_header) in changes {
            // The header, or the first bytes of any cluster: that is where tables begin.
            let at = if in_header {
                place.index(112)
            } else {
                let clusters = image.len() / 65536;
                (place.index(clusters * 64) / 64) * 65536 + place.index(64)
            };
            image[at] = value;
        }
        fuzz_qcow2(&image);
    }

    #[test]
    fn bytes_that_are_no_image_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let image = [b"QFI\xfb\0\0\0\x03".to_vec(), bytes].concat();
        fuzz_qcow2(&image);
    }
}
