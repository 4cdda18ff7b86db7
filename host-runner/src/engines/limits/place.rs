//! Where guests' control groups can be: pure readings of the kernel's text, and a choice among what was found.
//!
//! Version 2 has one tree. The agent's own group there holds processes, and such a group must not have children with controllers (the
//! kernel's rule against inner processes), so the place is the topmost ancestor that lets this user make groups: the root for root, the
//! delegated `user@UID.service` for a user. Version 1 has a tree for each controller and no such rule: the place is the agent's own group.

use std::fmt;
use std::path::{Path, PathBuf};

/// The group below which all guests' groups are.
pub const OURS: &str = "millpond";

/// What the kernel limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// Processor time.
    Cpu,
    /// Memory.
    Memory,
    /// Processes and threads.
    Pids,
    /// The share of the disks.
    Io,
}

impl Controller {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Memory, Self::Pids, Self::Io];

    /// Its name; version 1 calls that of the disks otherwise.
    pub fn name(self, version: Version) -> &'static str {
        match (self, version) {
            (Self::Cpu, _) => "cpu",
            (Self::Memory, _) => "memory",
            (Self::Pids, _) => "pids",
            (Self::Io, Version::Two) => "io",
            (Self::Io, Version::One) => "blkio",
        }
    }

    fn among(words: &str, separator: char, version: Version) -> Vec<Self> {
        let named = |controller: &Self| {
            words
                .split(separator)
                .any(|word| word == controller.name(version))
        };
        Self::ALL.into_iter().filter(named).collect()
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "CPU",
            Self::Memory => "memory",
            Self::Pids => "processes",
            Self::Io => "the share of the disks",
        })
    }
}

/// The two kinds of control groups that kernels have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// One tree for each controller.
    One,
    /// One tree for all.
    Two,
}

/// One mounted tree of groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its kind.
    pub version: Version,
    /// What it controls; for version 2 each folder says that.
    pub controllers: Vec<Controller>,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The folder of the group that a process is in.
    pub own: PathBuf,
}

/// The trees that are mounted, with the place of the process whose `/proc/PID/cgroup` is given. A tree that is mounted twice, or whose
/// mount does not show that place, is left out.
pub fn hierarchies(cgroup: &str, mountinfo: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for mounted in mountinfo.lines().filter_map(mount_of) {
        let known = |one: &Hierarchy| {
            one.version == mounted.version
                && (mounted.version == Version::Two || one.controllers == mounted.controllers)
        };
        if found.iter().any(known) {
            continue;
        }
        if let Some(own) = place_in(cgroup, &mounted) {
            found.push(Hierarchy {
                version: mounted.version,
                controllers: mounted.controllers,
                mount: mounted.point,
                own,
            });
        }
    }
    found
}

struct Mount {
    version: Version,
    controllers: Vec<Controller>,
    root: PathBuf,
    point: PathBuf,
}

/// One line of `/proc/PID/mountinfo`: `ID PARENT DEVICE ROOT POINT OPTIONS … - TYPE SOURCE OPTIONS`.
fn mount_of(line: &str) -> Option<Mount> {
    let (place, kind) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(3);
    let (root, point) = (unescape(place.next()?), unescape(place.next()?));
    let mut kind = kind.split(' ');
    let version = match kind.next()? {
        "cgroup" => Version::One,
        "cgroup2" => Version::Two,
        _ => return None,
    };
    let controllers = match version {
        Version::One => Controller::among(kind.nth(1)?, ',', version),
        Version::Two => Vec::new(),
    };
    (version == Version::Two || !controllers.is_empty()).then_some(Mount {
        version,
        controllers,
        root,
        point,
    })
}

/// Spaces, tabs, line ends and backslashes are written as octal numbers.
fn unescape(path: &str) -> PathBuf {
    let plain = path.replace(r"\040", " ").replace(r"\011", "\t");
    plain.replace(r"\012", "\n").replace(r"\134", r"\").into()
}

/// The folder of a process's group in a mounted tree, from lines of `NUMBER:CONTROLLERS:PATH`.
fn place_in(cgroup: &str, mounted: &Mount) -> Option<PathBuf> {
    let path = cgroup.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let is_it = match mounted.version {
            Version::Two => number == "0" && controllers.is_empty(),
            Version::One => Controller::among(controllers, ',', Version::One) == mounted.controllers,
        };
        is_it.then(|| Path::new(path))
    })?;
    let below = path.strip_prefix(&mounted.root).ok()?;
    // A place above the namespace's root reads as `/../…`: nothing of it is shown.
    let shown = !below
        .components()
        .any(|part| part == std::path::Component::ParentDir);
    // By parts: joined as a whole, the root itself would get a slash at its end.
    shown.then(|| mounted.point.components().chain(below.components()).collect())
}

/// What a folder of a tree allows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Folder {
    /// This user may make groups in it and move processes into them.
    pub writable: bool,
    /// Version 2: what it could give to its children, the text of `cgroup.controllers`.
    pub controllers: String,
    /// Version 2: what it gives to its children, the text of `cgroup.subtree_control`.
    pub given: String,
    /// Version 2: processes are in the group itself, and it is not the root, which alone may have both.
    pub is_inner: bool,
}

/// A folder in which the guests' groups can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its tree's kind.
    pub version: Version,
    /// The folder that is to have ours.
    pub folder: PathBuf,
    /// What is limited by it.
    pub controllers: Vec<Controller>,
}

/// The folders for the guests' groups; none where nothing can be limited.
pub fn choose(hierarchies: &[Hierarchy], look: impl Fn(Version, &Path) -> Folder) -> Vec<Holder> {
    let two = hierarchies
        .iter()
        .filter(|one| one.version == Version::Two)
        .find_map(|tree| unified(tree, &look));
    let taken: Vec<Controller> = two.iter().flat_map(|two| two.controllers.clone()).collect();
    let one = hierarchies
        .iter()
        .filter(|tree| tree.version == Version::One)
        .filter_map(|tree| {
            let left = tree.controllers.iter().filter(|one| !taken.contains(one));
            let controllers: Vec<Controller> = left.copied().collect();
            let usable = !controllers.is_empty() && look(Version::One, &tree.own).writable;
            usable.then(|| Holder {
                version: Version::One,
                folder: tree.own.clone(),
                controllers,
            })
        });
    two.into_iter().chain(one).collect()
}

/// The topmost folder between the mount and the agent's own group that can have groups with limits.
fn unified(tree: &Hierarchy, look: impl Fn(Version, &Path) -> Folder) -> Option<Holder> {
    let mut candidates: Vec<&Path> = tree
        .own
        .ancestors()
        .take_while(|folder| folder.starts_with(&tree.mount))
        .collect();
    candidates.reverse();
    candidates.into_iter().find_map(|folder| {
        let found = look(Version::Two, folder);
        let could = Controller::among(found.controllers.trim(), ' ', Version::Two);
        let gives = Controller::among(found.given.trim(), ' ', Version::Two);
        let controllers = if found.is_inner { gives } else { could };
        let limits = controllers.iter().any(|one| *one != Controller::Io);
        (found.writable && limits).then(|| Holder {
            version: Version::Two,
            folder: folder.to_owned(),
            controllers,
        })
    })
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;
