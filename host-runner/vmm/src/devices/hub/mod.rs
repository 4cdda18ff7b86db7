//! A console's output, those who look at it, and what they type.
//!
//! ```text
//! vCPU or device --write--> ring (64 KiB) --device thread--> viewers
//! vCPU or device <--take--- what was typed (4 KiB) <-------- viewers
//! ```
//!
//! The guest's side never waits: it writes into a ring, and a viewer that is slower than the guest by more than the ring loses the
//! oldest bytes. A 16550 leaves the guest for each byte, so a byte must cost next to nothing: the device thread is woken by the first
//! one after a silence, and then looks by itself, every [`BATCH`], until there is silence again.
//!
//! Threat: viewers are as trusted as the permissions of the socket file; even so none can make the guest, the device thread or another
//! viewer wait, or make this process keep more than the two buffers. What the guest writes is passed on as it is: it is for terminals.

mod listen;
mod ring;
#[cfg(test)]
mod tests;
mod viewer;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};
use vmm_sys_util::timerfd::TimerFd;

pub use listen::{ListenError, listen};
pub use ring::KEPT_BYTES;
use ring::Ring;
use viewer::Viewer;

use super::event_loop::lock;

/// How many viewers there are at most.
pub const VIEWERS_MAX: usize = 8;
/// How much is kept of what was typed and not yet read by the guest, in bytes; what is more waits in the viewers' sockets.
pub const TYPED_BYTES_MAX: usize = 4 << 10;
/// How often viewers are served while the guest writes.
pub const BATCH: Duration = Duration::from_millis(2);

/// Of the events: somebody writes after a silence, or has room for what was typed.
const WAKE: u64 = 1 << 32;
/// Time for the next batch.
const TIMER: u64 = WAKE + 1;
/// Somebody connects.
const LISTENER: u64 = WAKE + 2;

/// Why a console has no place for its output.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// What the waiting needs.
    #[error("cannot prepare to wait for a console's viewers")]
    Wait(#[source] io::Error),
}

/// What a console did, for the API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct HubStats {
    /// Bytes that the guest wrote.
    pub written_bytes: u64,
    /// Bytes that viewers typed and the guest took.
    pub typed_bytes: u64,
    /// Viewers that are connected, standard output among them.
    pub viewers: usize,
}

/// A console's output and input; see the module.
#[derive(Debug)]
pub struct Hub {
    epoll: Epoll,
    wake: EventFd,
    listener: Option<(UnixListener, PathBuf)>,
    state: Mutex<State>,
    /// Whether something was typed that the guest has not taken: what a register access may ask without the lock.
    typed: AtomicBool,
}

#[derive(Debug)]
struct State {
    ring: Ring,
    typed: VecDeque<u8>,
    typed_bytes: u64,
    viewers: Vec<Option<Viewer>>,
    viewers_max: usize,
    timer: TimerFd,
    /// The device thread will look by itself: it need not be woken.
    awake: bool,
    /// What the viewers were last shown.
    shown: u64,
    /// The timer runs.
    armed: bool,
}

impl Hub {
    /// A console whose viewers connect to a Unix socket. A socket file that nobody listens on is replaced.
    pub fn listening(path: &Path) -> Result<Self, HubError> {
        let listener = listen(path)?;
        let hub = Self::new(Some((listener, path.to_owned())), VIEWERS_MAX).map_err(HubError::Wait)?;
        if let Some((listener, _)) = &hub.listener {
            hub.watch(listener.as_raw_fd(), LISTENER, EventSet::IN)
                .map_err(HubError::Wait)?;
        }
        Ok(hub)
    }

    /// A console whose one viewer is standard output, which types nothing. Where that cannot be written without waiting (or is closed),
    /// the output is only kept.
    pub fn standard_output() -> Result<Self, HubError> {
        let hub = Self::new(None, 1).map_err(HubError::Wait)?;
        match Viewer::standard_output() {
            Ok(viewer) => {
                // A plain file cannot be waited for, and never is full.
                let _plain_file = hub.watch(viewer.as_raw_fd(), 0, EventSet::OUT | EventSet::EDGE_TRIGGERED);
                lock(&hub.state).viewers.push(Some(viewer));
            }
            Err(err) => super::once(
                "standard output",
                &format!("the console is not on standard output: {err}"),
            ),
        }
        Ok(hub)
    }

    fn new(listener: Option<(UnixListener, PathBuf)>, viewers_max: usize) -> io::Result<Self> {
        let hub = Self {
            epoll: Epoll::new()?,
            wake: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?,
            listener,
            state: Mutex::new(State {
                ring: Ring::default(),
                typed: VecDeque::new(),
                typed_bytes: 0,
                viewers: Vec::new(),
                viewers_max,
                timer: TimerFd::new().map_err(|err| io::Error::from_raw_os_error(err.errno()))?,
                awake: false,
                shown: 0,
                armed: false,
            }),
            typed: AtomicBool::new(false),
        };
        // With edges, neither counter has to be read: each write and each expiry is an edge of its own.
        let edge = EventSet::IN | EventSet::EDGE_TRIGGERED;
        hub.watch(hub.wake.as_raw_fd(), WAKE, edge)?;
        let timer = lock(&hub.state).timer.as_raw_fd();
        hub.watch(timer, TIMER, edge)?;
        Ok(hub)
    }

    /// A console without viewers, for fuzzing.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn quiet() -> io::Result<Self> {
        Self::new(None, 0)
    }

    /// Types without a viewer, for fuzzing.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn type_in(&self, bytes: &[u8]) {
        lock(&self.state).typed.extend(bytes);
        self.typed.store(!bytes.is_empty(), Ordering::Release);
    }

    fn watch(&self, descriptor: RawFd, token: u64, events: EventSet) -> io::Result<()> {
        self.epoll
            .ctl(ControlOperation::Add, descriptor, EpollEvent::new(events, token))
    }

    /// Takes what the guest wrote. Never waits.
    pub fn append(&self, bytes: &[u8]) {
        let mut state = lock(&self.state);
        state.ring.append(bytes);
        if !state.awake && !state.viewers.is_empty() {
            state.awake = true;
            self.wake();
        }
    }

    /// Takes what was typed into `buffer`: how many bytes.
    pub fn take(&self, buffer: &mut [u8]) -> usize {
        if !self.has_typed() {
            return 0;
        }
        let mut state = lock(&self.state);
        let mut count = 0;
        for place in buffer {
            let Some(byte) = state.typed.pop_front() else {
                break;
            };
            *place = byte;
            count += 1;
        }
        state.typed_bytes += count as u64;
        self.typed.store(!state.typed.is_empty(), Ordering::Release);
        if count > 0 && state.viewers.iter().flatten().any(|viewer| viewer.unread) {
            self.wake();
        }
        count
    }

    /// Whether something was typed that [`take`](Self::take) would give.
    pub fn has_typed(&self) -> bool {
        self.typed.load(Ordering::Acquire)
    }

    /// The last bytes that the guest wrote, at most `count` and at most [`KEPT_BYTES`], oldest first.
    pub fn tail(&self, count: usize) -> Vec<u8> {
        lock(&self.state).ring.last(count)
    }

    /// The last lines that the guest wrote, at most `count` and within the last [`KEPT_BYTES`]; what is no text is replaced.
    pub fn last_lines(&self, count: usize) -> Vec<String> {
        let text = self.tail(KEPT_BYTES);
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(count);
        lines.iter().skip(from).map(|line| (*line).to_owned()).collect()
    }

    /// What it did.
    pub fn stats(&self) -> HubStats {
        let state = lock(&self.state);
        HubStats {
            written_bytes: state.ring.end(),
            typed_bytes: state.typed_bytes,
            viewers: state.viewers.iter().flatten().count(),
        }
    }

    /// Does what there is to do for the viewers, without waiting; to be called when the [descriptor](AsRawFd) is readable. Whether
    /// something that was typed waits for the guest afterwards.
    pub fn serve(&self) -> bool {
        let mut events = [EpollEvent::default(); VIEWERS_MAX + 3];
        // An interrupted call finds its events the next time: the descriptor stays readable.
        let count = self.epoll.wait(0, &mut events).unwrap_or(0);
        let mut state = lock(&self.state);
        for event in events.iter().take(count) {
            match event.data() {
                WAKE => {}
                TIMER => {
                    state.armed = false;
                }
                LISTENER => self.welcome(&mut state),
                slot => {
                    let slot = usize::try_from(slot)
                        .ok()
                        .and_then(|slot| state.viewers.get_mut(slot));
                    if let Some(Some(viewer)) = slot {
                        viewer.unread |= event.event_set().contains(EventSet::IN);
                        viewer.gone |= event.event_set().intersects(EventSet::HANG_UP | EventSet::ERROR);
                    }
                }
            }
        }
        state.exchange();
        self.typed.store(!state.typed.is_empty(), Ordering::Release);
        state.plan_next();
        !state.typed.is_empty()
    }

    /// Takes those who connect; who finds no seat is turned away.
    fn welcome(&self, state: &mut MutexGuard<'_, State>) {
        let Some((listener, _)) = &self.listener else {
            return;
        };
        // More who wait are welcomed at the next call: the listener stays readable.
        for _ in 0..VIEWERS_MAX {
            let Ok((socket, _)) = listener.accept() else {
                return;
            };
            let Some(slot) = state.seat() else {
                continue;
            };
            let events = EventSet::IN | EventSet::OUT | EventSet::EDGE_TRIGGERED;
            if let Ok(viewer) = Viewer::connected(socket)
                && self.watch(viewer.as_raw_fd(), slot as u64, events).is_ok()
                && let Some(seat) = state.viewers.get_mut(slot)
            {
                *seat = Some(viewer);
            }
        }
    }

    fn wake(&self) {
        // A full counter wakes as well.
        let _full = self.wake.write(1);
    }
}

impl State {
    /// A free seat.
    fn seat(&mut self) -> Option<usize> {
        if let Some(free) = self.viewers.iter().position(Option::is_none) {
            return Some(free);
        }
        if self.viewers.len() >= self.viewers_max {
            // Who has left, and typed more than the guest takes, has had its time.
            let mut seats = self.viewers.iter_mut().enumerate();
            let is_gone = |seat: &Option<Viewer>| seat.as_ref().is_some_and(|viewer| viewer.gone);
            let (slot, seat) = seats.find(|(_, seat)| is_gone(seat))?;
            *seat = None;
            return Some(slot);
        }
        self.viewers.push(None);
        Some(self.viewers.len() - 1)
    }

    /// Takes what each viewer typed and shows it what is new; who cannot be reached loses the seat. In this order: who typed and left cannot be
    /// shown anything, and is heard.
    fn exchange(&mut self) {
        for seat in &mut self.viewers {
            let Some(viewer) = seat else { continue };
            let heard = viewer.listen(&mut self.typed, TYPED_BYTES_MAX);
            viewer.gone |= !viewer.show(&self.ring);
            if !heard || viewer.gone && !viewer.unread {
                // Closing its descriptor also ends the watch.
                *seat = None;
            }
        }
        while let Some(None) = self.viewers.last() {
            self.viewers.pop();
        }
    }

    /// While the guest writes, the next look comes after [`BATCH`]; after a silence of that length it has to wake us.
    fn plan_next(&mut self) {
        if self.ring.end() != self.shown {
            self.shown = self.ring.end();
            self.armed = self.armed || self.timer.reset(BATCH, None).is_ok();
        }
        self.awake = self.armed;
    }
}

impl AsRawFd for Hub {
    /// Readable when [`serve`](Hub::serve) has something to do.
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        if let Some((_, path)) = &self.listener {
            // Who comes next would replace the file as well: this is courtesy.
            let _left_behind = std::fs::remove_file(path);
        }
    }
}

/// The guest's side of a [`Hub`] as a writer, which never waits and never fails.
#[derive(Debug, Clone)]
pub struct HubWriter(pub Arc<Hub>);

impl io::Write for HubWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.append(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
