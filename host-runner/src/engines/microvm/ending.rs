//! What the monitor leaves of its guest's end.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;

use crate::engines::GuestEnd;

/// The most that is read of it, in bytes: a panic's lines come from a console of 64 KiB, and each of its bytes may be escaped as `\u0000`.
const READ_MAX: u64 = 512 * 1024;
/// The end of a machine, as the monitor writes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", tag = "ending", content = "reason")]
pub enum Ending {
    /// The guest turned itself off.
    PoweredOff,
    /// The guest reset itself.
    Reset,
    /// The guest's kernel panicked; the last lines of its console.
    Panicked(Vec<String>),
    /// The monitor was told to end.
    Killed,
    /// The machine could not go on.
    Failed(String),
}

/// Reads it; `None` where the monitor came to no end of its own.
pub fn read(path: &Path) -> Option<Ending> {
    let mut text = String::new();
    File::open(path)
        .ok()?
        .take(READ_MAX)
        .read_to_string(&mut text)
        .ok()?;
    serde_json::from_str(&text).ok()
}

/// What the end means for the instance.
pub fn meaning(ending: Option<&Ending>) -> GuestEnd {
    match ending {
        Some(Ending::PoweredOff) => GuestEnd::PoweredOff,
        Some(Ending::Reset) => GuestEnd::Reset,
        Some(Ending::Panicked(_) | Ending::Killed | Ending::Failed(_)) | None => GuestEnd::Unknown,
    }
}

/// The end in words, where the monitor left some; else `process`, how its process ended.
pub fn in_words(ending: Option<&Ending>, process: String) -> String {
    match ending {
        Some(Ending::Failed(reason)) => reason.clone(),
        Some(Ending::Reset) => "the guest reset itself".to_owned(),
        Some(Ending::Panicked(_)) => "its kernel panicked".to_owned(),
        Some(Ending::Killed) => "it was told to end".to_owned(),
        Some(Ending::PoweredOff) => "the guest turned itself off".to_owned(),
        None => process,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Option<Ending> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ending.json");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn a_monitor_that_was_killed_leaves_an_empty_file_or_none() {
        assert_eq!(written(""), None);
        assert_eq!(read(Path::new("/nonexistent/ending.json")), None);
        assert_eq!(meaning(None), GuestEnd::Unknown);
        assert_eq!(in_words(None, "killed by signal 9".into()), "killed by signal 9");
    }

    #[test]
    fn a_guest_that_turned_itself_off_or_reset_itself_did_not_fail() {
        let off = written(r#"{"ending":"powered_off"}"#);
        assert_eq!(meaning(off.as_ref()), GuestEnd::PoweredOff);
        let reset = written(r#"{"ending":"reset"}"#);
        assert_eq!(meaning(reset.as_ref()), GuestEnd::Reset);
        assert_eq!(in_words(reset.as_ref(), String::new()), "the guest reset itself");
    }

    #[test]
    fn a_panic_is_a_failure_though_it_ends_in_a_reset() {
        let panicked = written(r#"{"ending":"panicked","reason":["[ 1.0] Kernel panic - not syncing"]}"#);
        assert_eq!(meaning(panicked.as_ref()), GuestEnd::Unknown);
        assert_eq!(in_words(panicked.as_ref(), String::new()), "its kernel panicked");
    }

    #[test]
    fn a_machine_that_could_not_go_on_says_why() {
        let failed = written(r#"{"ending":"failed","reason":"vCPU 0: KVM stopped"}"#);
        assert_eq!(meaning(failed.as_ref()), GuestEnd::Unknown);
        assert_eq!(in_words(failed.as_ref(), String::new()), "vCPU 0: KVM stopped");
    }
}
