//! The last bytes that a console wrote.

/// How many bytes are kept: what a newcomer is shown, and how far a viewer may fall behind.
pub const KEPT_BYTES: usize = 64 << 10;

/// A ring of the last [`KEPT_BYTES`], in which each byte has a position that never changes: its number since the start.
#[derive(Debug, Default)]
pub struct Ring {
    /// Grows to [`KEPT_BYTES`] with what is written; the byte at position p is at index p modulo that.
    bytes: Vec<u8>,
    end: u64,
}

impl Ring {
    /// The position after the last byte: how many bytes were ever written.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The position of the oldest byte that is kept.
    pub fn start(&self) -> u64 {
        self.end - self.bytes.len() as u64
    }

    /// Adds bytes, over the oldest ones where there is no more room.
    pub fn append(&mut self, bytes: &[u8]) {
        let skipped = bytes.len().saturating_sub(KEPT_BYTES);
        let (_, mut rest) = bytes.split_at(skipped);
        if skipped > 0 {
            // Every byte that was kept is overwritten: the ring begins anew behind what is skipped.
            self.bytes.clear();
            self.end += skipped as u64;
            let turn = index(self.end);
            self.bytes.extend_from_slice(rest);
            self.bytes.rotate_right(turn);
            self.end += rest.len() as u64;
            return;
        }
        let room = KEPT_BYTES - self.bytes.len();
        if room > 0 {
            let (now, later) = rest.split_at(rest.len().min(room));
            self.bytes.extend_from_slice(now);
            self.end += now.len() as u64;
            rest = later;
        }
        while !rest.is_empty() {
            let at = index(self.end);
            let (now, later) = rest.split_at(rest.len().min(KEPT_BYTES - at));
            if let Some(place) = self.bytes.get_mut(at..at + now.len()) {
                place.copy_from_slice(now);
            }
            self.end += now.len() as u64;
            rest = later;
        }
    }

    /// What is kept from a position on, in one piece up to where the ring turns, and where that piece begins: at `position`, or at the
    /// oldest byte where `position` is no longer kept.
    pub fn piece(&self, position: u64) -> (u64, &[u8]) {
        let from = position.clamp(self.start(), self.end);
        let at = index(from);
        let length = usize::try_from(self.end - from).unwrap_or(usize::MAX);
        let to = at.saturating_add(length).min(self.bytes.len());
        (from, self.bytes.get(at..to).unwrap_or_default())
    }

    /// The last bytes, at most `count`, oldest first.
    pub fn last(&self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count.min(self.bytes.len()));
        let mut position = self.end.saturating_sub(count as u64);
        loop {
            let (from, piece) = self.piece(position);
            if piece.is_empty() {
                return bytes;
            }
            bytes.extend_from_slice(piece);
            position = from + piece.len() as u64;
        }
    }
}

/// Where the byte at a position lies.
fn index(position: u64) -> usize {
    // A remainder by a usize fits one.
    usize::try_from(position % KEPT_BYTES as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(length: usize, seed: usize) -> Vec<u8> {
        (0..=250).cycle().skip(seed * 31).take(length).collect()
    }

    proptest! {
        #[test]
        fn a_ring_keeps_the_last_bytes_whatever_the_pieces(
            lengths in prop::collection::vec(0..KEPT_BYTES * 2 + 3, 0..8),
            count in 0..KEPT_BYTES * 2,
        ) {
            let mut ring = Ring::default();
            let mut all = Vec::new();
            for (seed, length) in lengths.into_iter().enumerate() {
                let piece = pattern(length, seed);
                ring.append(&piece);
                all.extend(piece);
                prop_assert_eq!(ring.end(), all.len() as u64);
                prop_assert_eq!(ring.end() - ring.start(), all.len().min(KEPT_BYTES) as u64);
            }
            let expected = all.len().saturating_sub(count.min(KEPT_BYTES));
            prop_assert_eq!(ring.last(count), &all[expected..]);
        }
    }

    #[test]
    fn a_reader_that_fell_behind_goes_on_at_the_oldest_byte() {
        let mut ring = Ring::default();
        ring.append(&pattern(KEPT_BYTES + 10, 0));
        assert_eq!(ring.piece(3).0, 10);
        assert_eq!(ring.piece(u64::MAX), (KEPT_BYTES as u64 + 10, [].as_slice()));
    }
}
