//! What of a kernel explains it, by its file.

use std::fs::File;
use std::ops::Range;

use object::elf::{FileHeader64, PT_LOAD, ProgramHeader64, SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, SHT_NOBITS};
use object::read::ReadCache;
use object::read::elf::{FileHeader, ProgramHeader as _, SectionHeader as _};
use object::{Endianness, ReadRef};

/// The size of a page, in bytes.
const PAGE: u64 = 4096;
/// The fewest bytes that are worth a mapping of their own: around it there are no huge pages, and each page in it is found by itself.
const LEAST: u64 = 1 << 20;
/// The sections of an x86-64 kernel by which it explains itself: its types, and how its stack is unwound. What a guest looks up there depends
/// on no secret, so guests may see the same pages: one could tell from the processor's cache what another has read. That must not be so of
/// `.rodata`, where the tables of ciphers are.
const EXPLAINING: [&[u8]; 4] = [b".BTF", b".BTF_ids", b".orc_unwind", b".orc_unwind_ip"];
/// The most segments and sections of a file that is looked at. A kernel has about 5 and 40 of them.
const SEGMENTS_MAX: u16 = 64;
const SECTIONS_MAX: u16 = 1024;
/// The most stretches. A kernel has two.
const STRETCHES_MAX: usize = 16;

/// Whole pages of a kernel's file that it reads, if at all, and their place in the guest's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Where in the file, in bytes.
    pub file: Range<u64>,
    /// Where in the guest's memory.
    pub address: u64,
}

/// Finds the long stretches of an ELF kernel that explain it and that it does not write: a quarter of what is in the file, and a guest looks at
/// little of it.
///
/// The stretches are in order, apart and within the file. There are none in a file that is odd, or no ELF file: it is for the loader to refuse.
///
/// Source: the ELF-64 object file format; the kernel's `Documentation/bpf/btf.rst` and `Documentation/arch/x86/orc-unwinder.rst`.
pub(super) fn stretches(file: &File) -> Vec<Stretch> {
    let Ok(length) = file.metadata().map(|metadata| metadata.len()) else {
        return Vec::new();
    };
    let file = ReadCache::new(file);
    let mut found = of_segments(&file).unwrap_or_default();
    found.retain(|one| one.file.end <= length);
    found.truncate(STRETCHES_MAX);
    found
}

/// The stretches of each segment. None where the file is odd.
fn of_segments<'data>(file: impl ReadRef<'data>) -> Option<Vec<Stretch>> {
    let header = FileHeader64::<Endianness>::parse(file).ok()?;
    let endian = header.endian().ok()?;
    let count = header.e_shnum(endian);
    if count == 0 || count > SECTIONS_MAX || header.e_phnum(endian) > SEGMENTS_MAX {
        return None;
    }
    let sections = header.sections(endian, file).ok()?;
    let mut found = Vec::new();
    let mut before = 0;
    for segment in loaded(header.program_headers(endian, file).ok()?, endian) {
        let start = segment.p_offset(endian);
        let end = start.checked_add(segment.p_filesz(endian))?;
        if start < before {
            // What two segments have in common has two places.
            return None;
        }
        before = end;
        let mut of_segment = Vec::new();
        for section in sections.iter() {
            let from = section.sh_offset(endian);
            let to = from.checked_add(section.sh_size(endian))?;
            let flags = section.sh_flags(endian);
            let only_read = flags.contains(SHF_ALLOC)
                && !flags.intersects(SHF_WRITE | SHF_EXECINSTR)
                && section.sh_type(endian) != SHT_NOBITS;
            let name = sections.section_name(endian, section).ok()?;
            if only_read && EXPLAINING.contains(&name) && start <= from && to <= end {
                of_segment.push(Stretch {
                    file: from..to,
                    address: segment.p_paddr(endian).checked_add(from - start)?,
                });
            }
        }
        found.extend(merge(of_segment));
    }
    Some(found)
}

/// The segments that are loaded, by their place in the file.
fn loaded(segments: &[ProgramHeader64<Endianness>], endian: Endianness) -> Vec<&ProgramHeader64<Endianness>> {
    let mut loaded: Vec<_> = segments
        .iter()
        .filter(|segment| segment.p_type(endian) == PT_LOAD)
        .collect();
    loaded.sort_by_key(|segment| segment.p_offset(endian));
    loaded
}

/// Whole pages of neighbours together, of sections of one segment. Those that are too short are left out.
fn merge(mut sections: Vec<Stretch>) -> Vec<Stretch> {
    sections.sort_by_key(|one| one.file.start);
    let mut merged: Vec<Stretch> = Vec::new();
    for next in sections {
        match merged.last_mut() {
            // Between them is what aligns the second.
            Some(last) if next.file.start < last.file.end.saturating_add(PAGE) => {
                last.file.end = last.file.end.max(next.file.end);
            }
            _ => merged.push(next),
        }
    }
    let mut whole: Vec<Stretch> = merged.iter().filter_map(Stretch::whole_pages).collect();
    whole.retain(|one| one.file.end - one.file.start >= LEAST);
    whole
}

impl Stretch {
    /// The whole pages of it, where pages of the file can be pages of memory.
    fn whole_pages(&self) -> Option<Self> {
        let start = self.file.start.checked_next_multiple_of(PAGE)?;
        let end = self.file.end / PAGE * PAGE;
        let address = self.address.checked_add(start - self.file.start)?;
        (start < end && address.is_multiple_of(PAGE)).then_some(Self {
            file: start..end,
            address,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::elf::{self, Section, Segment};
    use super::*;

    const MIB: u64 = 1 << 20;
    const ALLOC: u64 = SHF_ALLOC.0;

    /// A segment whose place in memory is 15 MiB behind that in the file.
    fn segment(offset: u64, size: u64) -> Segment {
        Segment {
            flags: 5,
            offset,
            address: offset + 15 * MIB,
            size,
        }
    }

    fn section(name: &'static str, offset: u64, size: u64) -> Section {
        Section {
            name,
            flags: ALLOC,
            offset,
            size,
        }
    }

    fn found(file: &File) -> Vec<(Range<u64>, u64)> {
        let stretches = stretches(file).into_iter();
        stretches.map(|one| (one.file, one.address)).collect()
    }

    #[test]
    fn what_explains_a_kernel_is_found_and_nothing_else() {
        let file = elf::file(
            &[segment(MIB, 16 * MIB)],
            &[
                section(".text", MIB, 2 * MIB),
                section(".rodata", 3 * MIB, 2 * MIB),
                section(".BTF", 5 * MIB, 2 * MIB),
                section(".orc_unwind_ip", 9 * MIB, MIB),
                section(".orc_unwind", 10 * MIB, 2 * MIB),
                section(".BTF.of_another", 13 * MIB, 2 * MIB),
            ],
        );
        assert_eq!(
            found(&file),
            [(5 * MIB..7 * MIB, 20 * MIB), (9 * MIB..12 * MIB, 24 * MIB)]
        );
    }

    #[test]
    fn what_is_written_run_or_not_loaded_is_left_out_whatever_it_is_called() {
        for flags in [0, ALLOC | SHF_WRITE.0, ALLOC | SHF_EXECINSTR.0] {
            let odd = Section {
                flags,
                ..section(".BTF", MIB, 2 * MIB)
            };
            assert_eq!(found(&elf::file(&[segment(MIB, 4 * MIB)], &[odd])), [], "{flags}");
        }
        let beside = [
            section(".BTF", 6 * MIB, 2 * MIB),
            section(".orc_unwind", 4 * MIB, 2 * MIB),
        ];
        assert_eq!(found(&elf::file(&[segment(MIB, 4 * MIB)], &beside)), []);
    }

    #[test]
    fn only_whole_pages_count_and_neighbours_are_one() {
        let file = elf::file(
            &[segment(MIB, 8 * MIB)],
            &[
                section(".BTF", MIB + 100, MIB),
                section(".BTF_ids", 2 * MIB + 164, MIB),
                section(".orc_unwind", 5 * MIB, MIB - 4096),
            ],
        );
        assert_eq!(found(&file), [(MIB + 4096..3 * MIB, 16 * MIB + 4096)]);
    }

    #[test]
    fn what_has_no_place_of_its_own_is_left_out() {
        let one = section(".BTF", MIB, 2 * MIB);
        let askew = Segment {
            address: 16 * MIB + 512,
            ..segment(MIB, 4 * MIB)
        };
        assert_eq!(
            found(&elf::file(&[askew], &[one])),
            [],
            "a page of the file is no page of memory"
        );
        let twice = [segment(MIB, 4 * MIB), segment(4 * MIB, 4 * MIB)];
        assert_eq!(
            found(&elf::file(&twice, &[one])),
            [],
            "two segments have a part of the file in common"
        );
        let apart = [segment(8 * MIB, 4 * MIB), segment(MIB, 4 * MIB)];
        let file = elf::file(&apart, &[section(".orc_unwind", 9 * MIB, 2 * MIB), one]);
        assert_eq!(
            found(&file),
            [(MIB..3 * MIB, 16 * MIB), (9 * MIB..11 * MIB, 24 * MIB)]
        );
    }

    #[test]
    fn a_file_that_lacks_what_it_tells_of_has_nothing() {
        let file = elf::file(&[segment(MIB, 8 * MIB)], &[section(".BTF", MIB, 4 * MIB)]);
        assert_eq!(found(&file), [(MIB..5 * MIB, 16 * MIB)]);
        for length in [5 * MIB - 1, 40, 0] {
            file.set_len(length).unwrap();
            assert_eq!(found(&file), [], "{length}");
        }
    }

    #[test]
    fn a_file_that_would_take_long_to_look_at_is_not() {
        let many = vec![section(".BTF", MIB, MIB); usize::from(SECTIONS_MAX)];
        assert_eq!(found(&elf::file(&[segment(MIB, MIB)], &many)), []);
        let each = |numbers: Range<u64>| {
            let segments: Vec<_> = numbers.clone().map(|number| segment(number * MIB, MIB)).collect();
            let sections: Vec<_> = numbers.map(|number| section(".BTF", number * MIB, MIB)).collect();
            found(&elf::file(&segments, &sections)).len()
        };
        assert_eq!((each(1..11), each(1..41), each(1..81)), (10, STRETCHES_MAX, 0));
    }
}
