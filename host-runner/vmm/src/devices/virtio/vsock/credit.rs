//! How much each side may send (5.10.6.3): pure arithmetic, modulo 2^32 as the counters are.

/// The room that we have for what a guest sends on one connection and the host has not read, in bytes.
pub const ROOM_BYTES: u32 = 64 << 10;

/// The accounts of one connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Credit {
    /// From the guest: what came.
    received: u32,
    /// From the guest: what went on to the host.
    forwarded: u32,
    /// From the guest: what it knows of that.
    told: u32,
    /// To the guest: what went.
    sent: u32,
    /// To the guest: how much room it has.
    peer_room: u32,
    /// To the guest: what its reader has read, as it says.
    peer_read: u32,
    /// To the guest: it has been asked how much that is, and has not said that there is any since.
    asked: bool,
}

impl Credit {
    /// The guest says how much room it has and what it has read.
    pub fn heard(&mut self, room: u32, read: u32) {
        self.peer_room = room;
        self.peer_read = read;
        // A guest whose reader sleeps answers that there is none. Asked again, it would answer so again, as fast as both sides can; left alone,
        // it tells by itself when its reader has read (5.10.6.3).
        if self.free() > 0 {
            self.asked = false;
        }
    }

    /// Whether to ask the guest how much room it has: once, until it has some.
    pub fn ask(&mut self) -> bool {
        !std::mem::replace(&mut self.asked, true)
    }

    /// Data came from the guest. `false` when it sends more than there is room for, which it knew.
    pub fn receive(&mut self, bytes: u32) -> bool {
        let waiting = self.received.wrapping_sub(self.forwarded);
        let fits = ROOM_BYTES.checked_sub(waiting).is_some_and(|room| bytes <= room);
        if fits {
            self.received = self.received.wrapping_add(bytes);
        }
        fits
    }

    /// Data of the guest went on to the host.
    pub fn forward(&mut self, bytes: u32) {
        self.forwarded = self.forwarded.wrapping_add(bytes);
    }

    /// What went on to the host: goes into each header, so that the guest knows from now on.
    pub fn tell(&mut self) -> u32 {
        self.told = self.forwarded;
        self.forwarded
    }

    /// Whether the guest should be told without delay: it believes that less than half of the room is free, which is no longer so.
    pub fn should_tell(&self) -> bool {
        let believed = self.received.wrapping_sub(self.told);
        believed > ROOM_BYTES / 2 && self.told != self.forwarded
    }

    /// How much may be sent to the guest now.
    pub fn free(&self) -> u32 {
        let unread = self.sent.wrapping_sub(self.peer_read);
        self.peer_room.saturating_sub(unread)
    }

    /// Data went to the guest.
    pub fn send(&mut self, bytes: u32) {
        self.sent = self.sent.wrapping_add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_more_waits_here_than_there_is_room_for(steps in prop::collection::vec((any::<bool>(), 0..ROOM_BYTES * 2), 0..50)) {
            let mut credit = Credit { received: u32::MAX - 9, forwarded: u32::MAX - 9, told: u32::MAX - 9, ..Credit::default() };
            let mut waiting = 0;
            for (comes, bytes) in steps {
                if comes {
                    let fits = waiting + bytes <= ROOM_BYTES;
                    prop_assert_eq!(credit.receive(bytes), fits);
                    waiting += if fits { bytes } else { 0 };
                } else {
                    let goes = bytes.min(waiting);
                    credit.forward(goes);
                    waiting -= goes;
                }
                if credit.should_tell() {
                    credit.tell();
                    prop_assert!(!credit.should_tell());
                }
            }
        }

        #[test]
        fn no_more_is_sent_than_the_guest_has_room_for(room in any::<u32>(), read in any::<u32>(), sent in any::<u32>()) {
            let mut credit = Credit { sent, ..Credit::default() };
            credit.heard(room, read);
            let free = credit.free();
            prop_assert!(free <= room);
            credit.send(free);
            prop_assert_eq!(credit.free(), 0);
        }
    }

    #[test]
    fn a_guest_that_sends_on_is_told_before_it_has_to_wait() {
        let mut credit = Credit::default();
        assert!(credit.receive(ROOM_BYTES / 2));
        credit.forward(ROOM_BYTES / 2);
        assert!(!credit.should_tell());
        assert!(credit.receive(1));
        assert!(credit.should_tell());
        assert_eq!(credit.tell(), ROOM_BYTES / 2);
        assert!(!credit.should_tell());
    }
}
