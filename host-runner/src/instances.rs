//! What may be asked of instances. Each request only changes what is meant, atomically, and wakes the reconciler.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::{ApiError, CreateInstance, ErrorCode, HostFacts, Image, Instance, Mib, RunState, StopInstance};
use pool::Refusal;
use uuid::{Uuid, Version};

use crate::admission::{self, DiskSpace, MemorySpace, Room};
use crate::images::{ImageError, ImageStore};
use crate::instance_files::{FileError, InstanceFiles};
use crate::ledger::{self, Intent, LedgerError, Live, Record, Status};
use crate::reconcile::Reconciler;
use crate::registry::{Records, Registry};
use crate::spec_rules::{self, RuleBroken};

/// Why a request is refused. Whatever the reason, nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// The id is not a `UUIDv7`.
    #[error("the id of an instance is a version 7 UUID, and {given} is none")]
    BadId {
        /// What was given.
        given: Uuid,
    },
    /// The spec breaks a rule.
    #[error(transparent)]
    Rule(#[from] RuleBroken),
    /// No instance has the id.
    #[error("this machine has no instance {id}")]
    NotFound {
        /// The id.
        id: Uuid,
    },
    /// Another instance has the name.
    #[error("another instance on this machine is called {name}")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The generation is older than the one held.
    #[error("generation {given} is older than {held}, which this machine holds")]
    Stale {
        /// What this machine holds.
        held: u32,
        /// What was given.
        given: u32,
    },
    /// The generation is known with another content.
    #[error("generation {generation} is known with another content; a change needs a higher number")]
    Conflicting {
        /// The generation.
        generation: u32,
    },
    /// A newer generation changes what cannot change.
    #[error("the {field} of an instance cannot change; create another instance")]
    Fixed {
        /// Which field.
        field: &'static str,
        /// The generation.
        generation: u32,
    },
    /// The action does not fit the state.
    #[error("cannot {action} an instance that is {}", state_word(*state))]
    WrongState {
        /// Where the instance is in its life.
        state: RunState,
        /// What was asked.
        action: &'static str,
    },
    /// The machine cannot take it.
    #[error("this machine cannot run {name}")]
    Refused {
        /// The instance's name.
        name: String,
        /// Why; at least one reason.
        refusals: Vec<Refusal>,
    },
    /// The image cannot be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The ledger cannot be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The instance's files cannot be made.
    #[error(transparent)]
    File(#[from] FileError),
    /// The work was cut off.
    #[error("the work did not finish")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// The state as it is on the wire.
pub(crate) fn state_word(state: RunState) -> &'static str {
    match state {
        RunState::Creating => "creating",
        RunState::Stopped => "stopped",
        RunState::Starting => "starting",
        RunState::Running => "running",
        RunState::Paused => "paused",
        RunState::Stopping => "stopping",
        RunState::Failed => "failed",
        RunState::Deleting => "deleting",
    }
}

impl InstanceError {
    /// The error as it crosses the wire.
    pub fn to_api(&self) -> ApiError {
        let message = self.to_string();
        match self {
            Self::BadId { .. } => ApiError::new(ErrorCode::MalformedRequest, message).with("field", "id"),
            Self::Rule(rule) => rule.to_api(),
            Self::NotFound { id } => {
                ApiError::new(ErrorCode::InstanceNotFound, message).with("id", id.to_string())
            }
            Self::NameTaken { name } => {
                ApiError::new(ErrorCode::NameTaken, message).with("name", name.as_str())
            }
            Self::Stale { held, given } => ApiError::new(ErrorCode::StaleGeneration, message)
                .with("held", *held)
                .with("given", *given),
            Self::Conflicting { generation } => {
                ApiError::new(ErrorCode::ConflictingSpec, message).with("generation", *generation)
            }
            Self::Fixed { field, generation } => ApiError::new(ErrorCode::ConflictingSpec, message)
                .with("generation", *generation)
                .with("field", *field),
            Self::WrongState { state, action } => ApiError::new(ErrorCode::WrongState, message)
                .with("state", state_word(*state))
                .with("action", *action),
            Self::Refused { name, refusals } => admission::to_api(name, refusals)
                .unwrap_or_else(|| ApiError::new(ErrorCode::Internal, message)),
            Self::Image(error) => error.to_api(),
            Self::Ledger(error) => error.to_api(),
            Self::File(error) => error.to_api(),
            Self::Interrupted(_) => ApiError::new(ErrorCode::Internal, message),
        }
    }

    /// Whether the machine refused what it could not hold, as opposed to what it did not find.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

/// What a create did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    /// The instance is new.
    Created,
    /// It was there; its spec is as asked, changed to it or unchanged.
    Kept,
}

/// The instances of this machine.
#[derive(Debug)]
pub struct Instances {
    /// What is held.
    pub registry: Arc<Registry>,
    /// What acts.
    pub reconciler: Arc<Reconciler>,
    /// What guests boot from.
    pub images: Arc<ImageStore>,
    /// What the machine is.
    pub facts: HostFacts,
    /// Where the files are.
    pub files: InstanceFiles,
    /// The most disk that is offered; `None` for all there is.
    pub offer_disk: Option<Mib>,
    /// Instances whose files a create is making at this moment: the reconciler keeps its hands off them until then.
    pub(crate) creating: Mutex<HashSet<Uuid>>,
}

impl Instances {
    /// Creates an instance, or changes it to a newer spec; repeating a request changes nothing.
    ///
    /// Cancelling this does not leave it half-done when it is spawned as a task of its own, as the REST server does.
    pub async fn create(
        &self,
        id: Uuid,
        body: CreateInstance,
    ) -> Result<(Creation, Instance), InstanceError> {
        if id.get_version() != Some(Version::SortRand) {
            return Err(InstanceError::BadId { given: id });
        }
        spec_rules::check_create(&body)?;
        let images = self.images.list().await?;
        let too_small = self.check_memory(&body).await;
        let space = self.disk_space().await?;
        let mut creation = Creation::Kept;
        let record = self
            .registry
            .transact(id, |records| {
                if let Some(held) = records.get(&id) {
                    return self.renew(held, &body, records, &images, space);
                }
                creation = Creation::Created;
                self.creating().insert(id);
                self.admit_new(id, &body, records, &images, space, too_small)
                    .map(Some)
            })
            .await;
        let made = match &record {
            Ok(Some(record)) if creation == Creation::Created => self.make_files(record).await,
            _ => Ok(()),
        };
        if creation == Creation::Created {
            self.creating().remove(&id);
        }
        made?;
        let record = match record {
            Ok(record) => record.ok_or(InstanceError::NotFound { id })?,
            Err(error) => return Err(self.explained(error).await),
        };
        if creation == Creation::Created {
            tracing::info!(instance = %id, name = record.spec.name, "created");
        }
        self.wake(id);
        Ok((creation, record.to_api()))
    }

    /// An image that is missing or damaged is refused by admission, in the same words as by the pool.
    async fn check_memory(&self, body: &CreateInstance) -> Option<RuleBroken> {
        let boot = self.images.resolve(&body.spec.image).await.ok()?;
        spec_rules::check_memory_for_image(&body.spec, boot.memory_min).err()
    }

    /// A damaged image's refusal, with the file at fault and the remedy, which only the image store knows.
    async fn explained(&self, error: InstanceError) -> InstanceError {
        if let InstanceError::Refused { refusals, .. } = &error
            && let Some(Refusal::ImageCorrupt { image }) = refusals.first()
            && let Err(damage @ ImageError::Corrupt { .. }) = self.images.resolve(image).await
        {
            return damage.into();
        }
        error
    }

    fn admit_new(
        &self,
        id: Uuid,
        body: &CreateInstance,
        records: &Records,
        images: &[Image],
        space: DiskSpace,
        too_small: Option<RuleBroken>,
    ) -> Result<Record, InstanceError> {
        name_is_free(id, &body.spec.name, records)?;
        let mut room = self.room(records, space);
        if !body.start {
            // A stopped instance holds no memory: that there is enough at all is asked now, that it is free when it starts.
            room.memory_free = self.facts.memory_offered_mib;
        }
        let request = admission::request(&body.spec, Mib::ZERO, Mib::ZERO);
        refuse(
            &body.spec.name,
            admission::refusals(&request, &self.facts, images, room),
        )?;
        too_small.map_or(Ok(()), Err)?;
        let mut intent = Intent::at_rest();
        if body.start {
            intent.power_on();
        }
        Ok(Record {
            id,
            generation: body.generation,
            spec: body.spec.clone(),
            intent,
            launch: None,
            status: Status {
                state: RunState::Creating,
                failure: None,
            },
            created_at: ledger::now(),
            live: Live::default(),
        })
    }

    /// The fence: older is stale, the same number with another content is a conflict, the same is nothing new, newer is adopted.
    fn renew(
        &self,
        held: &Record,
        body: &CreateInstance,
        records: &Records,
        images: &[Image],
        space: DiskSpace,
    ) -> Result<Option<Record>, InstanceError> {
        let generation = body.generation;
        if held.intent.deleting {
            return Err(wrong_state(held, "change"));
        }
        if generation < held.generation {
            return Err(InstanceError::Stale {
                held: held.generation,
                given: generation,
            });
        }
        if generation == held.generation {
            return if body.spec == held.spec {
                Ok(None)
            } else {
                Err(InstanceError::Conflicting { generation })
            };
        }
        if body.spec != held.spec {
            for (field, same) in [
                ("image", body.spec.image == held.spec.image),
                ("disk_mib", body.spec.disk_mib == held.spec.disk_mib),
            ] {
                if !same {
                    return Err(InstanceError::Fixed { field, generation });
                }
            }
            if held.memory_promised() > Mib::ZERO {
                return Err(wrong_state(held, "change"));
            }
            name_is_free(held.id, &body.spec.name, records)?;
        }
        let mut record = held.clone();
        record.generation = generation;
        record.spec = body.spec.clone();
        if body.start && !record.intent.wanted_running {
            self.admit_start(&mut record, records, images, space)?;
        }
        Ok(Some(record))
    }

    fn admit_start(
        &self,
        record: &mut Record,
        records: &Records,
        images: &[Image],
        space: DiskSpace,
    ) -> Result<(), InstanceError> {
        let request = admission::request(&record.spec, record.memory_promised(), record.spec.disk_mib);
        let room = self.room(records, space);
        refuse(
            &record.spec.name,
            admission::refusals(&request, &self.facts, images, room),
        )?;
        record.intent.power_on();
        if !record.may_be_alive() {
            record.status = Status {
                state: RunState::Starting,
                failure: None,
            };
        }
        Ok(())
    }

    fn creating(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        // The set is whole between any two statements that could panic, so a poisoned lock is still good.
        self.creating.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the reconciler, unless a create is at work and will do so at its end.
    fn wake(&self, id: Uuid) {
        if !self.creating().contains(&id) {
            self.reconciler.wake(id);
        }
    }

    async fn make_files(&self, record: &Record) -> Result<(), InstanceError> {
        let (files, id, disk) = (self.files.clone(), record.id, record.spec.disk_mib);
        let made = tokio::task::spawn_blocking(move || files.make(id, disk)).await?;
        match made {
            Ok(()) => Ok(()),
            Err(error) => {
                self.registry.remove(id).await?;
                Err(error.into())
            }
        }
    }

    /// Asks for a power-on; already meant to run is no error.
    pub async fn start(&self, id: Uuid) -> Result<Instance, InstanceError> {
        let images = self.images.list().await?;
        let space = self.disk_space().await?;
        self.intend(id, |held, records| {
            if held.intent.deleting {
                return Err(wrong_state(held, "start"));
            }
            if held.intent.wanted_running {
                return Ok(None);
            }
            let mut record = held.clone();
            self.admit_start(&mut record, records, &images, space)?;
            Ok(Some(record))
        })
        .await
    }

    /// Asks for a stop; already stopped is no error, and a second request can turn a graceful stop into a forced one.
    pub async fn stop(&self, id: Uuid, how: StopInstance) -> Result<Instance, InstanceError> {
        spec_rules::check_stop(how)?;
        self.intend(id, |held, _| {
            if held.intent.deleting {
                return Err(wrong_state(held, "stop"));
            }
            let mut record = held.clone();
            record.intent.wanted_running = false;
            record.intent.stop = how;
            if record.may_be_alive() {
                record.status.state = RunState::Stopping;
            } else if record.status.failure.is_none() && held.intent.wanted_running {
                record.status.state = RunState::Stopped;
            }
            Ok((record != *held).then_some(record))
        })
        .await
    }

    /// Asks for a stop and a power-on after it.
    pub async fn restart(&self, id: Uuid, how: StopInstance) -> Result<Instance, InstanceError> {
        spec_rules::check_stop(how)?;
        self.intend(id, |held, _| {
            let runs = held.intent.wanted_running && held.may_be_alive();
            if held.intent.deleting || !runs {
                return Err(wrong_state(held, "restart"));
            }
            let mut record = held.clone();
            record.intent.power_on();
            record.intent.stop = how;
            record.status.state = RunState::Stopping;
            Ok(Some(record))
        })
        .await
    }

    /// Asks for the removal; a live guest is killed first.
    pub async fn delete(&self, id: Uuid) -> Result<Instance, InstanceError> {
        self.intend(id, |held, _| {
            let mut record = held.clone();
            record.intent.deleting = true;
            record.intent.wanted_running = false;
            record.status = Status {
                state: RunState::Deleting,
                failure: None,
            };
            Ok((record != *held).then_some(record))
        })
        .await
    }

    async fn intend(
        &self,
        id: Uuid,
        decide: impl FnOnce(&Record, &Records) -> Result<Option<Record>, InstanceError>,
    ) -> Result<Instance, InstanceError> {
        let record = self
            .registry
            .transact(id, |records| {
                let held = records.get(&id).ok_or(InstanceError::NotFound { id })?;
                decide(held, records)
            })
            .await;
        let record = match record {
            Ok(record) => record.ok_or(InstanceError::NotFound { id })?,
            Err(error) => return Err(self.explained(error).await),
        };
        self.wake(id);
        Ok(record.to_api())
    }

    /// One instance.
    pub async fn get(&self, id: Uuid) -> Result<Instance, InstanceError> {
        let record = self.registry.get(id).await;
        record
            .map(|record| record.to_api())
            .ok_or(InstanceError::NotFound { id })
    }

    /// What is promised and what is left, now.
    pub async fn present_room(&self) -> Result<Room, InstanceError> {
        let space = self.disk_space().await?;
        Ok(self.registry.read(|records| self.room(records, space)).await)
    }

    fn room(&self, records: &Records, space: DiskSpace) -> Room {
        admission::room(records.values(), MemorySpace::of(&self.facts), space)
    }

    async fn disk_space(&self) -> Result<DiskSpace, InstanceError> {
        let with_disks: Vec<Uuid> = self
            .registry
            .read(|records| {
                records
                    .values()
                    .filter(|record| record.spec.disk_mib > Mib::ZERO)
                    .map(|record| record.id)
                    .collect()
            })
            .await;
        let (files, offered) = (self.files.clone(), self.offer_disk);
        let space = tokio::task::spawn_blocking(move || files.space(&with_disks, offered)).await??;
        Ok(space)
    }
}

fn refuse(name: &str, refusals: Vec<Refusal>) -> Result<(), InstanceError> {
    if refusals.is_empty() {
        return Ok(());
    }
    Err(InstanceError::Refused {
        name: name.to_owned(),
        refusals,
    })
}

fn wrong_state(held: &Record, action: &'static str) -> InstanceError {
    InstanceError::WrongState {
        state: held.status.state,
        action,
    }
}

fn name_is_free(id: Uuid, name: &str, records: &Records) -> Result<(), InstanceError> {
    let taken = records
        .values()
        .any(|other| other.id != id && other.spec.name == name);
    if taken {
        return Err(InstanceError::NameTaken {
            name: name.to_owned(),
        });
    }
    Ok(())
}
