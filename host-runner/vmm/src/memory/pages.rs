//! What is known of the pages of a region.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vm_memory::bitmap::{AtomicBitmap, Bitmap, NewBitmap, RefSlice, WithBitmapSlice};

/// The pages of a region that devices wrote, and those that are a file's, unless the guest has written to them.
#[derive(Debug, Default)]
pub struct Pages {
    written: AtomicBitmap,
    /// As offsets in bytes, of whole pages. A handful, which is fixed before the guest runs.
    of_a_file: Mutex<Vec<Range<u64>>>,
}

impl Pages {
    /// Notes that the pages of a range are a file's from now on. The range is of offsets in bytes.
    pub(super) fn are_of_a_file(&self, range: Range<u64>) {
        self.ranges().push(range);
    }

    /// Which pages are a file's, as offsets in bytes.
    pub fn of_a_file(&self) -> Vec<Range<u64>> {
        self.ranges().clone()
    }

    /// Forgets what devices wrote so far.
    pub fn forget(&self) {
        self.written.reset();
    }

    /// Nothing that is done with the list can leave it half done.
    fn ranges(&self) -> MutexGuard<'_, Vec<Range<u64>>> {
        self.of_a_file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> WithBitmapSlice<'a> for Pages {
    type S = RefSlice<'a, Self>;
}

impl Bitmap for Pages {
    fn mark_dirty(&self, offset: usize, len: usize) {
        self.written.mark_dirty(offset, len);
    }

    fn dirty_at(&self, offset: usize) -> bool {
        self.written.dirty_at(offset)
    }

    fn slice_at(&self, offset: usize) -> RefSlice<'_, Self> {
        RefSlice::new(self, offset)
    }
}

impl NewBitmap for Pages {
    fn with_len(len: usize) -> Self {
        Self {
            written: AtomicBitmap::with_len(len),
            of_a_file: Mutex::default(),
        }
    }
}
