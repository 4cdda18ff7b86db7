//! Consoles: an instance's raw bytes both ways, with bounded buffers, whichever front shows them.

use api::client::{ConsoleStream, RequestContext};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;
use uuid::Uuid;

use crate::app::App;
use crate::error::AppError;

/// The largest piece that is read or taken at once, in bytes.
pub const PIECE_BYTES_MAX: usize = 16 * 1024;

/// How many pieces wait each way. A front that does not read makes the guest's console wait, not the memory grow.
const PIECES_WAITING_MAX: usize = 16;

/// An open console. Several may be open on one instance. Dropping [`Output`](ConsoleOutput) or the last [`Input`](ConsoleInput) closes
/// it.
#[derive(Debug)]
pub struct Console {
    /// What the guest prints, beginning with a replay of the last 64 KiB.
    pub output: ConsoleOutput,
    /// What is typed.
    pub input: ConsoleInput,
}

/// What the guest prints.
#[derive(Debug)]
pub struct ConsoleOutput {
    pieces: mpsc::Receiver<Bytes>,
    /// Ends both directions when it is dropped.
    _close: DropGuard,
}

impl ConsoleOutput {
    /// The next piece; `None` when the console has ended. Safe to drop between pieces.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.pieces.recv().await
    }
}

/// What is typed. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ConsoleInput {
    pieces: mpsc::Sender<Bytes>,
}

/// The console has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the console has ended")]
pub struct ConsoleEnded;

impl ConsoleInput {
    /// Sends what was typed; waits while the guest does not read.
    pub async fn send(&self, typed: Bytes) -> Result<(), ConsoleEnded> {
        self.pieces.send(typed).await.map_err(|_| ConsoleEnded)
    }
}

/// Opens an instance's console.
pub async fn open(
    app: &App,
    context: &RequestContext,
    machine: Uuid,
    instance: Uuid,
) -> Result<Console, AppError> {
    let stream = app
        .machines()
        .client(machine)?
        .console(context, instance)
        .await
        .map_err(|err| app.agent_error(machine, err))?;
    let (printed, output) = mpsc::channel(PIECES_WAITING_MAX);
    let (input, typed) = mpsc::channel(PIECES_WAITING_MAX);
    let close = app.stopping().child_token();
    let closed = close.clone();
    app.spawn(async move {
        tokio::select! {
            () = closed.cancelled() => {}
            () = join(stream, printed, typed) => {}
        }
    });
    Ok(Console {
        output: ConsoleOutput {
            pieces: output,
            _close: close.drop_guard(),
        },
        input: ConsoleInput { pieces: input },
    })
}

/// Carries bytes both ways until either end is gone.
async fn join(stream: ConsoleStream, printed: mpsc::Sender<Bytes>, mut typed: mpsc::Receiver<Bytes>) {
    let (mut from_guest, mut to_guest) = tokio::io::split(stream);
    let reading = async {
        loop {
            let mut piece = BytesMut::with_capacity(PIECE_BYTES_MAX);
            match from_guest.read_buf(&mut piece).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            if printed.send(piece.freeze()).await.is_err() {
                return;
            }
        }
    };
    let writing = async {
        while let Some(piece) = typed.recv().await {
            let written = async {
                to_guest.write_all(&piece).await?;
                to_guest.flush().await
            };
            if written.await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
}
