//! One QMP connection, with a deadline on every command.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api::EngineKind;
use futures::StreamExt;
use qapi::futures::{QapiEvents, QapiService, QmpStreamTokio};
use qapi::qmp;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::line_limit::LineLimit;
use crate::engines::EngineError;
use crate::reconcile::GuestStatus;

/// How long QEMU may take to answer one command.
const DEADLINE: Duration = Duration::from_secs(3);

type Service = QapiService<QmpStreamTokio<WriteHalf<UnixStream>>>;
type Events = QapiEvents<QmpStreamTokio<LineLimit<ReadHalf<UnixStream>>>>;

/// What QEMU says of its guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It does what it was told.
    Sound(GuestStatus),
    /// Held at a write that met a full disk, the one error at which QEMU holds a guest (`werror=enospc`, its default).
    DiskFull,
    /// It will never go on; why, in words.
    Broken(&'static str),
}

/// A negotiated connection. QEMU serves one at a time.
pub struct Qmp {
    service: Service,
    rang: Arc<Notify>,
    pump: AbortHandle,
}

impl std::fmt::Debug for Qmp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Qmp").finish_non_exhaustive()
    }
}

impl Drop for Qmp {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

/// Bounds an operation, and names it when it fails.
async fn within<T, E: Into<io::Error>>(
    operation: &'static str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, EngineError> {
    match timeout(DEADLINE, work).await {
        Ok(result) => result.map_err(|err| EngineError::Control {
            engine: EngineKind::Qemu,
            operation,
            err: err.into(),
        }),
        Err(_) => Err(EngineError::TimedOut {
            engine: EngineKind::Qemu,
            operation,
            deadline_ms: u32::try_from(DEADLINE.as_millis()).unwrap_or(u32::MAX),
        }),
    }
}

impl Qmp {
    /// Connects and negotiates. Also returns the number of the process that serves the socket, as the kernel knows it.
    pub async fn connect(path: &Path) -> Result<(Self, u32), EngineError> {
        let stream = within("connect", UnixStream::connect(path)).await?;
        let pid = stream
            .peer_cred()
            .and_then(|peer| peer.pid().ok_or_else(|| io::ErrorKind::NotFound.into()))
            .and_then(|pid| u32::try_from(pid).map_err(|_| io::ErrorKind::InvalidData.into()))
            .map_err(|err| EngineError::Control {
                engine: EngineKind::Qemu,
                operation: "learn who serves the socket",
                err,
            })?;
        let negotiated = within("negotiate", async {
            let (read, write) = tokio::io::split(stream);
            QmpStreamTokio::open_split(LineLimit::new(read), write)
                .await?
                .negotiate()
                .await
        })
        .await?;
        let (service, events) = negotiated.into_parts();
        let rang = Arc::new(Notify::new());
        // The pump also carries the answers: without it no command would end. Dropping the connection ends it.
        let pump = tokio::spawn(ring_for_events(events, Arc::clone(&rang))).abort_handle();
        Ok((Self { service, rang, pump }, pid))
    }

    /// Returns after any event of QEMU's, and when the connection has ended. Safe to cancel.
    pub async fn rang(&self) {
        if self.pump.is_finished() {
            return;
        }
        self.rang.notified().await;
    }

    /// Whether the connection still works.
    pub fn is_open(&self) -> bool {
        !self.pump.is_finished()
    }

    async fn execute<C>(&self, operation: &'static str, command: C) -> Result<C::Ok, EngineError>
    where
        C: qmp::QmpCommand + 'static,
    {
        within(operation, self.service.execute(command)).await
    }

    /// The identity that QEMU was started with.
    pub async fn uuid(&self) -> Result<String, EngineError> {
        Ok(self
            .execute("ask for the identity", qmp::query_uuid {})
            .await?
            .UUID)
    }

    /// What the guest does.
    pub async fn status(&self) -> Result<Condition, EngineError> {
        let info = self.execute("ask for the status", qmp::query_status {}).await?;
        Ok(match info.status {
            qmp::RunState::prelaunch => Condition::Sound(GuestStatus::Held),
            qmp::RunState::running | qmp::RunState::suspended => Condition::Sound(GuestStatus::Running),
            qmp::RunState::shutdown => Condition::Sound(GuestStatus::PoweredOff),
            qmp::RunState::io_error => Condition::DiskFull,
            qmp::RunState::internal_error => Condition::Broken("its CPUs stopped on an internal error"),
            qmp::RunState::guest_panicked => Condition::Broken("its kernel panicked"),
            qmp::RunState::debug
            | qmp::RunState::inmigrate
            | qmp::RunState::paused
            | qmp::RunState::postmigrate
            | qmp::RunState::finish_migrate
            | qmp::RunState::restore_vm
            | qmp::RunState::save_vm
            | qmp::RunState::watchdog
            | qmp::RunState::colo => Condition::Sound(GuestStatus::Paused),
        })
    }

    /// Sets the vCPUs running.
    pub async fn cont(&self) -> Result<(), EngineError> {
        self.execute("set the guest running", qmp::cont {})
            .await
            .map(drop)
    }

    /// Presses the power button.
    pub async fn press_power(&self) -> Result<(), EngineError> {
        self.execute("press the power button", qmp::system_powerdown {})
            .await
            .map(drop)
    }

    /// Tells QEMU to end.
    pub async fn quit(&self) -> Result<(), EngineError> {
        self.execute("tell QEMU to end", qmp::quit {}).await.map(drop)
    }
}

async fn ring_for_events(mut events: Events, rang: Arc<Notify>) {
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => tracing::debug!(?event, "QEMU says"),
            Err(error) => {
                tracing::debug!(%error, "the QMP connection ended");
                break;
            }
        }
        rang.notify_one();
    }
    rang.notify_one();
}
