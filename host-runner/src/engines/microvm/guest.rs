//! One live guest of the monitor's.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::EngineKind;
use async_trait::async_trait;
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::control::{self, Machine, control};
use super::document::{API_SOCKET, ENDING_FILE, SERIAL_SOCKET};
use super::events::Events;
use super::network::Network;
use super::notify::Notifications;
use super::{STDERR_FILE, ending, installed, write_private};
use crate::engines::full_disk::FullDisk;
use crate::engines::limits::GuestGroup;
use crate::engines::process::{self, Process};
use crate::engines::{EngineError, Guest, Told};
use crate::instance_files::InstanceFiles;
use crate::reconcile::GuestStatus;

/// There once the vCPUs were set running: it tells a guest that waits for its first instruction from one that somebody paused.
pub(super) const RESUMED_FILE: &str = "resumed";
/// How long a connection to the console may take.
const CONSOLE_DEADLINE: Duration = Duration::from_secs(3);
/// How long a process may take to be gone after it has closed its control socket.
const ENDING_GRACE: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct MicrovmGuest {
    id: Uuid,
    folder: PathBuf,
    process: Process,
    /// Its network, where it is known. It ends by itself when the guest does.
    network: Option<Network>,
    /// Tells when something happens to it.
    events: Option<Events>,
    /// Hears what it tells of itself.
    notifications: Option<Notifications>,
    disk: FullDisk,
}

impl MicrovmGuest {
    pub(super) fn new(files: &InstanceFiles, id: Uuid, process: Process, network: Option<Network>) -> Self {
        let folder = files.runtime_dir(id);
        let notifications = match Notifications::listen(&folder) {
            Ok(notifications) => Some(notifications),
            Err(error) => {
                tracing::warn!(instance = %id, error = &error as &dyn std::error::Error, "what a guest tells of itself is not heard");
                None
            }
        };
        Self {
            id,
            folder,
            notifications,
            disk: FullDisk::new(files.disk(id)),
            process,
            network,
            events: None,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    async fn understand(&mut self, machine: &Machine) -> GuestStatus {
        if machine.state != "running" && machine.full_disk.is_some() {
            return self.go_on_with_room().await;
        }
        self.disk.is_over();
        match machine.state.as_str() {
            "running" => GuestStatus::Running,
            _ if self.file(RESUMED_FILE).exists() => GuestStatus::Paused,
            _ => GuestStatus::Held,
        }
    }

    /// A guest that a full disk holds goes on where it was once there is room. Where there is not enough it is held again.
    async fn go_on_with_room(&mut self) -> GuestStatus {
        if !self.disk.holds(self.id, Instant::now()) {
            return GuestStatus::Paused;
        }
        let told = self.power_on().await;
        self.disk.was_told_to_go_on(self.id, told)
    }

    /// Waits until the network of a guest that is gone has ended, too: its ports are free then, for the guest's next start.
    async fn network_ends(&self) {
        let passt = self.network.as_ref().filter(|network| network.has_passt());
        if let Some(passt) = passt
            && timeout(ENDING_GRACE, passt.ended()).await.is_err()
        {
            tracing::warn!(instance = %self.id, "passt outlives its guest");
        }
    }

    /// A guest whose passt has ended gets another one, with the same ports. Until then it runs without a network, and says so.
    async fn look_at_network(&mut self) {
        let Some(network) = &mut self.network else { return };
        if network.has_passt() {
            return;
        }
        tracing::warn!(instance = %self.id, "passt is not there: the guest has no network");
        let group = GuestGroup::of_process(self.id, self.process.pid());
        let mended = match installed() {
            Ok(programs) => network.mend(&programs.passt, &group).await,
            Err(lack) => Err(lack.into()),
        };
        if network.is_up() {
            tracing::info!(instance = %self.id, "the guest has its network again");
        }
        if let Err(error) = mended {
            tracing::warn!(instance = %self.id, error = &error as &dyn std::error::Error, "the guest's network cannot be made again");
        }
    }
}

async fn connect(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}

#[async_trait]
impl Guest for MicrovmGuest {
    fn pid(&self) -> u32 {
        self.process.pid()
    }

    async fn status(&mut self) -> Option<GuestStatus> {
        if self.process.has_ended() {
            self.network_ends().await;
            return None;
        }
        process::cap_log(&self.file(STDERR_FILE));
        match control::machine(&self.file(API_SOCKET)).await {
            Ok((machine, _)) if machine.id == self.id.to_string() => {
                if !self.events.as_ref().is_some_and(Events::is_open) {
                    self.events = Some(Events::listen(self.file(API_SOCKET)));
                }
                self.look_at_network().await;
                Some(self.understand(&machine).await)
            }
            Ok((machine, _)) => {
                tracing::warn!(instance = %self.id, found = machine.id, "another machine answers on a guest's control socket");
                Some(GuestStatus::Silent)
            }
            // A process that is ending closes its sockets first.
            Err(_) if timeout(ENDING_GRACE, self.process.ended()).await.is_ok() => {
                self.network_ends().await;
                None
            }
            Err(error) => {
                tracing::warn!(instance = %self.id, error = &error as &dyn std::error::Error, "a guest does not answer");
                Some(GuestStatus::Silent)
            }
        }
    }

    fn trouble(&self) -> Option<EngineError> {
        let is_cut_off = self.network.as_ref().is_some_and(|network| !network.is_up());
        let cut_off = || is_cut_off.then_some(EngineError::CutOff);
        self.disk.trouble().or_else(cut_off)
    }

    fn told(&self) -> Told {
        self.notifications
            .as_ref()
            .map(Notifications::told)
            .unwrap_or_default()
    }

    async fn changed(&mut self) {
        let told = async {
            match &mut self.notifications {
                Some(notifications) => notifications.changed().await,
                None => std::future::pending().await,
            }
        };
        let cut_off = async {
            match &self.network {
                Some(network) => network.ended().await,
                None => std::future::pending().await,
            }
        };
        let rang = async {
            match &self.events {
                Some(events) => events.rang().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.process.ended() => {}
            () = cut_off => {}
            () = told => {}
            () = rang => {}
        }
    }

    fn console_replays(&self) -> bool {
        true
    }

    async fn console(&self) -> Result<UnixStream, EngineError> {
        match timeout(CONSOLE_DEADLINE, connect(&self.file(SERIAL_SOCKET))).await {
            Ok(stream) => stream.map_err(|err| control("connect to the console", err)),
            Err(_) => Err(EngineError::TimedOut {
                engine: EngineKind::Microvm,
                operation: "open the console",
                deadline_ms: u32::try_from(CONSOLE_DEADLINE.as_millis()).unwrap_or(u32::MAX),
            }),
        }
    }

    async fn power_on(&mut self) -> Result<(), EngineError> {
        control::tell(&self.file(API_SOCKET), "set its guest running", "/v1/resume").await?;
        // Noted second: a guest that runs and is not noted is seen to run; one that is noted and waits would wait for ever.
        Ok(write_private(&self.file(RESUMED_FILE), b"")?)
    }

    async fn press_power(&mut self) -> Result<(), EngineError> {
        control::tell(&self.file(API_SOCKET), "press the power button", "/v1/stop").await
    }

    async fn quit(&mut self) -> Result<(), EngineError> {
        control::tell(&self.file(API_SOCKET), "end", "/v1/kill").await
    }

    fn kill(&mut self) -> Result<(), EngineError> {
        self.process
            .kill()
            .map_err(|err| control("kill the process", err))
    }

    fn ending(&mut self) -> String {
        let left = ending::read(&self.file(ENDING_FILE));
        ending::in_words(left.as_ref(), self.process.ending())
    }
}
