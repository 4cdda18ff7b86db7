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

const MIB: u64 = 1 << 20;

fn of(kernel: &std::fs::File) -> BootConfig {
    use std::os::fd::AsRawFd as _;
    boot(Path::new(&format!("/proc/self/fd/{}", kernel.as_raw_fd())))
}

#[test]
fn the_holes_of_an_elf_kernel_take_no_memory() {
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};
    use vm_memory::{GuestMemoryBackend as _, GuestMemoryRegion as _};
    // Of a segment of 32 MiB only the first and the last page are data.
    let segment = elf::Segment {
        flags: 7,
        offset: MIB,
        address: 16 * MIB,
        size: 32 * MIB,
    };
    let kernel = elf::file(&[segment], &[]);
    kernel.write_all_at(&[0xf4; 4096], MIB).unwrap();
    kernel.write_all_at(&[0xc3; 4096], 33 * MIB - 4096).unwrap();
    let memory = machine(64);
    let entry = load(&of(&kernel), &memory, GuestAddress(0xe_0000)).unwrap();
    assert!(matches!(entry, Entry::Pvh { .. }), "{entry:?}");
    let byte = |at: u64| memory.read_obj::<u8>(GuestAddress(at)).unwrap();
    assert_eq!((byte(16 * MIB), byte(48 * MIB - 1)), (0xf4, 0xc3));
    let region = memory.iter().next().unwrap();
    let used = region.file_offset().unwrap().file().metadata().unwrap().blocks() * 512;
    // Huge pages, where a machine has them for such memory, are whole.
    assert!(used <= 8 * MIB, "{used} bytes of 32 MiB");
    assert_eq!(byte(32 * MIB), 0);
}

/// 2 MiB of code, 3 MiB of data that explains it but for a few bytes around them, and 2 MiB of data that is written.
fn kernel_with_data() -> std::fs::File {
    use std::os::unix::fs::FileExt as _;
    let segment = |flags, at: u64, size| elf::Segment {
        flags,
        offset: at,
        address: at + 15 * MIB,
        size,
    };
    let section = |name, flags, offset, size| elf::Section {
        name,
        flags,
        offset,
        size,
    };
    let kernel = elf::file(
        &[segment(5, MIB, 5 * MIB), segment(6, 6 * MIB, 2 * MIB)],
        &[
            section(".text", 6, MIB, 2 * MIB),
            section(".BTF", 2, 3 * MIB + 8, 3 * MIB - 16),
            section(".data", 3, 6 * MIB, 2 * MIB),
        ],
    );
    for at in 1..8 {
        kernel
            .write_all_at(&vec![u8::try_from(at).unwrap(); 1 << 20], at * MIB)
            .unwrap();
    }
    kernel
}

/// What the guest sees of it: a byte of each MiB, and the first and the last of what explains it, which share their pages with others.
fn seen(memory: &GuestMemory) -> Vec<u8> {
    let places = (16..23)
        .map(|mib| mib * MIB + 5000)
        .chain([18 * MIB, 21 * MIB - 1]);
    places
        .map(|at| memory.read_obj::<u8>(GuestAddress(at)).unwrap())
        .collect()
}

#[test]
fn a_kernel_is_the_same_whether_its_data_is_copied_or_shown() {
    use crate::memory::{Backing, create};
    for backing in [Backing::Private, Backing::Shared] {
        let (kernel, memory) = (kernel_with_data(), create(64, backing).unwrap());
        load(&of(&kernel), &memory, GuestAddress(0xe_0000)).unwrap();
        assert_eq!(seen(&memory), [1, 2, 3, 4, 5, 6, 7, 3, 5], "{backing:?}");
        assert_eq!(memory.read_obj::<u8>(GuestAddress(23 * MIB)).unwrap(), 0);
    }
}

#[test]
fn what_explains_a_kernel_is_its_file_and_what_a_guest_writes_there_is_its_own() {
    use std::os::unix::fs::FileExt as _;
    let (kernel, memory) = (
        kernel_with_data(),
        crate::memory::create(64, crate::memory::Backing::Private).unwrap(),
    );
    load(&of(&kernel), &memory, GuestAddress(0xe_0000)).unwrap();
    memory
        .write_obj(0xaa_u8, GuestAddress(18 * MIB + MIB / 2))
        .unwrap();
    let mut byte = [0];
    kernel.read_exact_at(&mut byte, 3 * MIB + MIB / 2).unwrap();
    assert_eq!(byte, [3], "the file is as it was");
    // Nobody changes a kernel's file that a guest runs; here it shows which memory is the file's.
    kernel.write_all_at(&vec![0xbb; 8 << 20], 0).unwrap();
    assert_eq!(seen(&memory), [1, 2, 0xbb, 0xbb, 0xbb, 6, 7, 3, 5]);
    assert_eq!(
        memory.read_obj::<u8>(GuestAddress(18 * MIB + MIB / 2)).unwrap(),
        0xaa
    );
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
