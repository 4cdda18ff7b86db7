//! How loaded the machine and its guests' processes are.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use api::{InstanceUsage, Mib, Timestamp};

use super::HostError;
use super::error::read_text;
use super::proc::{CpuTicks, Memory, ProcessStat, kib_of, uptime_s};

/// How loaded the machine was at one moment; the ledger adds what is promised to make an [`api::HostUsage`] of it.
#[derive(Debug, Clone, PartialEq)]
pub struct HostSample {
    /// When it was taken.
    pub sampled_at: Timestamp,
    /// CPU in use over all threads since the sample before (since start-up for the first), 0..=100.
    pub cpu_percent: f64,
    /// Memory in use by everything on the machine.
    pub memory_used: Mib,
    /// The size of the file system that holds the state folder.
    pub disk_total: Mib,
    /// What an ordinary user may still write there.
    pub disk_available: Mib,
    /// Seconds since the machine started.
    pub uptime_s: u32,
}

/// Samples the machine's load; keeps the counters of the sample before.
#[derive(Debug)]
pub struct UsageSampler {
    state_dir: PathBuf,
    earlier: CpuTicks,
}

impl UsageSampler {
    /// A sampler that measures the disk of `state_dir`.
    pub fn new(state_dir: &Path) -> Self {
        Self {
            state_dir: state_dir.to_owned(),
            earlier: CpuTicks::default(),
        }
    }

    /// Takes a sample. A few small reads of `/proc`: quick enough to call from an async task.
    ///
    /// # Errors
    /// `Io` or `Unreadable`, naming the file.
    pub fn sample(&mut self) -> Result<HostSample, HostError> {
        let ticks = parsed("/proc/stat", "CPU counters", CpuTicks::parse)?;
        let memory = parsed("/proc/meminfo", "memory counters", Memory::parse)?;
        let uptime_s = parsed("/proc/uptime", "seconds", uptime_s)?;
        let disk = disk(&self.state_dir)?;
        let cpu_percent = ticks.percent_since(self.earlier);
        self.earlier = ticks;
        Ok(HostSample {
            sampled_at: Timestamp(jiff::Timestamp::now()),
            cpu_percent,
            memory_used: Mib::ceil_from_bytes(
                memory
                    .total_kib
                    .saturating_sub(memory.available_kib)
                    .saturating_mul(1_024),
            ),
            disk_total: disk.total,
            disk_available: disk.available,
            uptime_s,
        })
    }
}

/// The size and room of a file system.
#[derive(Debug, Clone, Copy)]
pub(super) struct Disk {
    pub(super) total: Mib,
    pub(super) available: Mib,
}

/// The file system that holds `folder`.
pub(super) fn disk(folder: &Path) -> Result<Disk, HostError> {
    let stat = rustix::fs::statvfs(folder).map_err(|err| HostError::Io {
        operation: "measure the disk of",
        path: folder.to_owned(),
        err: err.into(),
    })?;
    let size = |blocks: u64| Mib::floor_from_bytes(blocks.saturating_mul(stat.f_frsize));
    Ok(Disk {
        total: size(stat.f_blocks),
        available: size(stat.f_bavail),
    })
}

fn parsed<T>(
    path: &str,
    expected: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, HostError> {
    let path = Path::new(path);
    let text = read_text(path)?;
    parse(&text).ok_or_else(|| HostError::Unreadable {
        path: path.to_owned(),
        expected,
    })
}

/// Samples what one process uses; keep one for each guest.
#[derive(Debug)]
pub struct ProcessSampler {
    pid: u32,
    earlier: Option<(Instant, ProcessStat)>,
}

/// When a process began, in clock ticks since start-up: with its number, that tells it from any other. `None` where there is none.
pub fn process_began(pid: u32) -> Option<u64> {
    let text = read_text(Path::new(&format!("/proc/{pid}/stat"))).ok()?;
    ProcessStat::parse(&text).map(|stat| stat.began_ticks)
}

impl ProcessSampler {
    /// A sampler of the process `pid`.
    pub fn new(pid: u32) -> Self {
        Self { pid, earlier: None }
    }

    /// Takes a sample; `None` when the process is gone, or another one has its pid. The first sample's CPU is 0.
    ///
    /// # Errors
    /// `Io` or `Unreadable`, naming the file.
    pub fn sample(&mut self) -> Result<Option<InstanceUsage>, HostError> {
        let stat_path = PathBuf::from(format!("/proc/{}/stat", self.pid));
        let Some(text) = present(read_text(&stat_path))? else {
            return Ok(None);
        };
        let stat = ProcessStat::parse(&text).ok_or(HostError::Unreadable {
            path: stat_path,
            expected: "the state of a process",
        })?;
        let now = Instant::now();
        let is_another = self
            .earlier
            .is_some_and(|(_, earlier)| earlier.began_ticks != stat.began_ticks);
        if !stat.alive || is_another {
            return Ok(None);
        }
        let cpu_percent = self
            .earlier
            .map_or(0.0, |earlier| cpu_percent(earlier, (now, stat)));
        self.earlier = Some((now, stat));
        let Some(memory_mib) = resident(self.pid)? else {
            return Ok(None);
        };
        Ok(Some(InstanceUsage {
            cpu_percent,
            memory_mib,
        }))
    }
}

/// 100 for one thread that was busy all the time.
#[expect(
    clippy::cast_precision_loss,
    reason = "a percentage needs no more than 52 bits"
)]
fn cpu_percent(earlier: (Instant, ProcessStat), now: (Instant, ProcessStat)) -> f64 {
    let seconds = now.0.duration_since(earlier.0).as_secs_f64();
    if seconds <= 0.0 {
        return 0.0;
    }
    let ticks = now.1.ticks.saturating_sub(earlier.1.ticks);
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    ticks as f64 / per_second as f64 * 100.0 / seconds
}

/// The process's resident memory; `None` when it is gone.
///
/// From `smaps_rollup` the proportional share, so that pages which guests share are counted once; where it may not be read, all
/// that is resident.
fn resident(pid: u32) -> Result<Option<Mib>, HostError> {
    for (file, key) in [("smaps_rollup", "Pss"), ("status", "VmRSS")] {
        let path = PathBuf::from(format!("/proc/{pid}/{file}"));
        match read_text(&path) {
            Ok(text) => {
                if let Some(kib) = kib_of(&text, key) {
                    return Ok(Some(Mib::ceil_from_bytes(kib.saturating_mul(1_024))));
                }
            }
            Err(HostError::Io { err, .. }) if err.kind() == io::ErrorKind::PermissionDenied => {}
            Err(err) => {
                present(Err::<String, _>(err))?;
            }
        }
    }
    // A process that is just ending has no memory any more.
    Ok(None)
}

/// `None` for a process that is gone: its files say "not found", or "no such process" when it ends while they are read.
fn present(read: Result<String, HostError>) -> Result<Option<String>, HostError> {
    match read {
        Ok(text) => Ok(Some(text)),
        Err(HostError::Io { err, .. })
            if err.kind() == io::ErrorKind::NotFound
                || err.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) =>
        {
            Ok(None)
        }
        Err(err) => Err(err),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn this_machine_has_memory_disk_and_an_uptime() {
        let mut sampler = UsageSampler::new(Path::new("/"));
        for _ in 0..2 {
            let sample = sampler.sample().unwrap();
            assert!((0.0..=100.0).contains(&sample.cpu_percent));
            assert!(sample.memory_used > Mib::ZERO && sample.disk_total >= sample.disk_available);
            assert!(sample.uptime_s > 0);
        }
    }

    #[test]
    fn a_missing_state_folder_is_named() {
        let err = UsageSampler::new(Path::new("/no/such/folder"))
            .sample()
            .unwrap_err();
        assert!(err.to_string().contains("/no/such/folder"), "{err}");
    }

    #[test]
    fn a_process_has_memory_until_it_ends_and_is_then_gone() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let mut sampler = ProcessSampler::new(child.id());
        let usage = sampler.sample().unwrap().unwrap();
        assert!(usage.memory_mib > Mib::ZERO);
        child.kill().unwrap();
        // Between its end and the parent's notice it is a zombie: gone as well.
        child.wait().unwrap();
        assert_eq!(sampler.sample().unwrap(), None);
    }

    #[test]
    fn a_busy_process_uses_its_share_of_a_thread() {
        let stat = |ticks| ProcessStat {
            ticks,
            began_ticks: 1,
            alive: true,
        };
        let begin = Instant::now();
        let end = begin + std::time::Duration::from_secs(2);
        let per_second = rustix::param::clock_ticks_per_second();
        let percent = cpu_percent((begin, stat(0)), (end, stat(per_second)));
        assert!((percent - 50.0).abs() < 1e-6, "{percent}");
        assert!(cpu_percent((end, stat(9)), (end, stat(9))) < 1e-9);
    }
}
