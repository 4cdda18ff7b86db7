//! What a guest says about its memory (5.5.6.3).

use std::collections::BTreeMap;

use crate::devices::virtio::ring::Segments;
use crate::memory::GuestMemory;

/// The names of the statistics, at the place of their tag. Memory is in bytes, the rest are counts since the guest's start.
const NAMES: [&str; 16] = [
    "swap_in_bytes",
    "swap_out_bytes",
    "major_faults",
    "minor_faults",
    "free_bytes",
    "total_bytes",
    "available_bytes",
    "caches_bytes",
    "huge_page_allocations",
    "huge_page_failures",
    "oom_kills",
    "allocation_stalls",
    "pages_scanned_async",
    "pages_scanned_direct",
    "pages_reclaimed_async",
    "pages_reclaimed_direct",
];
/// The size of an entry: a tag of 16 bits and a value of 64, without padding.
const ENTRY_BYTES: u64 = 10;
/// How many entries of a buffer are read: a driver may know more tags than we do.
const ENTRIES_MAX: u64 = 64;

/// A guest's statistics: the last value of each tag that it gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuestStats([Option<u64>; NAMES.len()]);

impl GuestStats {
    /// Takes what a buffer says: untrue or missing values harm nobody but who reads them.
    pub fn take(&mut self, memory: &GuestMemory, buffer: &Segments) {
        for entry in 0..(buffer.bytes() / ENTRY_BYTES).min(ENTRIES_MAX) {
            let mut tag = [0; 2];
            let mut value = [0; 8];
            let at = entry * ENTRY_BYTES;
            if buffer.read(memory, at, &mut tag).is_err() || buffer.read(memory, at + 2, &mut value).is_err()
            {
                return;
            }
            if let Some(place) = self.0.get_mut(usize::from(u16::from_le_bytes(tag))) {
                *place = Some(u64::from_le_bytes(value));
            }
        }
    }

    /// The values by name.
    pub fn named(&self) -> BTreeMap<&'static str, u64> {
        let pairs = NAMES.iter().zip(&self.0);
        pairs
            .filter_map(|(name, value)| Some((*name, (*value)?)))
            .collect()
    }
}
