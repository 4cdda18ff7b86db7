//! What of a disk is not in its file: a snapshot is only half of a machine, the other half is the files of its disks as they are then.
//!
//! A host tells of a write that it has lost only once, to the next sync of the file, whoever asks for that. So what a snapshot's sync was
//! told is kept until the guest has been told as well: its next flush fails. Until then there is no snapshot either.

use std::io;

use super::Block;
use crate::devices::virtio::DeviceStateError;

/// What is not in a disk's file.
#[derive(Debug, Default)]
pub struct Unsettled {
    /// Why the tables are not. The next attempt may do better.
    pub(super) tables: Option<io::Error>,
    /// Why writes that the guest has been told of are not, and never will be.
    pub(super) lost: Option<io::Error>,
}

impl Unsettled {
    /// Why the file is not whole, where it is not.
    pub fn reason(&self) -> Option<String> {
        let lost = self
            .lost
            .as_ref()
            .map(|error| ("the host has lost writes to it", error));
        let tables = || {
            let error = self.tables.as_ref()?;
            Some(("its tables cannot be written to its file", error))
        };
        let (what, error) = lost.or_else(tables)?;
        Some(format!("is not whole: {what}: {error}"))
    }

    /// Whether the guest's flush has to fail: once for what was lost.
    pub fn fails_flush(&mut self) -> bool {
        self.lost.take().is_some()
    }
}

impl Block {
    /// Brings what only this process knows into the file. Whether that worked is for [`save`](super::state::save) to tell.
    pub(super) fn leave(&mut self) {
        self.unsettled.tables = self.image.leave().err();
        if let Some(error) = &self.unsettled.tables {
            crate::devices::once(
                &format!("{} tables", self.name),
                &format_args!("{}: cannot write its tables: {error}", self.name),
            );
        }
    }

    /// Makes all that the guest has written durable, for a snapshot; the disk is paused, or has no driver.
    ///
    /// # Errors
    /// Where the host does not manage, or has lost something before that the guest does not know of yet. The machine may go on.
    pub fn settle(&mut self) -> Result<(), DeviceStateError> {
        if self.read_only {
            return Ok(());
        }
        self.leave();
        // One loss is enough to tell of.
        if self.unsettled.lost.is_none() {
            self.unsettled.lost = self.image.sync().err();
        }
        self.is_settled()
    }

    /// Whether the file has all that the guest has written, as far as is known.
    pub(super) fn is_settled(&self) -> Result<(), DeviceStateError> {
        match self.unsettled.reason() {
            None => Ok(()),
            Some(reason) => Err(DeviceStateError {
                device: self.name.to_string(),
                reason,
            }),
        }
    }
}
