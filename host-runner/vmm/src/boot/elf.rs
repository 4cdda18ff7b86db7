//! ELF files for tests.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{MemfdFlags, memfd_create};

/// A part that is loaded.
#[derive(Debug, Clone, Copy)]
pub struct Segment {
    /// `PF_X` is 1, `PF_W` is 2, `PF_R` is 4.
    pub flags: u32,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// Where in memory.
    pub address: u64,
    /// How long, in bytes.
    pub size: u64,
}

/// What a part of the file is.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// What it is called.
    pub name: &'static str,
    /// `SHF_WRITE` is 1, `SHF_ALLOC` is 2, `SHF_EXECINSTR` is 4.
    pub flags: u64,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// How long, in bytes.
    pub size: u64,
}

/// Where the note lies that says where a kernel is entered by PVH.
const NOTE: u64 = 0x8000;
/// Where the names of the sections begin, and where their headers.
const NAMES: u64 = 0x10000;
const SECTIONS: u64 = 0x40000;

/// An ELF kernel in memory, where files have holes. It is entered by PVH at its first segment, which begins at 1 MiB of the file or behind
/// it, as all do. All but its headers is a hole.
///
/// Source: the ELF-64 object file format.
pub fn file(segments: &[Segment], sections: &[Section]) -> File {
    let file = File::from(memfd_create("kernel", MemfdFlags::CLOEXEC).unwrap());
    let entry = segments.first().unwrap().address;
    let ends = segments.iter().map(|segment| segment.offset + segment.size);
    file.set_len(ends.max().unwrap()).unwrap();
    // Wherever there are sections, one of no kind is the first; here the names are the last.
    let count = |number: usize| u16::try_from(number).unwrap().to_le_bytes();
    let head = [
        b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0",
        &entry.to_le_bytes()[..],
        &64_u64.to_le_bytes(),
        &SECTIONS.to_le_bytes(),
        &[0, 0, 0, 0, 64, 0, 56, 0],
        &count(segments.len() + 1),
        &64_u16.to_le_bytes(),
        &count(sections.len() + 2),
        &count(sections.len() + 1),
    ];
    let mut programs: Vec<u8> = segments.iter().flat_map(|one| program(1, one)).collect();
    let note = Segment {
        flags: 4,
        offset: NOTE,
        address: 0,
        size: 24,
    };
    programs.extend(program(4, &note));
    let write = |bytes: &[u8], at| file.write_all_at(bytes, at).unwrap();
    write(&[head.concat(), programs].concat(), 0);
    // A note of Xen's, type 18: where the kernel is entered.
    let note = [
        &[4, 0, 0, 0, 8, 0, 0, 0, 18, 0, 0, 0][..],
        b"Xen\0",
        &entry.to_le_bytes(),
    ];
    write(&note.concat(), NOTE);
    let mut names = vec![0];
    let mut table = vec![0; 64];
    for section in sections {
        table.extend(header(1, names.len(), section));
        names.extend_from_slice(section.name.as_bytes());
        names.push(0);
    }
    let own = Section {
        name: "",
        flags: 0,
        offset: NAMES,
        size: names.len() as u64,
    };
    table.extend(header(3, 0, &own));
    write(&names, NAMES);
    write(&table, SECTIONS);
    file
}

/// A segment's header; `PT_LOAD` is kind 1, `PT_NOTE` kind 4.
fn program(kind: u32, segment: &Segment) -> Vec<u8> {
    let Segment {
        flags,
        offset,
        address,
        size,
    } = *segment;
    let rest = [offset, address, address, size, size, 4096].map(u64::to_le_bytes);
    [&kind.to_le_bytes()[..], &flags.to_le_bytes(), &rest.concat()].concat()
}

/// A section's header; `SHT_PROGBITS` is kind 1, `SHT_STRTAB` kind 3.
fn header(kind: u32, name: usize, section: &Section) -> Vec<u8> {
    let rest = [section.flags, 0, section.offset, section.size, 0, 1, 0].map(u64::to_le_bytes);
    let name = u32::try_from(name).unwrap().to_le_bytes();
    [&name[..], &kind.to_le_bytes(), &rest.concat()].concat()
}
