use std::io::Write as _;

use super::*;

fn machine(size_mib: u32) -> GuestMemory {
    crate::memory::create(size_mib, crate::memory::Backing::Shared).unwrap()
}

fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn boot(kernel: &Path) -> BootConfig {
    BootConfig {
        kernel: kernel.to_owned(),
        initrd: None,
        command_line: String::new(),
    }
}

/// The header of a bzImage with nothing behind it but zeroes.
fn bz_image(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut image = vec![0; 0x4000];
    image[0x1f1] = 1;
    image[0x1fe..0x200].copy_from_slice(&0xaa55_u16.to_le_bytes());
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
    image[0x211] = 1;
    image[0x214..0x218].copy_from_slice(&0x10_0000_u32.to_le_bytes());
    image[0x22c..0x230].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    image[0x236] = 1;
    image[0x258..0x260].copy_from_slice(&0x100_0000_u64.to_le_bytes());
    image[0x260..0x264].copy_from_slice(&0x200_0000_u32.to_le_bytes());
    change(&mut image);
    image
}

#[test]
fn the_map_is_the_memory_without_the_firmware_s_hole() {
    let map = memory_map(&machine(64));
    let usable: u64 = map
        .iter()
        .filter(|entry| entry.usable)
        .map(|entry| entry.size)
        .sum();
    assert_eq!(usable, (64 << 20) - (HIGH_MEMORY_START - LOW_MEMORY_END));
    let mut end = 0;
    for entry in &map {
        assert_eq!(entry.start, end, "{map:?}");
        end = entry.start + entry.size;
    }
}

#[test]
fn a_bz_image_is_entered_in_long_mode_with_its_parameters() {
    let image = file(&bz_image(|_| {}));
    let initrd = file(&[7; 5000]);
    let memory = machine(128);
    let config = BootConfig {
        initrd: Some(initrd.path().to_owned()),
        command_line: "quiet root=/dev/vda".to_owned(),
        ..boot(image.path())
    };
    let entry = load(&config, &memory, GuestAddress(0xe_0000)).unwrap();
    let Entry::Linux64 { address, parameters } = entry else {
        panic!("{entry:?}")
    };
    assert_eq!(address, GuestAddress(0x10_0200));
    let read = |offset: u64| {
        memory
            .read_obj::<u32>(GuestAddress(parameters.0 + offset))
            .unwrap()
    };
    let (start, size) = (read(0x218), read(0x21c));
    assert_eq!(size, 5000);
    assert!(u64::from(start) + 5000 <= 128 << 20 && start % 4096 == 0);
    assert_eq!(
        memory
            .read_obj::<u8>(GuestAddress(u64::from(start) + 4999))
            .unwrap(),
        7
    );
    let mut text = [0; 20];
    memory
        .read_slice(&mut text, GuestAddress(read(0x228).into()))
        .unwrap();
    assert_eq!(&text, b"quiet root=/dev/vda\0");
    assert_eq!(read(0x70), 0xe_0000, "the ACPI tables");
}

/// An ELF kernel with an entry by PVH and one segment of 32 MiB for 16 MiB and up, of which only the first and the last page are data.
fn mostly_a_hole() -> std::fs::File {
    use std::os::unix::fs::FileExt as _;
    const SEGMENT: u64 = 32 << 20;
    let header = |kind: u32, offset: u64, size: u64| {
        let rest = [offset, 16 << 20, 16 << 20, size, size, 4096]
            .map(u64::to_le_bytes)
            .concat();
        [&kind.to_le_bytes()[..], &7_u32.to_le_bytes(), &rest].concat()
    };
    // Source: the ELF-64 object file format: the file's header, and a header for each segment.
    let head = [
        b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0",
        &(16_u64 << 20).to_le_bytes()[..],
        &64_u64.to_le_bytes(),
        &[0; 12],
        &[64, 0, 56, 0, 2, 0, 0, 0, 0, 0, 0, 0],
        &header(1, 4096, SEGMENT),
        &header(4, 512, 24),
    ]
    .concat();
    // A note of Xen's, type 18: where the kernel is entered.
    let note = [
        &[4, 0, 0, 0, 8, 0, 0, 0, 18, 0, 0, 0][..],
        b"Xen\0",
        &(16_u64 << 20).to_le_bytes(),
    ]
    .concat();
    let memory_file = rustix::fs::memfd_create("kernel", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let kernel = std::fs::File::from(memory_file);
    kernel.set_len(4096 + SEGMENT).unwrap();
    kernel.write_all_at(&head, 0).unwrap();
    kernel.write_all_at(&note, 512).unwrap();
    kernel.write_all_at(&[0xf4; 4096], 4096).unwrap();
    kernel.write_all_at(&[0xc3; 4096], SEGMENT).unwrap();
    kernel
}

#[test]
fn the_holes_of_an_elf_kernel_take_no_memory() {
    use std::os::fd::AsRawFd as _;
    use std::os::unix::fs::MetadataExt as _;
    use vm_memory::{GuestMemoryBackend as _, GuestMemoryRegion as _};
    let kernel = mostly_a_hole();
    let memory = machine(64);
    let config = boot(Path::new(&format!("/proc/self/fd/{}", kernel.as_raw_fd())));
    let entry = load(&config, &memory, GuestAddress(0xe_0000)).unwrap();
    assert!(matches!(entry, Entry::Pvh { .. }), "{entry:?}");
    let byte = |at: u64| memory.read_obj::<u8>(GuestAddress(at)).unwrap();
    assert_eq!((byte(16 << 20), byte((48 << 20) - 1)), (0xf4, 0xc3));
    let region = memory.iter().next().unwrap();
    let used = region.file_offset().unwrap().file().metadata().unwrap().blocks() * 512;
    // Huge pages, where a machine has them for such memory, are whole.
    assert!(used <= 8 << 20, "{used} bytes of 32 MiB");
    assert_eq!(byte(32 << 20), 0);
}

#[test]
fn an_initial_ram_file_system_that_leaves_no_room_to_unpack_is_refused_with_the_numbers() {
    let image = file(&bz_image(|_| {}));
    let initrd = tempfile::NamedTempFile::new().unwrap();
    initrd.as_file().set_len(90 << 20).unwrap();
    let config = BootConfig {
        initrd: Some(initrd.path().to_owned()),
        ..boot(image.path())
    };
    let error = load(&config, &machine(128), GuestAddress(0))
        .unwrap_err()
        .to_string();
    assert!(error.contains("90 MiB") && error.contains("128 MiB"), "{error}");
}

#[test]
fn what_is_no_kernel_is_said_to_be_none() {
    for bytes in [b"just a text, and not a short one".to_vec(), vec![0; 0x2000]] {
        let text = file(&bytes);
        let error = load(&boot(text.path()), &machine(64), GuestAddress(0)).unwrap_err();
        let said = error.to_string();
        assert!(
            said.contains("neither a bzImage nor") || said.contains("cannot load"),
            "{error:?}"
        );
    }
    let empty = file(b"");
    assert!(matches!(
        load(&boot(empty.path()), &machine(64), GuestAddress(0)),
        Err(BootError::Read { .. })
    ));
}

#[test]
fn a_kernel_without_a_64_bit_entry_is_refused() {
    let image = file(&bz_image(|image| image[0x236] = 0));
    let error = load(&boot(image.path()), &machine(128), GuestAddress(0)).unwrap_err();
    assert!(matches!(error, BootError::NoEntry { .. }), "{error:?}");
}

#[test]
fn a_command_line_that_the_kernel_would_cut_is_refused() {
    let memory = machine(64);
    assert!(write_command_line(&"x".repeat(COMMAND_LINE_MAX - 1), &memory).is_ok());
    let long = write_command_line(&"x".repeat(COMMAND_LINE_MAX), &memory);
    assert!(matches!(
        long,
        Err(BootError::CommandLineTooLong(COMMAND_LINE_MAX))
    ));
    assert!(matches!(
        write_command_line("a\0b", &memory),
        Err(BootError::CommandLineZero)
    ));
}

proptest::proptest! {
    /// A kernel file is a file: whoever made it. No header, however odd, does more than to be refused.
    #[test]
    fn no_kernel_file_breaks_the_loader(at in 0_usize..0x300, bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 1..64), elf: bool) {
        let mut image = bz_image(|_| {});
        if elf {
            image[..4].copy_from_slice(b"\x7fELF");
        }
        let end = (at + bytes.len()).min(image.len());
        image[at..end].copy_from_slice(&bytes[..end - at]);
        let image = file(&image);
        let _refused_or_not = load(&boot(image.path()), &machine(64), GuestAddress(0));
    }
}
