//! What may be asked of instances. Each request only changes what is meant, atomically, and wakes the reconciler.

mod error;

use std::sync::Arc;

use api::{
    CreateInstance, EngineKind, EngineRequest, HostFacts, Image, Instance, InstanceSpec, Mib, RunState,
    StopInstance,
};
use pool::Refusal;
use tokio::sync::Semaphore;
use uuid::{Uuid, Version};

use crate::admission::{self, DiskSpace, MemorySpace, Room};
use crate::engines::Engines;
use crate::images::{BootFiles, ImageError, ImageStore};
use crate::instance_files::{InstanceFiles, NewDisk};
use crate::ledger::{self, Intent, Live, Record, Status};
use crate::reconcile::Reconciler;
use crate::registry::{Addition, Records, Registry};
use crate::spec_rules;

pub use error::InstanceError;
pub(crate) use error::state_word;

/// The most writes that are at work at a time, those whose callers hung up included; more wait.
pub const WRITES_MAX: usize = 64;

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
    /// What runs guests.
    pub engines: Arc<Engines>,
    /// What guests boot from.
    pub images: Arc<ImageStore>,
    /// What the machine is.
    pub facts: HostFacts,
    /// Where the files are.
    pub files: InstanceFiles,
    /// The most disk that is offered; `None` for all there is.
    pub offer_disk: Option<Mib>,
    /// A place for each write, [`WRITES_MAX`] in all.
    pub writes: Arc<Semaphore>,
}

/// What a decision rests on, read before the registry is locked.
#[derive(Debug)]
struct Grounds {
    images: Vec<Image>,
    space: Space,
    /// What the image that is asked for boots with; `None` where that cannot be used, which admission refuses in the same words
    /// as the pool.
    boot: Option<BootFiles>,
}

impl Grounds {
    /// The engine that the instance needs room for: an image without a kernel comes to QEMU, whatever else there is.
    fn engine_of(&self, spec: &InstanceSpec) -> EngineRequest {
        match &self.boot {
            Some(boot) if boot.kernel.is_none() => EngineRequest::Qemu,
            _ => spec.engine_needed(),
        }
    }
}

/// The file system that holds the disks, and what was promised to those of the ledger's rows that were set aside.
#[derive(Debug, Clone, Copy)]
struct Space {
    disk: DiskSpace,
    memory_aside: Mib,
    disk_aside: Mib,
}

impl Instances {
    /// Creates an instance, or changes it to a newer spec; repeating a request changes nothing.
    ///
    /// Must not be cancelled: it is spawned as a task of its own, as the REST server does with each write.
    pub async fn create(
        &self,
        id: Uuid,
        body: CreateInstance,
    ) -> Result<(Creation, Instance), InstanceError> {
        if id.get_version() != Some(Version::SortRand) {
            return Err(InstanceError::BadId { given: id });
        }
        spec_rules::check_create(&body)?;
        let grounds = self.grounds(&body.spec.image).await?;
        let added = self
            .registry
            .add(
                |records| match records.get(&id) {
                    Some(held) => self.renew(held, &body, records, &grounds),
                    None => self.admit_new(id, &body, records, &grounds).map(Addition::New),
                },
                // The reconciler puts them in their place, as soon as the ledger has the instance.
                |record| {
                    self.stage_files(
                        record.id,
                        NewDisk::of(record.spec.disk_mib, grounds.boot.as_ref()),
                    )
                },
                |record| self.files.unstage(record.id),
            )
            .await;
        let (record, is_new) = match added {
            Ok(added) => added,
            Err(error) => return Err(self.explained(error).await),
        };
        let creation = if is_new { Creation::Created } else { Creation::Kept };
        if is_new {
            tracing::info!(instance = %id, name = record.spec.name, "created");
        }
        self.reconciler.wake(id);
        Ok((creation, record.to_api()))
    }

    async fn grounds(&self, image: &str) -> Result<Grounds, InstanceError> {
        Ok(Grounds {
            images: self.images.list().await?,
            space: self.space().await?,
            boot: self.images.resolve(image).await.ok(),
        })
    }

    fn stage_files(
        &self,
        id: Uuid,
        disk: NewDisk,
    ) -> impl Future<Output = Result<(), InstanceError>> + Send + use<> {
        let files = self.files.clone();
        async move { Ok(tokio::task::spawn_blocking(move || files.stage(id, disk)).await??) }
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
        grounds: &Grounds,
    ) -> Result<Record, InstanceError> {
        let generation = body.generation;
        if self.registry.set_aside().iter().any(|row| row.uuid() == Some(id)) {
            return Err(InstanceError::SetAside { id, generation });
        }
        if let Some(path) = self.files.stray(id) {
            return Err(InstanceError::Stray { path, generation });
        }
        self.name_is_free(id, &body.spec.name, records)?;
        if body.start {
            self.admit_running(id, &body.spec, (Mib::ZERO, Mib::ZERO), records, grounds)?;
        } else {
            self.admit_at_rest(&body.spec, Mib::ZERO, records, grounds)?;
        }
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
        grounds: &Grounds,
    ) -> Result<Addition, InstanceError> {
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
                Ok(Addition::Keep(held.clone()))
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
            // Wishes about the place change nothing here: they may change while it runs.
            let wishes_alone = InstanceSpec {
                placement: held.spec.placement.clone(),
                ..body.spec.clone()
            } == held.spec;
            if !wishes_alone {
                if held.memory_promised() > Mib::ZERO {
                    return Err(wrong_state(held, "change"));
                }
                self.name_is_free(held.id, &body.spec.name, records)?;
                self.admit_at_rest(&body.spec, held.spec.disk_mib, records, grounds)?;
            }
        }
        let mut record = held.clone();
        record.generation = generation;
        record.spec = body.spec.clone();
        if body.start && !record.intent.wanted_running {
            self.admit_start(&mut record, records, grounds)?;
        }
        Ok(Addition::Change(record))
    }

    fn admit_start(
        &self,
        record: &mut Record,
        records: &Records,
        grounds: &Grounds,
    ) -> Result<(), InstanceError> {
        let held = record.memory_promised();
        self.admit_running(
            record.id,
            &record.spec,
            (held, record.spec.disk_mib),
            records,
            grounds,
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

    /// Whether the instance can run now, beside all others. `held` is what it has already of memory and of disk.
    fn admit_running(
        &self,
        id: Uuid,
        spec: &InstanceSpec,
        held: (Mib, Mib),
        records: &Records,
        grounds: &Grounds,
    ) -> Result<(), InstanceError> {
        let room = self.room(records, grounds.space, grounds.engine_of(spec));
        self.admit_into(room, spec, held, grounds)?;
        ports_are_free(id, spec, records)
    }

    /// Whether the instance could run at all. One at rest holds no memory: that there is enough is asked now, that it is free when
    /// it starts.
    fn admit_at_rest(
        &self,
        spec: &InstanceSpec,
        disk_held: Mib,
        records: &Records,
        grounds: &Grounds,
    ) -> Result<(), InstanceError> {
        let mut room = self.room(records, grounds.space, grounds.engine_of(spec));
        room.memory_free = self.facts.memory_offered_mib;
        self.admit_into(room, spec, (Mib::ZERO, disk_held), grounds)
    }

    fn admit_into(
        &self,
        room: Room,
        spec: &InstanceSpec,
        (memory_held, disk_held): (Mib, Mib),
        grounds: &Grounds,
    ) -> Result<(), InstanceError> {
        let request = admission::request(spec, memory_held, disk_held);
        let mut refusals = admission::refusals(&request, &self.facts, &grounds.images, room)?;
        if refusals.iter().any(|refusal| {
            matches!(
                refusal,
                Refusal::NoEngine {
                    needed: Some(EngineKind::Microvm)
                }
            )
        }) {
            // The engines know better than the facts, which are of the agent's start: what is missing now, and what to do about it.
            self.engines.choose(spec, true)?;
            refusals.retain(|refusal| !matches!(refusal, Refusal::NoEngine { .. }));
        }
        if !refusals.is_empty() {
            return Err(InstanceError::Refused {
                name: spec.name.clone(),
                refusals,
            });
        }
        if let Some(boot) = &grounds.boot {
            if spec.engine_needed() == EngineRequest::Microvm {
                self.engines.choose(spec, boot.kernel.is_some())?;
            }
            spec_rules::check_memory_for_image(spec, boot.memory_min)?;
            if let Some(disk) = &boot.disk {
                spec_rules::check_disk_for_image(spec, disk.size)?;
            }
        }
        Ok(())
    }

    fn name_is_free(&self, id: Uuid, name: &str, records: &Records) -> Result<(), InstanceError> {
        let others = records.values().filter(|other| other.id != id);
        let mut taken = others
            .map(|other| &other.spec.name)
            .chain(self.registry.set_aside().iter().map(|row| &row.name));
        if taken.any(|taken| taken == name) {
            return Err(InstanceError::NameTaken {
                name: name.to_owned(),
            });
        }
        Ok(())
    }

    /// Asks for a power-on; already meant to run is no error.
    pub async fn start(&self, id: Uuid) -> Result<Instance, InstanceError> {
        let image = self.registry.get(id).await.map(|record| record.spec.image);
        let image = image.ok_or(InstanceError::NotFound { id })?;
        let grounds = self.grounds(&image).await?;
        self.intend(id, |held, records| {
            if held.intent.deleting {
                return Err(wrong_state(held, "start"));
            }
            if held.intent.wanted_running {
                return Ok(None);
            }
            let mut record = held.clone();
            self.admit_start(&mut record, records, &grounds)?;
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
        self.reconciler.wake(id);
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
        let space = self.space().await?;
        let room = |records: &_| self.room(records, space, EngineRequest::Auto);
        Ok(self.registry.read(room).await)
    }

    fn room(&self, records: &Records, space: Space, engine: EngineRequest) -> Room {
        let memory = MemorySpace::of(&self.facts);
        let mut room = admission::room(records.values(), memory, space.disk, engine);
        room.memory_promised = room.memory_promised.saturating_add(space.memory_aside);
        room.memory_free = room.memory_free.saturating_sub(space.memory_aside);
        room.disk_promised = room.disk_promised.saturating_add(space.disk_aside);
        room.disk_free = room.disk_free.saturating_sub(space.disk_aside);
        room
    }

    async fn space(&self) -> Result<Space, InstanceError> {
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
        let registry = Arc::clone(&self.registry);
        let offered_memory = self.facts.memory_offered_mib;
        let measure = move || {
            let set_aside = registry.set_aside();
            let alive = set_aside
                .iter()
                .filter(|row| row.uuid().is_some_and(|id| files.may_be_alive(id)));
            let memory: Mib = alive
                .map(|row| row.memory_while_alive().min(offered_memory))
                .sum();
            Ok(Space {
                disk: files.space(&with_disks, offered)?,
                memory_aside: memory,
                disk_aside: set_aside.iter().map(|row| row.disk).sum(),
            })
        };
        tokio::task::spawn_blocking(measure).await?
    }
}

/// A fixed port of the machine is promised like memory: to one instance that is meant to run, until its guest is gone.
fn ports_are_free(id: Uuid, spec: &InstanceSpec, records: &Records) -> Result<(), InstanceError> {
    for port in spec.ports.iter().filter_map(|request| request.host) {
        let holder = records
            .values()
            .find(|other| other.id != id && holds_port(other, port));
        if let Some(holder) = holder {
            return Err(InstanceError::PortTaken {
                port,
                holder: holder.spec.name.clone(),
            });
        }
    }
    Ok(())
}

fn holds_port(record: &Record, port: u16) -> bool {
    let fixed = record.spec.ports.iter().any(|request| request.host == Some(port));
    let chosen = record
        .launch
        .as_ref()
        .is_some_and(|launch| launch.ports.iter().any(|published| published.host == port));
    (fixed && record.memory_promised() > Mib::ZERO) || (chosen && record.may_be_alive())
}

fn wrong_state(held: &Record, action: &'static str) -> InstanceError {
    InstanceError::WrongState {
        state: held.status.state,
        action,
    }
}
