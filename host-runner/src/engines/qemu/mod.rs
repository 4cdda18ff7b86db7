//! QEMU: one process for each guest, controlled over QMP alone.

mod command_line;
mod line_limit;
mod qmp;

pub use command_line::memory_overhead;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::{EngineChoice, EngineKind, HardwareVirtualization, PublishedPort};
use async_trait::async_trait;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use self::command_line::{Accelerator, CONSOLE_SOCKET, QMP_SOCKET};
use self::qmp::{Condition, Qmp};
use super::full_disk::FullDisk;
use super::process::{self, Process, Program};
use super::{Engine, EngineError, Guest, GuestEnd, LaunchOrder, guest_user};
use crate::instance_files::{InstanceFiles, private_dir};
use crate::reconcile::GuestStatus;

/// QEMU's program, found on the `PATH`.
const PROGRAM: &str = "qemu-system-x86_64";
/// What QEMU writes, in the runtime folder.
const STDERR_FILE: &str = "stderr";
/// How long QEMU may take from its process to an answer on its control socket, behind which it makes the machine first.
const START_DEADLINE: Duration = Duration::from_secs(20);
/// How often a starting QEMU is looked at.
const START_POLL: Duration = Duration::from_millis(20);
/// How long a connection to the console may take.
const CONSOLE_DEADLINE: Duration = Duration::from_secs(3);
/// How long a process may take to be gone after it has closed its control socket.
const ENDING_GRACE: Duration = Duration::from_millis(500);
/// The longest path that a Unix socket can have, in bytes; the kernel's structure ends it with a zero.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The engine.
#[derive(Debug)]
pub struct Qemu {
    files: InstanceFiles,
    accelerated: bool,
    reason: String,
}

impl Qemu {
    /// QEMU on this machine.
    pub fn new(files: InstanceFiles, hardware: &HardwareVirtualization) -> Self {
        Self {
            files,
            accelerated: hardware.available,
            reason: hardware.reason.clone(),
        }
    }

    fn stderr(&self, id: Uuid) -> PathBuf {
        self.files.runtime_dir(id).join(STDERR_FILE)
    }

    /// Waits until the new process answers, or tells why it ended.
    async fn greet(&self, order: &LaunchOrder, process: &mut Process) -> Result<Qmp, EngineError> {
        let socket = self.files.runtime_dir(order.id).join(QMP_SOCKET);
        let started = Instant::now();
        loop {
            if process.has_ended() {
                return Err(self.died(order, process));
            }
            match Qmp::connect(&socket).await {
                Ok((qmp, _)) => return Ok(qmp),
                Err(EngineError::Control { .. } | EngineError::TimedOut { .. })
                    if started.elapsed() < START_DEADLINE => {}
                Err(_) if process.has_ended() => return Err(self.died(order, process)),
                Err(error) => return Err(error),
            }
            sleep(START_POLL).await;
        }
    }

    fn died(&self, order: &LaunchOrder, process: &mut Process) -> EngineError {
        let log = self.last_words(order.id);
        if let Some(port) = refused_forward(&log, &order.ports) {
            return EngineError::PortTaken { port };
        }
        EngineError::Died {
            engine: EngineKind::Qemu,
            ending: process.ending(),
            log,
        }
    }
}

/// The published port that QEMU's log says it could not take.
fn refused_forward(log: &str, ports: &[PublishedPort]) -> Option<u16> {
    let complaint = log
        .lines()
        .find(|line| line.contains("set up host forwarding rule"))?;
    ports
        .iter()
        .map(|port| port.host)
        .find(|host| complaint.contains(&format!(":{host}-")))
}

#[async_trait]
impl Engine for Qemu {
    fn choice(&self) -> EngineChoice {
        EngineChoice {
            kind: EngineKind::Qemu,
            accelerated: self.accelerated,
            reason: self.reason.clone(),
        }
    }

    async fn find(&self, id: Uuid) -> Result<Option<Box<dyn Guest>>, EngineError> {
        let lock = self.files.lock(id);
        if !process::is_locked(&lock)? {
            return Ok(None);
        }
        let socket = self.files.runtime_dir(id).join(QMP_SOCKET);
        let guest = match Qmp::connect(&socket).await {
            Ok((qmp, pid)) => {
                // The descriptor first, the question second: the process that answers is then the one that is held.
                let process = Process::open(pid).map_err(|_| EngineError::Hidden { path: lock.clone() })?;
                identify(&qmp, &socket, id).await?;
                QemuGuest::new(&self.files, id, process, Some(qmp))
            }
            Err(error) => {
                tracing::warn!(instance = %id, error = &error as &dyn std::error::Error, "a guest is alive and does not answer");
                let pid = process::named_pid(&lock)
                    .filter(|pid| process::has_argument(*pid, &id.to_string()))
                    .ok_or_else(|| EngineError::Hidden { path: lock.clone() })?;
                let process = Process::open(pid).map_err(|_| EngineError::Hidden { path: lock.clone() })?;
                if !process::has_argument(pid, &id.to_string()) {
                    return Err(EngineError::Hidden { path: lock });
                }
                QemuGuest::new(&self.files, id, process, None)
            }
        };
        tracing::info!(instance = %id, pid = guest.pid(), "found a live guest");
        Ok(Some(Box::new(guest)))
    }

    fn was_spawned(&self, id: Uuid) -> bool {
        process::named_pid(&self.files.lock(id)).is_some()
    }

    fn prepare(&self, id: Uuid) -> Result<(), EngineError> {
        process::forget_pid(&self.files.lock(id))
    }

    async fn launch(&self, order: &LaunchOrder) -> Result<Box<dyn Guest>, EngineError> {
        let folder = self.files.runtime_dir(order.id);
        private_dir(&folder)?;
        let accelerator = if self.accelerated {
            Accelerator::Kvm
        } else {
            Accelerator::Tcg
        };
        let user = guest_user().map(|user| user.name);
        let arguments = command_line::arguments(order, accelerator, user);
        let program = Program {
            engine: EngineKind::Qemu,
            path: Path::new(PROGRAM),
            arguments: &arguments,
            folder: &folder,
            stderr: &self.stderr(order.id),
            group: &order.group,
        };
        let mut process = process::spawn(&program, &self.files.lock(order.id))?;
        tracing::info!(instance = %order.id, pid = process.pid(), user, "QEMU started");
        match self.greet(order, &mut process).await {
            Ok(qmp) => Ok(Box::new(QemuGuest::new(
                &self.files,
                order.id,
                process,
                Some(qmp),
            ))),
            Err(error) => {
                // Half a start is none: what does not answer is not left running.
                if let Err(error) = process.kill() {
                    tracing::warn!(instance = %order.id, %error, "cannot kill a QEMU that did not start");
                }
                Err(error)
            }
        }
    }

    fn last_words(&self, id: Uuid) -> String {
        process::tail(&self.stderr(id))
    }

    /// QEMU outlives a power-off and a reset of its guest: where its process has ended, the guest did neither.
    fn end_of(&self, _id: Uuid) -> GuestEnd {
        GuestEnd::Unknown
    }
}

async fn identify(qmp: &Qmp, socket: &Path, id: Uuid) -> Result<(), EngineError> {
    let found = qmp.uuid().await?;
    if Uuid::parse_str(&found).is_ok_and(|found| found == id) {
        return Ok(());
    }
    Err(EngineError::Foreign {
        path: socket.to_owned(),
        expected: id,
        found,
    })
}

#[derive(Debug)]
struct QemuGuest {
    id: Uuid,
    process: Process,
    qmp: Option<Qmp>,
    qmp_path: PathBuf,
    console_path: PathBuf,
    stderr_path: PathBuf,
    disk: FullDisk,
}

impl QemuGuest {
    fn new(files: &InstanceFiles, id: Uuid, process: Process, qmp: Option<Qmp>) -> Self {
        let folder = files.runtime_dir(id);
        Self {
            id,
            process,
            qmp,
            qmp_path: folder.join(QMP_SOCKET),
            console_path: folder.join(CONSOLE_SOCKET),
            stderr_path: folder.join(STDERR_FILE),
            disk: FullDisk::new(files.disk(id)),
        }
    }

    /// A guest that a full disk holds goes on where it was once there is room.
    async fn go_on_with_room(&mut self) -> GuestStatus {
        if !self.disk.holds(self.id, Instant::now()) {
            return GuestStatus::Paused;
        }
        let told = self.power_on().await;
        self.disk.was_told_to_go_on(self.id, told)
    }

    /// Ends an engine whose guest will never go on: so it counts as failed, with the reason as the engine's last words.
    async fn give_up(&mut self, why: &str) -> Option<GuestStatus> {
        tracing::warn!(instance = %self.id, why, "the guest is broken; its QEMU is ended");
        process::add_to_log(&self.stderr_path, &format!("the guest cannot go on: {why}"));
        if let Err(error) = self.process.kill() {
            tracing::warn!(instance = %self.id, %error, "the QEMU of a broken guest cannot be killed");
        }
        let ended = timeout(ENDING_GRACE, self.process.ended()).await;
        ended.is_err().then_some(GuestStatus::Silent)
    }

    /// The connection, made again where it was lost.
    async fn qmp(&mut self) -> Result<&Qmp, EngineError> {
        if !self.qmp.as_ref().is_some_and(Qmp::is_open) {
            // The old connection has to be gone before QEMU serves a new one.
            self.qmp = None;
            let (qmp, _) = Qmp::connect(&self.qmp_path).await?;
            identify(&qmp, &self.qmp_path, self.id).await?;
            self.qmp = Some(qmp);
        }
        self.qmp.as_ref().ok_or_else(|| EngineError::Control {
            engine: EngineKind::Qemu,
            operation: "connect",
            err: io::ErrorKind::NotConnected.into(),
        })
    }

    /// An answer that came too late would be taken for that of the next command: the connection is given up with the command.
    fn checked<T>(&mut self, answer: Result<T, EngineError>) -> Result<T, EngineError> {
        if matches!(answer, Err(EngineError::TimedOut { .. })) {
            self.qmp = None;
        }
        answer
    }
}

#[async_trait]
impl Guest for QemuGuest {
    fn pid(&self) -> u32 {
        self.process.pid()
    }

    async fn status(&mut self) -> Option<GuestStatus> {
        if self.process.has_ended() {
            return None;
        }
        process::cap_log(&self.stderr_path);
        let answer = match self.qmp().await {
            Ok(qmp) => qmp.status().await,
            Err(error) => Err(error),
        };
        match self.checked(answer) {
            Ok(Condition::DiskFull) => Some(self.go_on_with_room().await),
            Ok(Condition::Broken(why)) => self.give_up(why).await,
            Ok(Condition::Sound(status)) => {
                self.disk.is_over();
                Some(status)
            }
            // A process that is ending closes its sockets first.
            Err(_) if timeout(ENDING_GRACE, self.process.ended()).await.is_ok() => None,
            Err(error) => {
                tracing::warn!(instance = %self.id, error = &error as &dyn std::error::Error, "a guest does not answer");
                Some(GuestStatus::Silent)
            }
        }
    }

    fn trouble(&self) -> Option<EngineError> {
        self.disk.trouble()
    }

    async fn changed(&mut self) {
        match &self.qmp {
            Some(qmp) if qmp.is_open() => tokio::select! {
                () = self.process.ended() => {}
                () = qmp.rang() => {}
            },
            // Without a connection only the end of the process is heard; the next look connects again.
            _ => self.process.ended().await,
        }
    }

    fn console_replays(&self) -> bool {
        false
    }

    async fn console(&self) -> Result<UnixStream, EngineError> {
        match timeout(CONSOLE_DEADLINE, UnixStream::connect(&self.console_path)).await {
            Ok(stream) => stream.map_err(|err| EngineError::Control {
                engine: EngineKind::Qemu,
                operation: "connect to the console",
                err,
            }),
            Err(_) => Err(EngineError::TimedOut {
                engine: EngineKind::Qemu,
                operation: "open the console",
                deadline_ms: u32::try_from(CONSOLE_DEADLINE.as_millis()).unwrap_or(u32::MAX),
            }),
        }
    }

    async fn power_on(&mut self) -> Result<(), EngineError> {
        let answer = self.qmp().await?.cont().await;
        self.checked(answer)
    }

    async fn press_power(&mut self) -> Result<(), EngineError> {
        let answer = self.qmp().await?.press_power().await;
        self.checked(answer)
    }

    async fn quit(&mut self) -> Result<(), EngineError> {
        let answer = self.qmp().await?.quit().await;
        self.checked(answer)
    }

    fn kill(&mut self) -> Result<(), EngineError> {
        self.process.kill().map_err(|err| EngineError::Control {
            engine: EngineKind::Qemu,
            operation: "kill QEMU",
            err,
        })
    }

    fn ending(&mut self) -> String {
        self.process.ending()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::ErrorCode;

    fn qemu(dir: &Path) -> Qemu {
        let files = InstanceFiles::open(&dir.join("state"), &dir.join("run")).unwrap();
        Qemu::new(
            files,
            &HardwareVirtualization {
                available: false,
                reason: "no vmx or svm".into(),
            },
        )
    }

    #[test]
    fn qemus_complaint_about_a_port_is_understood() {
        let ports = [
            PublishedPort {
                guest: 80,
                host: 8080,
            },
            PublishedPort {
                guest: 22,
                host: 2222,
            },
        ];
        let log = "qemu-system-x86_64: -netdev user,id=net,hostfwd=…: Could not set up host forwarding rule 'tcp:127.0.0.1:2222-:22'";
        assert_eq!(refused_forward(log, &ports), Some(2222));
        assert_eq!(refused_forward("something else", &ports), None);
    }

    #[tokio::test]
    async fn an_instance_without_a_process_has_no_guest() {
        let dir = tempfile::tempdir().unwrap();
        let qemu = qemu(dir.path());
        let id = Uuid::now_v7();
        assert!(qemu.find(id).await.unwrap().is_none());
        qemu.files
            .make(id, api::Mib::ZERO, &mut |_| std::ops::ControlFlow::Continue(()))
            .unwrap();
        assert!(qemu.find(id).await.unwrap().is_none());
        assert!(!qemu.was_spawned(id));
    }

    /// Serves QMP as a QEMU would whose guest is in `state`.
    async fn pretend(listener: tokio::net::UnixListener, id: Uuid, state: &'static str) {
        use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
        let (stream, _) = listener.accept().await.unwrap();
        let (read, mut write) = stream.into_split();
        let hello = serde_json::json!({"QMP": {
            "version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}, "capabilities": []
        }});
        write.write_all(format!("{hello}\r\n").as_bytes()).await.unwrap();
        let mut lines = BufReader::new(read).lines();
        while let Some(line) = lines.next_line().await.unwrap_or_default() {
            let asked: serde_json::Value = serde_json::from_str(&line).unwrap();
            let mut answer = match asked["execute"].as_str().unwrap() {
                "query-status" => {
                    serde_json::json!({"return": {"running": false, "singlestep": false, "status": state}})
                }
                "query-uuid" => serde_json::json!({"return": {"UUID": id}}),
                _ => serde_json::json!({"return": {}}),
            };
            if let Some(number) = asked.get("id") {
                answer["id"] = number.clone();
            }
            write.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
        }
    }

    fn guest_in(dir: &Path, state: &'static str) -> (Qemu, QemuGuest) {
        let qemu = qemu(dir);
        let id = Uuid::now_v7();
        let folder = qemu.files.runtime_dir(id);
        private_dir(&folder).unwrap();
        std::fs::write(folder.join(STDERR_FILE), "").unwrap();
        let listener = tokio::net::UnixListener::bind(folder.join(QMP_SOCKET)).unwrap();
        tokio::spawn(pretend(listener, id, state));
        let process = process::spawn_for_test().unwrap();
        let guest = QemuGuest::new(&qemu.files, id, process, None);
        (qemu, guest)
    }

    #[tokio::test]
    async fn a_guest_that_will_never_go_on_has_ended_and_its_last_words_say_why() {
        for (state, why) in [
            ("internal-error", "internal error"),
            ("guest-panicked", "kernel panicked"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let (qemu, mut guest) = guest_in(dir.path(), state);
            assert_eq!(guest.status().await, None);
            assert!(qemu.last_words(guest.id).contains(why), "{state}");
        }
    }

    #[tokio::test]
    async fn a_guest_that_a_full_disk_holds_says_so_and_a_paused_one_has_no_trouble() {
        let dir = tempfile::tempdir().unwrap();
        let (_qemu, mut guest) = guest_in(dir.path(), "io-error");
        assert_eq!(guest.status().await, Some(GuestStatus::Paused));
        assert_eq!(guest.trouble().unwrap().to_api().code, ErrorCode::DiskFull);
        guest.kill().unwrap();
        let (_qemu, mut guest) = guest_in(dir.path(), "paused");
        assert_eq!(guest.status().await, Some(GuestStatus::Paused));
        assert!(guest.trouble().is_none());
        guest.kill().unwrap();
    }
}
