//! Control groups: what a guest's processes may have together, whatever its engine was made to do.
//!
//! ```text
//! HOLDER/millpond/ID/    the guest's processes: its engine and its network
//! ```
//!
//! `HOLDER` is where the kernel and whoever set the machine up let this user make groups (see [`place`]); on version 1 there is one for
//! each controller. A process enters its group between `fork` and `exec`, so that all that it ever takes counts. The group lasts as long
//! as a process is in it, whatever becomes of the agent; the agent removes it when the guest has ended. Where no group can be made,
//! guests run without limits, and `doctor` says so.

mod budget;
mod place;
mod watch;

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use uuid::Uuid;

pub use self::budget::Budget;
pub use self::place::{Controller, Holder, OURS, Version};
use self::place::{Folder, Hierarchy};
pub use self::watch::GroupWatch;

/// The most that is read of a file of the kernel's, in bytes.
const READ_MAX: u64 = 1024 * 1024;

/// How often a group is made anew whose parent went in between.
const MAKE_TRIES: usize = 16;

/// Where guests' groups can be on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    holders: Vec<Holder>,
}

impl From<Vec<Holder>> for Limits {
    fn from(holders: Vec<Holder>) -> Self {
        Self { holders }
    }
}

impl Limits {
    /// Looks; changes nothing.
    pub fn look() -> Self {
        let trees = hierarchies("self");
        Self {
            holders: place::choose(&trees, look_at),
        }
    }

    /// The folders that have the guests' groups; none where nothing can be limited.
    pub fn holders(&self) -> &[Holder] {
        &self.holders
    }

    /// What is limited, in a fixed order.
    pub fn controllers(&self) -> Vec<Controller> {
        let has = |one: &Controller| self.holders.iter().any(|holder| holder.controllers.contains(one));
        Controller::ALL.into_iter().filter(has).collect()
    }

    /// Makes the group of a guest to come, with its limits. What cannot be limited is said in the log, and the guest runs without it:
    /// a machine whose groups somebody rearranged still runs what it was given.
    pub fn make(&self, id: Uuid, budget: Budget) -> GuestGroup {
        let folders = self.holders.iter().filter_map(|holder| {
            let ours = holder.folder.join(OURS);
            let folder = ours.join(id.to_string());
            let made = make_below(holder, &ours, &folder);
            if let Err(error) = made {
                tracing::warn!(instance = %id, %error, group = %folder.display(), "no control group for the guest");
                return None;
            }
            for controller in &holder.controllers {
                limit(&folder, *controller, holder.version, budget);
            }
            Some((holder.version, folder))
        });
        GuestGroup {
            folders: folders.collect(),
        }
    }

    /// The group of a live guest: where its process is, else where a new one would be.
    pub fn of(&self, id: Uuid, pid: Option<u32>) -> GuestGroup {
        let mut folders = pid
            .map(|pid| GuestGroup::of_process(id, pid).folders)
            .unwrap_or_default();
        for holder in &self.holders {
            let folder = holder.folder.join(OURS).join(id.to_string());
            if folder.is_dir() && !folders.iter().any(|(_, known)| *known == folder) {
                folders.push((holder.version, folder));
            }
        }
        GuestGroup { folders }
    }
}

/// The control group of one guest: a folder in each tree that limits it; empty where nothing does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuestGroup {
    folders: Vec<(Version, PathBuf)>,
}

impl GuestGroup {
    /// The group that a process of the guest's is in; empty where it is in none of its own.
    pub fn of_process(id: Uuid, pid: u32) -> Self {
        let its = Path::new(OURS).join(id.to_string());
        let trees = hierarchies(&pid.to_string()).into_iter();
        Self {
            folders: trees
                .map(|tree| (tree.version, tree.own))
                .filter(|(_, folder)| folder.ends_with(&its))
                .collect(),
        }
    }

    /// Its doors: who writes a zero there enters. Opened before a process is forked, which then needs no path and no memory.
    pub fn doors(&self) -> Vec<OwnedFd> {
        let doors = self.folders.iter().filter_map(|(_, folder)| {
            let door = folder.join("cgroup.procs");
            let opened = File::options().write(true).open(&door);
            opened
                .inspect_err(
                    |error| tracing::warn!(%error, door = %door.display(), "a guest runs outside its control group"),
                )
                .ok()
        });
        doors.map(OwnedFd::from).collect()
    }

    /// Whether a process is in all of it.
    pub fn holds(&self, pid: u32) -> bool {
        let pid = pid.to_string();
        self.folders.iter().all(|(_, folder)| {
            read(&folder.join("cgroup.procs")).is_ok_and(|text| text.lines().any(|line| line == pid))
        })
    }

    /// How many of its processes the kernel has killed since the group had more memory than it may.
    pub fn memory_kills(&self) -> u64 {
        let kills = self.folders.iter().filter_map(|(version, folder)| {
            let file = match version {
                Version::Two => "memory.events",
                Version::One => "memory.oom_control",
            };
            oom_kills(&read(&folder.join(file)).ok()?)
        });
        kills.max().unwrap_or(0)
    }

    /// Removes it; `false` where a process is still in it. Gone already is no error.
    pub fn remove(&self) -> bool {
        let removed = self
            .folders
            .iter()
            .map(|(_, folder)| match fs::remove_dir(folder) {
                Err(err) if err.kind() == io::ErrorKind::ResourceBusy => false,
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, group = %folder.display(), "a control group is left behind");
                    true
                }
                _ => {
                    // The last guest takes ours with it; one that another guest is in stays.
                    let _others_are_there = folder.parent().map(fs::remove_dir);
                    true
                }
            });
        // Each is tried, whatever became of the others.
        removed.filter(|removed| !removed).count() == 0
    }
}

/// `oom_kill N` of `memory.events` and of `memory.oom_control`.
fn oom_kills(text: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

fn hierarchies(process: &str) -> Vec<Hierarchy> {
    let text = |path: String| read(Path::new(&path)).unwrap_or_default();
    place::hierarchies(
        &text(format!("/proc/{process}/cgroup")),
        &text("/proc/self/mountinfo".to_owned()),
    )
}

fn look_at(version: Version, folder: &Path) -> Folder {
    let may = |path: &Path| rustix::fs::access(path, Access::WRITE_OK).is_ok();
    let file = |name: &str| folder.join(name);
    match version {
        Version::One => Folder {
            writable: may(folder),
            ..Folder::default()
        },
        Version::Two => Folder {
            writable: may(folder) && may(&file("cgroup.procs")) && may(&file("cgroup.subtree_control")),
            controllers: read(&file("cgroup.controllers")).unwrap_or_default(),
            given: read(&file("cgroup.subtree_control")).unwrap_or_default(),
            // The root has no type.
            is_inner: file("cgroup.type").exists()
                && read(&file("cgroup.procs")).is_ok_and(|processes| !processes.is_empty()),
        },
    }
}

/// Makes a guest's folder in ours. The end of the last guest, of this agent or of another, may take ours away in between: then it is
/// made anew.
fn make_below(holder: &Holder, ours: &Path, folder: &Path) -> io::Result<()> {
    let mut tries = 0;
    loop {
        tries += 1;
        match open_up(holder, ours).and_then(|()| make_folder(folder)) {
            Err(err) if err.kind() == io::ErrorKind::NotFound && tries < MAKE_TRIES => {}
            made => return made,
        }
    }
}

/// Makes the folder for all guests' groups; on version 2 it gets the controllers from above and hands them on.
fn open_up(holder: &Holder, ours: &Path) -> io::Result<()> {
    make_folder(ours)?;
    if holder.version == Version::Two {
        for folder in [&holder.folder, ours] {
            let control = folder.join("cgroup.subtree_control");
            let given = read(&control)?;
            let missing = holder
                .controllers
                .iter()
                .map(|one| one.name(holder.version))
                .filter(|name| !given.split_whitespace().any(|word| word == *name));
            for name in missing {
                // Each by itself: one that cannot be had must not keep the others away.
                if let Err(error) = fs::write(&control, format!("+{name}")) {
                    tracing::warn!(%error, controller = name, group = %folder.display(), "guests are not limited by it");
                }
            }
        }
    }
    Ok(())
}

fn make_folder(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn limit(folder: &Path, controller: Controller, version: Version, budget: Budget) {
    for setting in budget.settings(controller, version) {
        let file = folder.join(setting.file);
        match fs::write(&file, &setting.text) {
            Ok(()) => {}
            Err(_) if setting.optional => {}
            Err(error) => {
                tracing::warn!(%error, file = %file.display(), "the guest is not limited by it");
            }
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(READ_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use api::Mib;

    use super::*;

    #[test]
    fn the_kernels_count_of_kills_is_read_from_both_versions_files() {
        assert_eq!(
            oom_kills("low 0\nmax 31\noom 2\noom_kill 1\noom_group_kill 0\n"),
            Some(1)
        );
        assert_eq!(
            oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
            Some(3)
        );
        assert_eq!(oom_kills("oom_kill_disable 0\n"), None);
    }

    #[test]
    fn without_groups_nothing_is_limited_and_nothing_fails() {
        let limits = Limits::default();
        let group = limits.make(Uuid::now_v7(), Budget::new(1, Mib(64), Mib(16)));
        assert_eq!((group.doors().len(), group.memory_kills()), (0, 0));
        assert!(group.remove());
        assert_eq!(limits.controllers(), []);
    }

    #[test]
    fn a_guests_group_is_made_found_again_and_removed() {
        let limits = Limits::look();
        if limits.controllers().is_empty() {
            // Neither root nor a delegation: what then happens is the test above.
            return;
        }
        let id = Uuid::now_v7();
        let group = limits.make(id, Budget::new(2, Mib(64), Mib(16)));
        let is_there = |group: &GuestGroup| group.folders.iter().all(|(_, folder)| folder.is_dir());
        assert!(!group.folders.is_empty() && is_there(&group));
        assert_eq!(limits.of(id, None), group);
        let holder = &limits.holders[0];
        for controller in &holder.controllers {
            for setting in Budget::new(2, Mib(64), Mib(16)).settings(*controller, holder.version) {
                let said = read(&group.folders[0].1.join(setting.file));
                if !setting.optional {
                    assert_eq!(said.unwrap().trim(), setting.text, "{}", setting.file);
                }
            }
        }
        assert!(group.remove());
        assert_eq!(limits.of(id, None), GuestGroup::default());
        assert!(group.remove(), "once more is no error");
    }
}
