//! Making an instance's files, which takes as long as its image's disk takes to copy.

use std::ops::ControlFlow;
use std::pin::pin;

use api::{ApiError, ErrorCode, Mib};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::World;
use crate::instance_files::{FileError, NewDisk};
use crate::ledger::Record;

/// What makes the files of one instance.
#[derive(Debug)]
pub struct Creation<'a> {
    /// Where it all is.
    pub world: &'a World,
    /// The instance.
    pub record: &'a Record,
    /// Rings when something else may be meant by now.
    pub bell: &'a Notify,
    /// The agent ends: the next one begins anew.
    pub cancel: &'a CancellationToken,
}

impl Creation<'_> {
    /// Makes the files, and shows meanwhile how far it has come. Where the instance is deleted or the agent ends meanwhile, it breaks off;
    /// that is no error.
    ///
    /// Errors are for people: why the instance cannot be created.
    pub async fn run(&self) -> Result<(), ApiError> {
        let (files, id, size) = (&self.world.files, self.record.id, self.record.spec.disk_mib);
        // Staged files have their content. What has to be made anew begins with the image's disk, and fails without it.
        let boot = match self.world.images.resolve(&self.record.spec.image).await {
            Ok(boot) => Some(boot),
            Err(error) if size > Mib::ZERO && !files.are_staged(id) => return Err(error.to_api()),
            Err(_) => None,
        };
        let disk = NewDisk::of(size, boot.as_ref());
        let _turn = if disk.base.is_some() {
            tokio::select! {
                turn = self.world.copies.acquire() => turn.ok(),
                () = self.called_off() => return Ok(()),
            }
        } else {
            None
        };
        let broken_off = self.cancel.child_token();
        match self.make(disk, &broken_off).await? {
            Err(error) if !broken_off.is_cancelled() => Err(error.to_api()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    async fn make(
        &self,
        disk: NewDisk,
        broken_off: &CancellationToken,
    ) -> Result<Result<(), FileError>, ApiError> {
        let (hundredths, mut copied) = watch::channel(0);
        let (files, id, ends) = (self.world.files.clone(), self.record.id, broken_off.clone());
        let mut making = pin!(tokio::task::spawn_blocking(move || {
            files.make(id, disk, &mut |percent| {
                hundredths.send_if_modified(|shown| std::mem::replace(shown, percent) != percent);
                if ends.is_cancelled() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
        }));
        let mut called_off = pin!(self.called_off());
        loop {
            tokio::select! {
                made = &mut making => {
                    return made.map_err(|error| ApiError::new(ErrorCode::Internal, error.to_string()));
                }
                Ok(()) = copied.changed() => {
                    let percent = *copied.borrow_and_update();
                    self.world.registry.note(id, |record| record.live.copied_percent = Some(percent)).await;
                }
                () = &mut called_off, if !broken_off.is_cancelled() => broken_off.cancel(),
            }
        }
    }

    /// Returns when the instance is not to be made any more, or not by this agent.
    async fn called_off(&self) {
        loop {
            tokio::select! {
                () = self.cancel.cancelled() => return,
                () = self.bell.notified() => {
                    let now = self.world.registry.get(self.record.id).await;
                    if now.is_none_or(|record| record.intent.deleting) {
                        return;
                    }
                }
            }
        }
    }
}
