//! What one guest's processes may have together, and the files that say so. Pure.

use std::fmt::Display;

use api::Mib;

use super::place::{Controller, Version};

/// The time over which processor time is counted out, in µs: the kernel's own default.
const PERIOD_US: u64 = 100_000;
/// Processors beside the guest's own: one for the engine's devices and the network.
const ENGINE_CPUS: u64 = 1;
/// Threads and processes beside one for each vCPU: QEMU alone may keep 64 for its disk and ends where it is refused one.
const ENGINE_TASKS: u64 = 512;
/// Memory that is the kernel's and still counts, whatever the guest's size: socket buffers, stacks, a little of the page cache.
const KERNEL_MIB: u64 = 64;
/// Of the guest's memory, the part that the kernel's tables for it may take: page tables twice over, and KVM's own.
const TABLES_PART: u64 = 32;

/// One guest's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    vcpus: u64,
    memory_mib: u64,
}

/// A file of the group, and what is written there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The file's name.
    pub file: &'static str,
    /// What is written.
    pub text: String,
    /// Not every kernel has it, and it is done without.
    pub optional: bool,
}

fn setting(file: &'static str, text: impl Display) -> Setting {
    Setting {
        file,
        text: format!("{text}"),
        optional: false,
    }
}

fn optional(file: &'static str, text: impl Display) -> Setting {
    Setting {
        optional: true,
        ..setting(file, text)
    }
}

impl Budget {
    /// For a guest with `vcpus` and `memory`, on an engine that is known to take `overhead` beside. Twice that is allowed, and the
    /// kernel's own part: the limit is there for an engine that was taken over or leaks, and must never meet a sound one.
    pub fn new(vcpus: u32, memory: Mib, overhead: Mib) -> Self {
        let (memory, overhead) = (u64::from(memory.0), u64::from(overhead.0));
        Self {
            vcpus: u64::from(vcpus.max(1)),
            memory_mib: memory + memory / TABLES_PART + 2 * overhead + KERNEL_MIB,
        }
    }

    /// What the group's files for a controller are to say.
    pub fn settings(self, controller: Controller, version: Version) -> Vec<Setting> {
        let quota_us = (self.vcpus + ENGINE_CPUS) * PERIOD_US;
        let bytes = self.memory_mib << 20;
        match (controller, version) {
            // Where processors are short, each guest gets as its vCPUs are to those of the others.
            (Controller::Cpu, Version::Two) => vec![
                setting("cpu.max", format!("{quota_us} {PERIOD_US}")),
                setting("cpu.weight", (100 * self.vcpus).min(10_000)),
            ],
            (Controller::Cpu, Version::One) => vec![
                setting("cpu.cfs_period_us", PERIOD_US),
                setting("cpu.cfs_quota_us", quota_us),
                setting("cpu.shares", (1024 * self.vcpus).min(262_144)),
            ],
            // A guest goes as a whole: without its network, or without its monitor, the rest is of no use.
            (Controller::Memory, Version::Two) => {
                vec![setting("memory.max", bytes), optional("memory.oom.group", 1)]
            }
            (Controller::Memory, Version::One) => vec![setting("memory.limit_in_bytes", bytes)],
            (Controller::Pids, _) => vec![setting("pids.max", self.vcpus + ENGINE_TASKS)],
            // A limit in numbers would need to be told how fast the disks are; equal shares need nothing.
            (Controller::Io, Version::Two) => vec![optional("io.weight", "default 100")],
            (Controller::Io, Version::One) => vec![optional("blkio.bfq.weight", 100)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(budget: Budget, version: Version) -> Vec<(&'static str, String)> {
        let all = Controller::ALL.into_iter();
        all.flat_map(|controller| budget.settings(controller, version))
            .map(|setting| (setting.file, setting.text))
            .collect()
    }

    #[test]
    fn a_guest_gets_its_processors_and_one_and_its_memory_and_some() {
        let budget = Budget::new(2, Mib(1024), Mib(16));
        let limit = ((1024 + 32 + 32 + 64_u64) << 20).to_string();
        assert_eq!(
            said(budget, Version::Two),
            [
                ("cpu.max", "300000 100000".to_owned()),
                ("cpu.weight", "200".to_owned()),
                ("memory.max", limit.clone()),
                ("memory.oom.group", "1".to_owned()),
                ("pids.max", "514".to_owned()),
                ("io.weight", "default 100".to_owned()),
            ]
        );
        assert_eq!(
            said(budget, Version::One),
            [
                ("cpu.cfs_period_us", "100000".to_owned()),
                ("cpu.cfs_quota_us", "300000".to_owned()),
                ("cpu.shares", "2048".to_owned()),
                ("memory.limit_in_bytes", limit),
                ("pids.max", "514".to_owned()),
                ("blkio.bfq.weight", "100".to_owned()),
            ]
        );
    }

    #[test]
    fn the_largest_guest_has_limits_that_the_kernel_takes() {
        let budget = Budget::new(u32::MAX, Mib(u32::MAX), Mib(u32::MAX));
        let weight = said(budget, Version::Two)
            .into_iter()
            .find(|(file, _)| *file == "cpu.weight");
        assert_eq!(weight.unwrap().1, "10000");
    }
}
