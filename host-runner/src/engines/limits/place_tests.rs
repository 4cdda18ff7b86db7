//! Machines of each kind, by what their kernels say.

use super::*;

const V2: &str = "25 1 0:22 / /sys rw - sysfs sysfs rw\n\
    30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
const V1: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
    32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
    35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
    39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
    38 31 0:35 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n\
    40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
    41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
const V1_OWN: &str = "9:name=systemd:/system.slice/host-runner.service\n8:pids:/system.slice/host-runner.service\n\
    7:blkio:/\n4:memory:/box:1/a\n1:cpu,cpuacct:/\n0::/system.slice/host-runner.service\n";

fn open(controllers: &str) -> Folder {
    Folder {
        writable: true,
        controllers: controllers.to_owned(),
        ..Folder::default()
    }
}

fn folders(place: &[Holder]) -> Vec<(&str, &[Controller])> {
    place
        .iter()
        .map(|one| (one.folder.to_str().unwrap(), one.controllers.as_slice()))
        .collect()
}

use Controller::{Cpu, Io, Memory, Pids};

#[test]
fn root_on_version_2_has_the_guests_groups_below_the_root() {
    let trees = hierarchies("0::/system.slice/host-runner.service\n", V2);
    assert_eq!(
        trees[0].own,
        Path::new("/sys/fs/cgroup/system.slice/host-runner.service")
    );
    let place = choose(&trees, |_, _| open("cpuset cpu io memory hugetlb pids rdma\n"));
    assert_eq!(
        folders(&place),
        [("/sys/fs/cgroup", &[Cpu, Memory, Pids, Io][..])]
    );
}

#[test]
fn a_user_has_them_where_systemd_delegates() {
    let own = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/host-runner.service";
    let delegated = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service";
    let place = choose(&hierarchies(own, V2), |_, folder| Folder {
        writable: folder.starts_with(delegated),
        ..open("cpu memory pids")
    });
    assert_eq!(folders(&place), [(delegated, &[Cpu, Memory, Pids][..])]);
}

#[test]
fn a_user_who_logged_in_without_a_delegation_has_none() {
    let trees = hierarchies("0::/user.slice/user-1000.slice/session-3.scope", V2);
    let place = choose(&trees, |_, _| Folder {
        writable: false,
        ..open("cpu memory pids")
    });
    assert_eq!(place, []);
}

#[test]
fn a_containers_root_that_holds_processes_gives_only_what_it_gives_already() {
    let inner = |given: &str| Folder {
        is_inner: true,
        given: given.to_owned(),
        ..open("cpu memory pids")
    };
    let trees = hierarchies("0::/", V2);
    assert_eq!(choose(&trees, |_, _| inner("")), []);
    let place = choose(&trees, |_, _| inner("memory pids"));
    assert_eq!(folders(&place), [("/sys/fs/cgroup", &[Memory, Pids][..])]);
}

#[test]
fn version_1_has_a_place_in_each_controllers_tree_and_its_empty_version_2_is_none() {
    let trees = hierarchies(V1_OWN, V1);
    let place = choose(&trees, |_, _| open(""));
    assert_eq!(
        folders(&place),
        [
            ("/sys/fs/cgroup/cpu,cpuacct", &[Cpu][..]),
            ("/sys/fs/cgroup/memory/box:1/a", &[Memory][..]),
            (
                "/sys/fs/cgroup/pids/system.slice/host-runner.service",
                &[Pids][..]
            ),
            ("/sys/fs/cgroup/blkio", &[Io][..]),
        ]
    );
}

#[test]
fn in_a_hybrid_each_controller_is_used_once_and_version_2_comes_first() {
    let trees = hierarchies(V1_OWN, V1);
    let place = choose(&trees, |_, _| open("memory pids"));
    assert_eq!(
        folders(&place),
        [
            ("/sys/fs/cgroup/unified", &[Memory, Pids][..]),
            ("/sys/fs/cgroup/cpu,cpuacct", &[Cpu][..]),
            ("/sys/fs/cgroup/blkio", &[Io][..]),
        ]
    );
}

#[test]
fn a_tree_of_which_a_container_sees_a_part_is_used_where_it_shows_the_agent() {
    let bound = "30 25 0:26 /box/7 /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
    let trees = hierarchies("0::/box/7/app", bound);
    assert_eq!(trees[0].own, Path::new("/sys/fs/cgroup/app"));
    assert_eq!(hierarchies("0::/box/8", bound), []);
    assert_eq!(hierarchies("0::/../8", V2), []);
}

#[test]
fn a_kernel_without_control_groups_has_none() {
    assert_eq!(hierarchies("", V2), []);
    assert_eq!(hierarchies("0::/", ""), []);
    assert_eq!(
        hierarchies("nonsense\n::\n", "short line\n - \n1 2 3 / /x rw - cgroup2"),
        []
    );
    assert_eq!(choose(&[], |_, _| open("cpu")), []);
}

#[test]
fn a_mount_points_spaces_are_read() {
    let trees = hierarchies("0::/", r"30 25 0:26 / /mnt/a\040b rw - cgroup2 cgroup2 rw");
    assert_eq!(trees[0].mount, Path::new("/mnt/a b"));
}
