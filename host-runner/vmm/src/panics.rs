//! What becomes of a panic.
//!
//! A panic is a mistake of ours, and a thread that is gone would leave the machine half alive: it ends the process. The one exception is
//! a library that takes a file on trust, and panics where that contradicts itself: then the file is refused.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};

use crate::devices::once;
use crate::log::say;

thread_local! {
    /// Whether a panic of this thread is [caught].
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Makes every panic that is not [caught] end the process, with one line. A backtrace would need files, which threads cannot open.
pub fn end_process() {
    panic::set_hook(Box::new(|panic| {
        if CAUGHT.get() {
            // Where it was tells whose mistake it is; what it says may be the file's.
            once("caught panic", &format_args!("microvm: caught: {panic}"));
            return;
        }
        say(&format_args!("microvm: {panic}"));
        std::process::abort();
    }));
}

/// What `work` gives, or `None` when it panicked. What it worked on is not to be trusted after that.
pub fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    let before = CAUGHT.replace(true);
    let done = panic::catch_unwind(AssertUnwindSafe(work)).ok();
    CAUGHT.set(before);
    done
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    use super::*;

    /// Set for the process that panics.
    const ROLE: &str = "MICROVM_TEST_PANICS";

    #[test]
    fn only_what_is_caught_is_survived() {
        if let Ok(role) = std::env::var(ROLE) {
            end_process();
            let caught = caught(|| -> u8 { panic!("a file that contradicts itself") });
            assert_eq!(caught, None);
            assert_eq!(role, "caught", "a mistake");
            return;
        }
        let name = "panics::tests::only_what_is_caught_is_survived";
        for (role, signal) in [("caught", None), ("uncaught", Some(libc::SIGABRT))] {
            let child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name, "--test-threads=1"])
                .env(ROLE, role)
                .output()
                .unwrap();
            assert_eq!(child.status.signal(), signal, "{role}");
            assert_eq!(child.status.success(), signal.is_none(), "{role}");
        }
    }
}
