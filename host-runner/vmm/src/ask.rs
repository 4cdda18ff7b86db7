//! A command on its way from who asks to the driver.
//!
//! ```text
//!           begin                 answer
//! waits ------------> is done ------------> answered
//!   |                    |
//!   | time is up         | time is up
//!   | or gone            |
//!   v                    v
//! given up: never done   unfinished: takes effect
//! ```
//!
//! The driver does one thing after the other, and some take long. Who asks waits only for so long, and then knows one of two things: that
//! the command was not begun and never will be, or that it is being done. Nor is it begun for somebody who is gone by then, and has told
//! others, maybe, that it failed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use crate::driver::{Answer, Command, Refusal};

/// What becomes of a command that the driver has begun.
pub type Outcome = Result<Answer, Refusal>;

/// Tells whether who asked is gone.
pub type IsGone = Box<dyn Fn() -> bool + Send>;

/// A command, as the driver gets it.
pub struct Asked {
    command: Command,
    reply: SyncSender<Outcome>,
    /// Whoever sets it has decided whether the command is done: the driver, or who asked and waits no longer.
    decided: Arc<AtomicBool>,
    is_gone: IsGone,
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Asked").field(&self.command).finish()
    }
}

/// What who asked waits with.
#[derive(Debug)]
pub struct Awaited {
    outcome: Receiver<Outcome>,
    decided: Arc<AtomicBool>,
}

/// Why there is no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoOutcome {
    /// The driver had too much to do, and will not do this.
    #[error("the machine has much to do, and nothing was done: ask again")]
    NotBegun,
    /// The driver is at it.
    #[error("the machine is still at it: what was asked for takes effect, or is refused; ask what it does")]
    Unfinished,
    /// The driver has ended.
    #[error("the machine is ending")]
    Ended,
}

/// The two ends of a command.
pub fn ask(command: Command, is_gone: IsGone) -> (Asked, Awaited) {
    let (reply, outcome) = sync_channel(1);
    let decided = Arc::new(AtomicBool::new(false));
    let asked = Asked {
        command,
        reply,
        decided: Arc::clone(&decided),
        is_gone,
    };
    (asked, Awaited { outcome, decided })
}

impl Asked {
    /// The command, which is to be done now, and where its outcome goes. `None` where nobody waits for it any more: then it is not to be
    /// done.
    pub fn begin(self) -> Option<(Command, SyncSender<Outcome>)> {
        let given_up = self.decided.swap(true, Ordering::AcqRel);
        (!given_up && !(self.is_gone)()).then_some((self.command, self.reply))
    }
}

impl Awaited {
    /// The outcome, waited for as long as `time`.
    ///
    /// # Errors
    /// Where there is none: what that means for the command.
    pub fn wait(self, time: Duration) -> Result<Outcome, NoOutcome> {
        match self.outcome.recv_timeout(time) {
            Ok(outcome) => Ok(outcome),
            Err(RecvTimeoutError::Disconnected) => Err(NoOutcome::Ended),
            Err(RecvTimeoutError::Timeout) if self.decided.swap(true, Ordering::AcqRel) => {
                Err(NoOutcome::Unfinished)
            }
            Err(RecvTimeoutError::Timeout) => Err(NoOutcome::NotBegun),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Duration = Duration::ZERO;

    #[test]
    fn what_nobody_waits_for_any_more_is_not_done() {
        let (asked, awaited) = ask(Command::Pause, Box::new(|| false));
        assert_eq!(awaited.wait(AT_ONCE).unwrap_err(), NoOutcome::NotBegun);
        assert!(asked.begin().is_none());
    }

    #[test]
    fn what_is_asked_by_somebody_who_is_gone_is_not_done() {
        let (asked, _awaited) = ask(Command::Pause, Box::new(|| true));
        assert!(asked.begin().is_none());
    }

    #[test]
    fn what_was_begun_is_told_to_take_effect() {
        let (asked, awaited) = ask(Command::Pause, Box::new(|| false));
        let (command, _reply) = asked.begin().unwrap();
        assert_eq!(command, Command::Pause);
        assert_eq!(awaited.wait(AT_ONCE).unwrap_err(), NoOutcome::Unfinished);
    }

    #[test]
    fn an_outcome_reaches_who_asked() {
        let (asked, awaited) = ask(Command::Pause, Box::new(|| false));
        let (_, reply) = asked.begin().unwrap();
        reply.send(Err(Refusal::NoBalloon)).unwrap();
        let outcome = awaited.wait(AT_ONCE).unwrap();
        assert!(matches!(outcome, Err(Refusal::NoBalloon)));
    }

    #[test]
    fn a_driver_that_ends_is_noticed_at_once() {
        let (asked, awaited) = ask(Command::Pause, Box::new(|| false));
        drop(asked);
        assert_eq!(
            awaited.wait(Duration::from_secs(600)).unwrap_err(),
            NoOutcome::Ended
        );
    }
}
