//! Readings of the kernel's text files: pure functions over text that may be anything.

/// The CPU's counters since start-up, in clock ticks over all threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct CpuTicks {
    pub(super) total: u64,
    pub(super) idle: u64,
}

impl CpuTicks {
    /// The first line of `/proc/stat`.
    pub(super) fn parse(stat: &str) -> Option<Self> {
        let mut words = stat.lines().next()?.split_ascii_whitespace();
        if words.next()? != "cpu" {
            return None;
        }
        // user nice system idle iowait irq softirq steal; the guest columns after them are part of user and nice.
        let counters: Vec<u64> = words.take(8).map_while(|word| word.parse().ok()).collect();
        let idle = *counters.get(3)?;
        let waiting = counters.get(4).copied().unwrap_or(0);
        Some(Self {
            total: counters.iter().fold(0, |sum, &count| sum.saturating_add(count)),
            idle: idle.saturating_add(waiting),
        })
    }

    /// The share in use between two readings, 0..=100; 0 where no time has passed or the counters went back.
    pub(super) fn percent_since(self, earlier: Self) -> f64 {
        let total = self.total.saturating_sub(earlier.total);
        let idle = self.idle.saturating_sub(earlier.idle).min(total);
        percent(total - idle, total)
    }
}

/// `part` of `whole` in percent; 0 of nothing.
#[expect(
    clippy::cast_precision_loss,
    reason = "a percentage needs no more than 52 bits"
)]
pub(super) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    // Rounding could end just above.
    (part as f64 * 100.0 / whole as f64).min(100.0)
}

/// Memory from `/proc/meminfo`, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) total_kib: u64,
    pub(super) available_kib: u64,
}

impl Memory {
    pub(super) fn parse(meminfo: &str) -> Option<Self> {
        Some(Self {
            total_kib: kib_of(meminfo, "MemTotal")?,
            // Kernels before 3.14 lack it; what is free is then the safest answer.
            available_kib: kib_of(meminfo, "MemAvailable").or_else(|| kib_of(meminfo, "MemFree"))?,
        })
    }
}

/// The number behind `key:` in a file whose lines read `Key:   123 kB`.
pub(super) fn kib_of(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        if name != key {
            return None;
        }
        value.trim().strip_suffix("kB")?.trim_end().parse().ok()
    })
}

/// What identifies a process and what it has used, from `/proc/PID/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProcessStat {
    /// User and system time, in clock ticks.
    pub(super) ticks: u64,
    /// When it began, in clock ticks since start-up: tells a process from a later one with the same pid.
    pub(super) began_ticks: u64,
    /// False for a process that has ended and waits for its parent to notice.
    pub(super) alive: bool,
}

impl ProcessStat {
    pub(super) fn parse(stat: &str) -> Option<Self> {
        // The command's name stands in parentheses and may hold anything, closing parentheses too.
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Field 3 (the state) comes first here: field N of the manual is at N - 3.
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            ticks: number(14)?.saturating_add(number(15)?),
            began_ticks: number(22)?,
            alive: !matches!(*fields.first()?, "Z" | "X" | "x"),
        })
    }
}

/// Whole seconds since start-up, from `/proc/uptime`.
pub(super) fn uptime_s(uptime: &str) -> Option<u32> {
    let (seconds, _) = uptime.split_ascii_whitespace().next()?.split_once('.')?;
    let seconds: u64 = seconds.parse().ok()?;
    Some(u32::try_from(seconds).unwrap_or(u32::MAX))
}

/// What `/proc/cpuinfo` tells of the first CPU.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Cpu {
    /// Empty where the CPU has none.
    pub(super) model: String,
    pub(super) virtualization: Option<CpuVirtualization>,
    /// True where this machine is itself a guest.
    pub(super) is_guest: bool,
}

/// The CPU's extension for running guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CpuVirtualization {
    /// Intel's VT-x.
    Vmx,
    /// AMD's SVM.
    Svm,
}

impl Cpu {
    pub(super) fn parse(cpuinfo: &str) -> Self {
        let value = |key: &str| {
            cpuinfo.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                (name.trim() == key).then(|| value.trim())
            })
        };
        let flags = value("flags").unwrap_or_default();
        let has = |flag: &str| flags.split_ascii_whitespace().any(|word| word == flag);
        Self {
            model: printable(value("model name").unwrap_or_default()),
            virtualization: match (has("vmx"), has("svm")) {
                (true, _) => Some(CpuVirtualization::Vmx),
                (_, true) => Some(CpuVirtualization::Svm),
                _ => None,
            },
            is_guest: has("hypervisor"),
        }
    }
}

/// The name and version that people know, from `/etc/os-release`.
pub(super) fn os_name(os_release: &str) -> Option<String> {
    let value = os_release
        .lines()
        .find_map(|line| line.trim().strip_prefix("PRETTY_NAME="))?
        .trim();
    let unquoted = [('"', '"'), ('\'', '\'')]
        .iter()
        .find_map(|&(open, close)| value.strip_prefix(open)?.strip_suffix(close))
        .unwrap_or(value);
    Some(printable(unquoted)).filter(|name| !name.is_empty())
}

/// Text of another's making, fit to show: without control characters, at most 128 characters.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(128).collect()
}

/// Whether `/etc/group` has the group.
pub(super) fn has_group(group_file: &str, name: &str) -> bool {
    group_file
        .lines()
        .any(|line| line.split(':').next() == Some(name))
}

/// The version in the first line of `qemu-system-x86_64 --version`.
pub(super) fn qemu_version(output: &str) -> Option<(u32, u32)> {
    let (_, rest) = output.lines().next()?.split_once("version ")?;
    let mut numbers = rest.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cpu_load_is_what_was_not_idle_between_two_readings() {
        let before = CpuTicks::parse("cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 2 3\n").unwrap();
        let after = CpuTicks::parse("cpu  150 0 150 750 150 0 0 0 0 0\n").unwrap();
        assert_eq!(
            before,
            CpuTicks {
                total: 1_000,
                idle: 800
            }
        );
        assert!((after.percent_since(before) - 50.0).abs() < 1e-9);
        // No time, and counters that went back (a resumed machine), are no load.
        assert!(before.percent_since(before) < 1e-9);
        assert!(before.percent_since(after) < 1e-9);
    }

    #[test]
    fn guest_time_is_not_counted_twice() {
        let ticks = CpuTicks::parse("cpu 10 0 0 10 0 0 0 0 10 0").unwrap();
        assert_eq!(ticks.total, 20);
    }

    #[test]
    fn memory_is_read_by_name_not_by_place() {
        let memory = Memory::parse("MemAvailable:  1024 kB\nMemTotal:       4096 kB\n").unwrap();
        assert_eq!(
            memory,
            Memory {
                total_kib: 4_096,
                available_kib: 1_024
            }
        );
        assert_eq!(Memory::parse("MemTotal: 4096 MB\n"), None);
        assert_eq!(Memory::parse("MemTotal: -1 kB\nMemFree: 1 kB\n"), None);
    }

    #[test]
    fn a_process_may_be_named_anything() {
        let stat = "42 (a) R 1 (b)) S 1 42 42 0 -1 0 0 0 0 0 7 5 0 0 20 0 1 0 99 0 0";
        assert_eq!(
            ProcessStat::parse(stat),
            Some(ProcessStat {
                ticks: 12,
                began_ticks: 99,
                alive: true
            })
        );
        let dead = stat.replace(")) S", ")) Z");
        assert!(!ProcessStat::parse(&dead).unwrap().alive);
    }

    #[test]
    fn the_cpus_flags_are_whole_words() {
        let cpu = Cpu::parse("model name\t: EPYC\nflags\t\t: fpu svm_lock npt hypervisor\n");
        assert_eq!((cpu.virtualization, cpu.is_guest), (None, true));
        assert_eq!(
            Cpu::parse("flags : fpu svm npt").virtualization,
            Some(CpuVirtualization::Svm)
        );
        assert_eq!(
            Cpu::parse("flags : vmx").virtualization,
            Some(CpuVirtualization::Vmx)
        );
    }

    #[test]
    fn the_systems_name_is_unquoted_and_clean() {
        assert_eq!(
            os_name("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n").as_deref(),
            Some("Debian GNU/Linux 12 (bookworm)")
        );
        assert_eq!(os_name("PRETTY_NAME='Arch'").as_deref(), Some("Arch"));
        assert_eq!(os_name("PRETTY_NAME=\"a\u{1b}[2Jb\"").as_deref(), Some("a[2Jb"));
        assert_eq!(os_name("PRETTY_NAME=\"\""), None);
    }

    #[test]
    fn versions_and_groups_are_found() {
        assert_eq!(
            qemu_version("QEMU emulator version 7.2.22 (Debian 1:7.2)"),
            Some((7, 2))
        );
        assert_eq!(qemu_version("QEMU emulator version 10.0"), Some((10, 0)));
        assert_eq!(qemu_version("no such thing"), None);
        assert!(has_group("root:x:0:\nmillpond:x:999:ada\n", "millpond"));
        assert!(!has_group("xmillpond:x:1:\n", "millpond"));
        assert_eq!(uptime_s("12345.67 999.0\n"), Some(12_345));
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC*|[a-z0-9 :().\n]*") {
            let _ = CpuTicks::parse(&text);
            let _ = CpuTicks::parse(&format!("cpu {text}"));
            let _ = Memory::parse(&text);
            let _ = ProcessStat::parse(&text);
            let _ = uptime_s(&text);
            let _ = Cpu::parse(&text);
            let _ = os_name(&text);
            let _ = qemu_version(&text);
        }

        #[test]
        fn load_stays_a_percentage(
            a in any::<(u64, u64)>(),
            b in any::<(u64, u64)>(),
        ) {
            let ticks = |(total, idle)| CpuTicks { total, idle };
            let load = ticks(a).percent_since(ticks(b));
            prop_assert!((0.0..=100.0).contains(&load), "{load}");
        }
    }
}
