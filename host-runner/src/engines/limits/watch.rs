//! The control group of one instance's guest, from its launch to its removal, as the instance's task follows it.

use uuid::Uuid;

use super::{Budget, GuestGroup, Limits};

/// What is known of the group of the present guest, or of the last one.
#[derive(Debug, Default)]
pub struct GroupWatch {
    group: Option<GuestGroup>,
    /// The kernel's count of kills when the guest was last seen alive: those did not end it.
    kills_seen: u64,
}

impl GroupWatch {
    /// A group for a guest to come; that of the one before goes.
    pub fn renew(&mut self, limits: &Limits, id: Uuid, budget: Budget) -> GuestGroup {
        self.remove(limits, id);
        let group = limits.make(id, budget);
        self.kills_seen = group.memory_kills();
        self.group = Some(group.clone());
        group
    }

    /// The guest was seen alive, as process `pid`.
    pub fn seen_alive(&mut self, limits: &Limits, id: Uuid, pid: u32) {
        let group = self.group.get_or_insert_with(|| limits.of(id, Some(pid)));
        self.kills_seen = group.memory_kills();
    }

    /// Whether the kernel has killed for lack of memory since the guest was last seen alive.
    pub fn ran_out_of_memory(&mut self, limits: &Limits, id: Uuid) -> bool {
        let group = self.group.get_or_insert_with(|| limits.of(id, None));
        group.memory_kills() > self.kills_seen
    }

    /// Removes the group of a guest that has ended; `false` where a process is still in it.
    pub fn remove(&mut self, limits: &Limits, id: Uuid) -> bool {
        let group = self.group.take().unwrap_or_else(|| limits.of(id, None));
        let removed = group.remove();
        if !removed {
            self.group = Some(group);
        }
        removed
    }
}
