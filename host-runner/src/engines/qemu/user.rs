//! The user as whom QEMU runs, where the agent runs as root.

use std::io::Read as _;

/// A system user without rights, made by whoever sets the machine up. QEMU becomes it before the guest's first instruction.
pub const GUEST_USER: &str = "millpond-guest";
/// The most that is read of `/etc/passwd`, in bytes.
const READ_MAX: u64 = 1024 * 1024;

/// The user that QEMU is to become; `None` where it stays the agent's user: the agent is not root, or there is no such user.
///
/// Read anew for each guest, so that a user who is made while the agent runs counts for the next one.
pub fn guest_user() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let mut users = String::new();
    let file = std::fs::File::open("/etc/passwd").ok()?;
    file.take(READ_MAX).read_to_string(&mut users).ok()?;
    has_powerless(&users, GUEST_USER).then_some(GUEST_USER)
}

/// Whether the text of `/etc/passwd` has the user, and not as another name of root's.
fn has_powerless(users: &str, name: &str) -> bool {
    users.lines().any(|line| {
        let mut fields = line.split(':');
        let is_named = fields.next() == Some(name);
        let number = fields.nth(1).and_then(|number| number.parse::<u32>().ok());
        is_named && number.is_some_and(|number| number != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_found_by_its_whole_name_and_only_without_power() {
        let users =
            |number: &str| format!("root:x:0:0::/root:/bin/sh\nmillpond-guest:x:{number}:990::/:/no\n");
        assert!(has_powerless(&users("990"), GUEST_USER));
        assert!(!has_powerless(&users("0"), GUEST_USER));
        assert!(!has_powerless(&users("many"), GUEST_USER));
        assert!(!has_powerless("millpond-guests:x:7:7::/:/no", GUEST_USER));
    }
}
