//! Gives guest memory back to the host.

use std::ops::Range;

use vm_memory::bitmap::Bitmap as _;
use vm_memory::{Address as _, GuestMemoryBackend as _, GuestMemoryRegion as _};

use crate::memory::{self, GuestMemory};

/// The size of a page, to the balloon as to the processor, in bytes.
pub const PAGE_BYTES: u64 = 4 << 10;

/// Gives the whole pages of a range of guest-physical addresses back to the host: they read as zeroes from now on. What of it is no
/// memory is left out.
///
/// The pages go from the guest's own mapping, too, and KVM's log knows nothing of that. So they are marked as written by a device: an
/// incremental snapshot must not bring back what was there before.
///
/// Returns how many bytes were given back.
pub fn discard(memory: &GuestMemory, range: &Range<u64>) -> u64 {
    let mut given = 0;
    for region in memory.iter() {
        let base = region.start_addr().raw_value();
        // A range may begin in the last page of all addresses.
        let Some(start) = range.start.max(base).checked_next_multiple_of(PAGE_BYTES) else {
            continue;
        };
        let end = range.end.min(base + region.len()) / PAGE_BYTES * PAGE_BYTES;
        if start >= end {
            continue;
        }
        match memory::give_back(region, &(start..end)) {
            Ok(()) => {
                // Both are below the size of a mapping, which fits.
                if let (Ok(offset), Ok(length)) =
                    (usize::try_from(start - base), usize::try_from(end - start))
                {
                    region.bitmap().mark_dirty(offset, length);
                }
                given += end - start;
            }
            Err(err) => {
                crate::devices::once("balloon", &format!("balloon: memory cannot be given back: {err}"));
            }
        }
    }
    given
}

/// Page numbers, as ranges of addresses: sorted, and neighbours together.
pub fn runs(pages: &mut [u32]) -> impl Iterator<Item = Range<u64>> {
    pages.sort_unstable();
    let mut rest = pages.iter().copied().peekable();
    std::iter::from_fn(move || {
        let first = u64::from(rest.next()?);
        let mut end = first + 1;
        while let Some(next) = rest.next_if(|next| u64::from(*next) <= end) {
            end = u64::from(next) + 1;
        }
        Some(first * PAGE_BYTES..end * PAGE_BYTES)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_cover_the_pages_and_no_others(mut pages in prop::collection::vec(0..64_u32, 0..64)) {
            let expected: BTreeSet<u64> = pages.iter().map(|page| u64::from(*page)).collect();
            let mut covered = BTreeSet::new();
            let mut before = None;
            for run in runs(&mut pages) {
                prop_assert!(before.is_none_or(|end| run.start > end), "neighbours are together");
                before = Some(run.end);
                covered.extend(run.start / PAGE_BYTES..run.end / PAGE_BYTES);
            }
            prop_assert_eq!(covered, expected);
        }
    }

    #[test]
    fn the_last_page_number_does_not_overflow() {
        let mut pages = [u32::MAX, u32::MAX - 1];
        let run = runs(&mut pages).next().unwrap();
        assert_eq!(
            (run.start, run.end),
            (0xffff_fffe * PAGE_BYTES, 0x1_0000_0000 * PAGE_BYTES)
        );
    }
}
