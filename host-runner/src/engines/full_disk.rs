//! Guests that their engine holds because the disk is full: they go on by themselves once there is room.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::EngineError;
use crate::reconcile::GuestStatus;

/// How long a guest that met a full disk waits at least before it is told to go on.
const GO_ON_AFTER: Duration = Duration::from_secs(3);
/// The room on the disk with which a guest that met a full one goes on, in bytes.
const ROOM_TO_GO_ON: u64 = 16 * 1024 * 1024;

/// Whether a full disk holds a guest, and since when.
#[derive(Debug)]
pub struct FullDisk {
    /// The guest's disk.
    path: PathBuf,
    /// When the guest was found held, or last told to go on after that.
    since: Option<Instant>,
}

impl FullDisk {
    /// Of a guest with this disk, which nothing is known to hold.
    pub fn new(path: PathBuf) -> Self {
        Self { path, since: None }
    }

    /// The engine says that a full disk holds the guest. True where the guest is to be told to go on now: it has lost nothing.
    pub fn holds(&mut self, id: Uuid, now: Instant) -> bool {
        let Some(since) = self.since else {
            tracing::warn!(instance = %id, path = %self.path.display(), "the disk is full; the guest is held");
            self.since = Some(now);
            return false;
        };
        let may_go_on =
            now.saturating_duration_since(since) >= GO_ON_AFTER && room(&self.path) >= ROOM_TO_GO_ON;
        if may_go_on {
            tracing::info!(instance = %id, path = %self.path.display(), "the disk has room again; the guest goes on");
            self.since = Some(now);
        }
        may_go_on
    }

    /// What the guest does once its engine was told to set it going again, and gave this answer.
    pub fn was_told_to_go_on(&mut self, id: Uuid, answer: Result<(), EngineError>) -> GuestStatus {
        match answer {
            Ok(()) => {
                self.is_over();
                GuestStatus::Running
            }
            Err(error) => {
                tracing::warn!(instance = %id, %error, "a guest that a full disk held does not go on");
                GuestStatus::Paused
            }
        }
    }

    /// Nothing holds the guest.
    pub fn is_over(&mut self) {
        self.since = None;
    }

    /// Why the guest is held, where it is for this.
    pub fn trouble(&self) -> Option<EngineError> {
        self.since.map(|_| EngineError::DiskFull {
            path: self.path.clone(),
        })
    }
}

/// What is free on the file system that holds a file, in bytes; nothing where that cannot be told.
fn room(path: &Path) -> u64 {
    rustix::fs::statvfs(path).map_or(0, |stats| stats.f_bavail.saturating_mul(stats.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_told_to_go_on_after_a_moment_where_there_is_room_and_no_sooner_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = FullDisk::new(dir.path().to_owned());
        let (id, mut now) = (Uuid::nil(), Instant::now());
        assert!(!disk.holds(id, now) && disk.trouble().is_some());
        for _round in 0..2 {
            now += GO_ON_AFTER;
            assert!(disk.holds(id, now));
            assert!(!disk.holds(id, now + GO_ON_AFTER / 2), "it is held again");
        }
        disk.is_over();
        assert!(disk.trouble().is_none());
    }

    #[test]
    fn a_guest_whose_engine_does_not_set_it_going_stays_held() {
        let mut disk = FullDisk::new("/nonexistent/disk".into());
        disk.holds(Uuid::nil(), Instant::now());
        let refused = disk.was_told_to_go_on(Uuid::nil(), Err(EngineError::CutOff));
        assert!(refused == GuestStatus::Paused && disk.trouble().is_some());
        let done = disk.was_told_to_go_on(Uuid::nil(), Ok(()));
        assert!(done == GuestStatus::Running && disk.trouble().is_none());
    }

    #[test]
    fn where_room_cannot_be_told_the_guest_stays_held() {
        let mut disk = FullDisk::new("/nonexistent/disk".into());
        let now = Instant::now();
        assert!(!disk.holds(Uuid::nil(), now));
        assert!(!disk.holds(Uuid::nil(), now + GO_ON_AFTER * 9));
    }
}
