//! What `doctor` says of the guests' limits. Pure.

use api::{Capability, CapabilityState};

use super::checks::capability;
use crate::engines::limits::{Controller, Limits, OURS, Version};

/// What guests must not be without; the share of the disks is one that they have among themselves in any case.
const WANTED: [Controller; 3] = [Controller::Cpu, Controller::Memory, Controller::Pids];

/// Whether the machine bounds what a guest's processes take.
pub(super) fn limits(found: &Limits, privileged: bool) -> Capability {
    let has = found.controllers();
    let (limited, lacking): (Vec<_>, Vec<_>) = WANTED.into_iter().partition(|one| has.contains(one));
    if limited.is_empty() {
        return capability(
            "limits",
            CapabilityState::Limited,
            "guests' processes are not limited: this user can make no control group here, so a guest that breaks out of its engine can \
             take all CPU and memory",
            Some(remedy(privileged)),
        );
    }
    let shares = has.contains(&Controller::Io);
    let shared = if shares {
        ", with equal shares of the disks"
    } else {
        ""
    };
    let limited = format!(
        "each guest's processes are limited in {}{shared} ({})",
        listed(&limited),
        places(found)
    );
    if lacking.is_empty() {
        return capability("limits", CapabilityState::Ok, limited, None);
    }
    let finding = format!("{limited}, and not in {}", listed(&lacking));
    capability(
        "limits",
        CapabilityState::Limited,
        finding,
        Some(remedy(privileged)),
    )
}

fn remedy(privileged: bool) -> &'static str {
    if privileged {
        "give the agent the controllers cpu, memory and pids: mount cgroup2 on /sys/fs/cgroup, and run it outside of a container"
    } else {
        "have them delegated: `Delegate=cpu memory pids io` for user@.service (`sudo systemctl edit user@.service`), and start the agent \
         with `systemd-run --user host-runner serve`"
    }
}

/// `a`, `a and b`, `a, b and c`.
fn listed(controllers: &[Controller]) -> String {
    let words: Vec<String> = controllers.iter().map(ToString::to_string).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}

fn places(found: &Limits) -> String {
    let places = found.holders().iter().map(|holder| {
        let version = match holder.version {
            Version::One => "1",
            Version::Two => "2",
        };
        format!("cgroup v{version}, {}", holder.folder.join(OURS).display())
    });
    places.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::engines::limits::Holder;

    fn holding(version: Version, controllers: &[Controller]) -> Limits {
        Limits::from(vec![Holder {
            version,
            folder: PathBuf::from("/sys/fs/cgroup"),
            controllers: controllers.to_vec(),
        }])
    }

    #[test]
    fn all_that_is_limited_is_told_with_its_place() {
        let found = limits(&holding(Version::Two, &Controller::ALL), true);
        assert_eq!((found.state, found.remedy), (CapabilityState::Ok, None));
        assert_eq!(
            found.finding,
            "each guest's processes are limited in CPU, memory and processes, with equal shares of the disks \
             (cgroup v2, /sys/fs/cgroup/millpond)"
        );
    }

    #[test]
    fn what_is_not_limited_is_told_with_the_remedy() {
        let found = limits(
            &holding(Version::One, &[Controller::Memory, Controller::Pids]),
            false,
        );
        assert_eq!(found.state, CapabilityState::Limited);
        assert!(
            found
                .finding
                .ends_with("(cgroup v1, /sys/fs/cgroup/millpond), and not in CPU"),
            "{found:?}"
        );
        assert!(found.remedy.unwrap().contains("Delegate="));
    }

    #[test]
    fn without_control_groups_doctor_says_what_follows() {
        let found = limits(&Limits::default(), true);
        assert_eq!(found.state, CapabilityState::Limited);
        assert!(found.finding.contains("not limited") && found.remedy.unwrap().contains("cgroup2"));
    }
}
