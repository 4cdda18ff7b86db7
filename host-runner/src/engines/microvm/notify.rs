//! What a guest says of its own state, over its vsock: the messages of `sd_notify(3)`, one in each connection.
//!
//! ```text
//! guest: connect to vsock 2:1024, write "READY=1\nSTATUS=cloud-init: done\n", close
//! ```
//!
//! systemd does it by itself once it has started all (from version 254 on): the credential `vmm.notify_socket` on the kernel's command line
//! tells it where. Whatever else runs in the guest may, too.
//!
//! All of it is hostile: one connection is read at a time, so much of it and for so long, and then there is a pause, however much the guest
//! has to say. What comes is a text to show and a wish to count as ready, and no more.
//!
//! Source: `sd_notify(3)`, systemd.system-credentials(7), `vmm.notify_socket`.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::GUEST_STATUS_CHARS_MAX;
use tokio::io::AsyncReadExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use super::document::VSOCK_SOCKET;
use crate::engines::{EngineError, Told, guest_user, process};

/// The port of the host's that guests tell their state on.
pub const NOTIFY_PORT: u32 = 1024;
/// The most of a message that is looked at, in bytes: what systemd's own receiver takes.
const MESSAGE_BYTES_MAX: u64 = 4096;
/// How long a message may take.
const DEADLINE: Duration = Duration::from_secs(2);
/// How long nobody is listened to after a message.
const PAUSE: Duration = Duration::from_millis(250);

/// Listens for one guest; ends with this.
#[derive(Debug)]
pub struct Notifications {
    told: watch::Receiver<Told>,
    task: AbortHandle,
}

impl Drop for Notifications {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Notifications {
    /// Begins to listen for the guest with this runtime folder, in the place of an earlier agent.
    pub fn listen(folder: &Path) -> Result<Self, EngineError> {
        let listener = bind(&socket(folder))?;
        let (tell, told) = watch::channel(Told::default());
        let task = tokio::spawn(hear(listener, tell)).abort_handle();
        Ok(Self { told, task })
    }

    /// What the guest has told since this listens.
    pub fn told(&self) -> Told {
        self.told.borrow().clone()
    }

    /// Returns when the guest has told something that [`changed`](Self::changed) has not returned for. Safe to cancel.
    pub async fn changed(&mut self) {
        if self.told.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Where a guest's connection to the port arrives.
fn socket(folder: &Path) -> PathBuf {
    folder.join(format!("{VSOCK_SOCKET}_{NOTIFY_PORT}"))
}

/// The monitor connects as the user that it has become; see [`network::listen`](super::network::listen).
fn bind(socket: &Path) -> Result<UnixListener, EngineError> {
    process::remove_if_there(socket)?;
    let failed = |err| super::control::control("listen for what its guest tells", err);
    let listener = UnixListener::bind(socket).map_err(failed)?;
    if let Some(user) = guest_user() {
        std::os::unix::fs::chown(socket, Some(user.uid), Some(user.gid)).map_err(failed)?;
    }
    Ok(listener)
}

async fn hear(listener: UnixListener, tell: watch::Sender<Told>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let message = read(stream).await;
                tell.send_if_modified(|told| told.take(&message, Instant::now()));
            }
            Err(error) => tracing::debug!(%error, "a guest that wants to tell something is not heard"),
        }
        sleep(PAUSE).await;
    }
}

/// A message, or as much of it as came in time.
async fn read(stream: UnixStream) -> Vec<u8> {
    let mut message = Vec::new();
    let read: Result<io::Result<usize>, _> =
        timeout(DEADLINE, stream.take(MESSAGE_BYTES_MAX).read_to_end(&mut message)).await;
    if !matches!(read, Ok(Ok(_))) {
        tracing::debug!("a guest breaks off in the midst of a message");
    }
    message
}

impl Told {
    /// Takes a message. Whether it tells anything new.
    fn take(&mut self, message: &[u8], now: Instant) -> bool {
        let before = self.clone();
        for line in message.split(|byte| *byte == b'\n') {
            if line == b"READY=1" {
                self.ready_at.get_or_insert(now);
            } else if let Some(status) = line.strip_prefix(b"STATUS=") {
                let text = process::harmless(status);
                self.status = Some(text.chars().take(GUEST_STATUS_CHARS_MAX).collect());
            }
        }
        *self != before
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    fn told(messages: &[&[u8]]) -> Told {
        let mut told = Told::default();
        for message in messages {
            told.take(message, Instant::now());
        }
        told
    }

    #[test]
    fn a_guest_is_ready_when_it_says_so_and_not_before() {
        assert_eq!(told(&[b"STATUS=Starting\n"]).ready_at, None);
        assert_eq!(told(&[b"READY=10\nXREADY=1\nREADY=0"]).ready_at, None);
        assert!(
            told(&[b"READY=1\nSTATUS=Startup finished in 2s.\n"])
                .ready_at
                .is_some()
        );
    }

    #[test]
    fn it_is_ready_since_it_first_said_so() {
        let mut told = Told::default();
        let first = Instant::now();
        assert!(told.take(b"READY=1", first));
        assert!(
            !told.take(b"READY=1", first + Duration::from_secs(5)),
            "that is known"
        );
        assert_eq!(told.ready_at, Some(first));
    }

    #[test]
    fn its_last_status_counts_and_an_empty_one_takes_it_back() {
        let status = |messages: &[&[u8]]| told(messages).status;
        assert_eq!(status(&[b"STATUS=a\nSTATUS=b", b"READY=1"]).as_deref(), Some("b"));
        assert_eq!(status(&[b"STATUS=a", b"STATUS=\n"]).as_deref(), Some(""));
        assert_eq!(status(&[b"READY=1"]), None);
        assert_eq!(
            status(&[b"STATUS=\x1b[31mred\x07\xff"]).as_deref(),
            Some("[31mred\u{fffd}")
        );
    }

    proptest! {
        #[test]
        fn whatever_comes_is_a_short_line_without_control_characters(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 0..4)
        ) {
            let mut told = Told::default();
            for message in messages {
                let message = [b"STATUS=", message.as_slice()].concat();
                told.take(&message, Instant::now());
                if let Some(text) = &told.status {
                    prop_assert!(text.chars().count() <= GUEST_STATUS_CHARS_MAX);
                    prop_assert!(!text.contains('\n') && text.chars().all(|c| c == '\t' || !c.is_control()));
                }
            }
        }
    }

    async fn say(folder: &Path, message: &[u8]) {
        let mut guest = UnixStream::connect(socket(folder)).await.unwrap();
        // Who listens may hang up on a message that is too long.
        let _cut_off = guest.write_all(message).await;
    }

    async fn until(notifications: &mut Notifications, wanted: impl Fn(&Told) -> bool) {
        let heard = async {
            while !wanted(&notifications.told()) {
                notifications.changed().await;
            }
        };
        timeout(Duration::from_secs(20), heard)
            .await
            .expect("it is heard");
    }

    #[tokio::test]
    async fn what_a_guest_tells_is_heard_by_this_agent_and_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let mut notifications = Notifications::listen(folder.path()).unwrap();
        say(folder.path(), b"STATUS=waking\n").await;
        until(&mut notifications, |told| {
            told.status.as_deref() == Some("waking")
        })
        .await;
        drop(notifications);
        let mut notifications = Notifications::listen(folder.path()).unwrap();
        say(folder.path(), b"READY=1").await;
        until(&mut notifications, |told| told.ready_at.is_some()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_that_never_ends_its_message_or_says_too_much_keeps_nobody_from_being_heard() {
        let folder = tempfile::tempdir().unwrap();
        let mut notifications = Notifications::listen(folder.path()).unwrap();
        let mut idle = UnixStream::connect(socket(folder.path())).await.unwrap();
        idle.write_all(b"STATUS=slow").await.unwrap();
        say(folder.path(), &vec![b'x'; 1 << 20]).await;
        say(folder.path(), b"READY=1\n").await;
        until(&mut notifications, |told| told.ready_at.is_some()).await;
        assert_eq!(
            notifications.told().status.as_deref(),
            Some("slow"),
            "it came in time"
        );
    }
}
