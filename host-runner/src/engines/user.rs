//! The user as whom guests run, where the agent runs as root.

use std::io::Read as _;

/// A system user without rights, made by whoever sets the machine up. A guest's process becomes it before the guest's first instruction.
const GUEST_USER: &str = "millpond-guest";
/// The most that is read of `/etc/passwd`, in bytes.
const READ_MAX: u64 = 1024 * 1024;

/// A user that a guest's process is to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestUser {
    /// Its name.
    pub name: &'static str,
    /// Its number, never root's.
    pub uid: u32,
    /// The number of its group, never root's.
    pub gid: u32,
}

/// The user that a guest's process is to become; `None` where it stays the agent's user: the agent is not root, or there is no such
/// user.
///
/// Read anew for each guest, so that a user who is made while the agent runs counts for the next one.
pub fn guest_user() -> Option<GuestUser> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let mut users = String::new();
    let file = std::fs::File::open("/etc/passwd").ok()?;
    file.take(READ_MAX).read_to_string(&mut users).ok()?;
    powerless(&users, GUEST_USER)
}

/// The user of that name in the text of `/etc/passwd`, unless it is another name of root's.
fn powerless(users: &str, name: &'static str) -> Option<GuestUser> {
    users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [found, _, uid, gid, ..] = fields.as_slice() else {
            return None;
        };
        let [uid, gid] = [uid, gid].map(|number| number.parse::<u32>().ok().filter(|number| *number != 0));
        (*found == name).then_some(GuestUser {
            name,
            uid: uid?,
            gid: gid?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_found_by_its_whole_name_and_only_without_power() {
        let users =
            |number: &str| format!("root:x:0:0::/root:/bin/sh\nmillpond-guest:x:{number}:990::/:/no\n");
        let found = GuestUser {
            name: GUEST_USER,
            uid: 991,
            gid: 990,
        };
        assert_eq!(powerless(&users("991"), GUEST_USER), Some(found));
        assert_eq!(powerless(&users("0"), GUEST_USER), None);
        assert_eq!(powerless(&users("many"), GUEST_USER), None);
        assert_eq!(powerless("millpond-guests:x:7:7::/:/no", GUEST_USER), None);
        assert_eq!(powerless("millpond-guest:x:7:0::/:/no", GUEST_USER), None);
        assert_eq!(powerless("millpond-guest:x:7", GUEST_USER), None);
    }
}
