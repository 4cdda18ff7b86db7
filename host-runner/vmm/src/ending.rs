//! The note of how a machine ended: one, whoever writes it.
//!
//! Mostly it is the driver that knows. But a machine that is told to end must do so also while the driver waits for a disk or writes a
//! snapshot: then whoever answers on the control socket writes the note, and ends the process.

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use crate::driver::Ending;
use crate::happenings::{Happening, Listeners};

/// Where the end of a machine is noted.
#[derive(Debug, Default)]
pub struct EndNote {
    listeners: Arc<Listeners>,
    page: Mutex<Page>,
}

#[derive(Debug, Default)]
struct Page {
    ending: Option<Ending>,
    /// Where there is one, until the note is written.
    file: Option<File>,
}

impl EndNote {
    /// A note that is written to this file, and that these are told of.
    pub fn new(file: Option<File>, listeners: Arc<Listeners>) -> Self {
        Self {
            listeners,
            page: Mutex::new(Page { ending: None, file }),
        }
    }

    /// Notes the end. Whoever did so first ends the process, and nobody else: its exit code is that of the note.
    ///
    /// # Errors
    /// Where an end has been noted before: that one, which counts.
    pub fn write(&self, ending: &Ending) -> Result<(), Ending> {
        let mut page = self.page.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = &page.ending {
            return Err(before.clone());
        }
        page.ending = Some(ending.clone());
        if let Some(file) = page.file.take() {
            // The process ends whether or not this can be written; its exit code says the same.
            let _full_disk = write(file, ending);
        }
        self.listeners.tell(&Happening::Ended(ending.clone()));
        Ok(())
    }
}

fn write(mut file: File, ending: &Ending) -> io::Result<()> {
    file.write_all(&serde_json::to_vec(ending)?)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _};
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_first_end_counts_and_is_written_and_told_once() {
        let mut file = tempfile::tempfile().unwrap();
        let listeners = Arc::<Listeners>::default();
        let listener = listeners.listen().unwrap();
        let note = EndNote::new(Some(file.try_clone().unwrap()), listeners);
        note.write(&Ending::Killed).unwrap();
        assert_eq!(note.write(&Ending::PoweredOff), Err(Ending::Killed));
        let mut written = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut written).unwrap();
        assert_eq!(written, r#"{"ending":"killed"}"#);
        let ended = listener.next(Duration::ZERO);
        assert_eq!(ended, Ok(Happening::Ended(Ending::Killed)));
        assert!(listener.next(Duration::ZERO).is_err());
    }
}
