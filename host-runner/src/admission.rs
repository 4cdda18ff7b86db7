//! Admission: what this machine has promised, what it can still promise, and the words of a refusal. Pure.
//!
//! The checks are the pool's own ([`pool::placing::unmet`]), so that what a desktop previews is what the machine decides.

use std::collections::BTreeMap;

use api::{ApiError, EngineKind, EngineRequest, HostFacts, HostUsage, Image, InstanceSpec, Mib, Placement};
use pool::inventory::{Inventory, InventoryError, Machine, Needs, Reserved, Storage};
use pool::placing::{self, Subject};
use pool::{Pool, Refusal};

use crate::engines::memory_overhead;
use crate::host::HostSample;
use crate::ledger::Record;

/// The machine's memory, as far as guests may have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemorySpace {
    /// The most that instances may have together.
    pub offered: Mib,
    /// The most that instances and their engines may have together.
    pub usable: Mib,
    /// What the engine of each instance needs beside the instance's own memory.
    pub overhead: Overheads,
}

/// What each engine needs of the machine's memory beside a guest's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overheads {
    /// QEMU.
    pub qemu: Mib,
    /// The microVM monitor.
    pub microvm: Mib,
    /// The engine that instances get which ask for none.
    pub auto: EngineKind,
}

impl Overheads {
    /// What the machine's facts say.
    pub fn of(engines: &[EngineKind], accelerated: bool) -> Self {
        Self {
            qemu: memory_overhead(EngineKind::Qemu, accelerated),
            microvm: memory_overhead(EngineKind::Microvm, accelerated),
            auto: engines.first().copied().unwrap_or(EngineKind::Qemu),
        }
    }

    /// What the engine needs that an instance asks for.
    pub fn asked(self, engine: EngineRequest) -> Mib {
        self.kind(match engine {
            EngineRequest::Auto => self.auto,
            EngineRequest::Qemu => EngineKind::Qemu,
            EngineRequest::Microvm => EngineKind::Microvm,
        })
    }

    fn kind(self, engine: EngineKind) -> Mib {
        match engine {
            EngineKind::Qemu => self.qemu,
            EngineKind::Microvm => self.microvm,
        }
    }

    /// What the engine of an instance takes: the one that its guest is on, or the one that it will get.
    fn taken(self, record: &Record) -> Mib {
        match &record.launch {
            Some(launch) if !launch.ended => self.kind(launch.engine.kind),
            Some(_) | None => self.asked(record.spec.engine_needed()),
        }
    }
}

impl MemorySpace {
    /// What the machine's facts say.
    pub fn of(facts: &HostFacts) -> Self {
        Self {
            offered: facts.memory_offered_mib,
            usable: crate::host::memory_usable(facts.memory_total_mib),
            overhead: Overheads::of(&facts.engines, facts.hardware_virtualization.available),
        }
    }

    /// What one more instance could have on `engine`, when the others have been promised `promised`, and their engines take `engines`.
    fn free(self, promised: Mib, engines: Mib, engine: EngineRequest) -> Mib {
        let engines = engines.saturating_add(self.overhead.asked(engine));
        let by_use = self.usable.saturating_sub(promised).saturating_sub(engines);
        by_use.min(self.offered.saturating_sub(promised))
    }
}

/// The file system that holds the instances' disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// Its size.
    pub total: Mib,
    /// What is free on it now.
    pub available: Mib,
    /// What the instances' disks occupy of it now: promised space that is no longer free.
    pub occupied: Mib,
    /// The most that the machine's owner offers to instances; `None` for all of it.
    pub offered: Option<Mib>,
}

/// What is promised and what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Memory promised to instances that run, start, or have not yet stopped.
    pub memory_promised: Mib,
    /// Memory that can still be promised.
    pub memory_free: Mib,
    /// Disk promised to all instances.
    pub disk_promised: Mib,
    /// Disk that can still be promised.
    pub disk_free: Mib,
}

/// Adds up the promises, for one more instance that asks for `engine`.
pub fn room<'a>(
    records: impl Iterator<Item = &'a Record>,
    memory: MemorySpace,
    disk: DiskSpace,
    engine: EngineRequest,
) -> Room {
    let (mut memory_promised, mut disk_promised, mut engines) = (Mib::ZERO, Mib::ZERO, Mib::ZERO);
    for record in records {
        let held = record.memory_promised();
        memory_promised = memory_promised.saturating_add(held);
        if held > Mib::ZERO {
            engines = engines.saturating_add(memory.overhead.taken(record));
        }
        disk_promised = disk_promised.saturating_add(record.spec.disk_mib);
    }
    // Of what is free on the file system, the part that disks were promised and have not yet filled is spoken for.
    let unfilled = disk_promised.saturating_sub(disk.occupied);
    let by_space = disk.available.saturating_sub(unfilled);
    let by_offer = disk.offered.unwrap_or(disk.total).saturating_sub(disk_promised);
    Room {
        memory_promised,
        memory_free: memory.free(memory_promised, engines, engine),
        disk_promised,
        disk_free: by_space.min(by_offer),
    }
}

/// The host's usage, from a sample and the promises.
pub fn usage(sample: &HostSample, room: Room) -> HostUsage {
    HostUsage {
        sampled_at: sample.sampled_at,
        cpu_percent: sample.cpu_percent,
        memory_used_mib: sample.memory_used,
        memory_promised_mib: room.memory_promised,
        memory_free_mib: room.memory_free,
        disk_total_mib: sample.disk_total,
        disk_promised_mib: room.disk_promised,
        disk_free_mib: room.disk_free,
        uptime_s: sample.uptime_s,
    }
}

/// What an instance asks of the machine, less what it already holds. Its wishes about the place are for whoever chooses machines.
pub fn request(spec: &InstanceSpec, memory_held: Mib, disk_held: Mib) -> Needs {
    let asked = InstanceSpec {
        memory_mib: spec.memory_mib.saturating_sub(memory_held),
        disk_mib: spec.disk_mib.saturating_sub(disk_held),
        placement: Placement::default(),
        ..spec.clone()
    };
    api::seen::needs_of(&asked, &BTreeMap::new())
}

/// Every reason why the machine cannot take the request; empty when it can.
///
/// # Errors
/// The machine's own facts contradict themselves.
pub fn refusals(
    request: &Needs,
    facts: &HostFacts,
    images: &[Image],
    room: Room,
) -> Result<Vec<Refusal>, InventoryError> {
    let mut inventory = Inventory::empty();
    inventory.machines.push(Machine {
        // What is left is all that is offered here: the promises, and what engines need beside guests, are in it.
        memory_mib: room.memory_free,
        reserved: Reserved::default(),
        instance_overhead_mib: Mib::ZERO,
        storages: vec![Storage {
            name: api::seen::STORAGE.to_owned(),
            capacity_mib: room.disk_free,
        }],
        ..api::seen::machine_seen(facts.id, &facts.hostname, facts, None, images)
    });
    let mut pool = Pool::new(&inventory, 0)?;
    let asked = pool.ask(request);
    let subject = Subject::new(&pool, &asked);
    let here = pool.machines().map(|(machine, _)| machine);
    Ok(here
        .flat_map(|machine| placing::unmet(&subject.on(machine)))
        .collect())
}

/// A refusal as it crosses the wire: the first reason gives the code and the numbers, the message tells them all.
///
/// Returns `None` where there is no reason.
pub fn to_api(name: &str, refusals: &[Refusal]) -> Option<ApiError> {
    let first = refusals.first()?;
    let told: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    let message = format!("this machine cannot run {name}: {}", told.join("; "));
    Some(ApiError::of_refusal(first, message))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ledger::{Intent, Launch, Live, Status};
    use api::{EngineChoice, Progress, RunState, Timestamp};
    use uuid::Uuid;

    pub(crate) fn usage() -> HostUsage {
        HostUsage {
            sampled_at: Timestamp::from_unix_ms(0).unwrap(),
            cpu_percent: 0.0,
            memory_used_mib: Mib::ZERO,
            memory_promised_mib: Mib::ZERO,
            memory_free_mib: Mib::ZERO,
            disk_total_mib: Mib::ZERO,
            disk_promised_mib: Mib::ZERO,
            disk_free_mib: Mib::ZERO,
            uptime_s: 0,
        }
    }

    pub(crate) fn record(memory: u32, disk: u32) -> Record {
        Record {
            id: Uuid::now_v7(),
            generation: 1,
            spec: InstanceSpec {
                name: "tiny-1".into(),
                image: "tiny-linux".into(),
                vcpus: 1,
                memory_mib: Mib(memory),
                disk_mib: Mib(disk),
                disk_limit: api::DiskLimit::default(),
                network_limit: api::NetworkLimit::default(),
                engine: EngineRequest::Auto,
                ports: Vec::new(),
                placement: api::Placement::default(),
            },
            intent: Intent::at_rest(),
            launch: None,
            status: Status {
                state: RunState::Stopped,
                failure: None,
            },
            created_at: Timestamp::from_unix_ms(0).unwrap(),
            live: Live::default(),
        }
    }

    pub(crate) fn launch(run: u32, ended: bool) -> Launch {
        Launch {
            run,
            boot_id: "boot-1".into(),
            engine: EngineChoice {
                kind: EngineKind::Qemu,
                accelerated: false,
                reason: "no hardware virtualization".into(),
            },
            ports: Vec::new(),
            started_at: None,
            progress: Progress::PoweredOn,
            boot_ms: None,
            guest_status: None,
            ended,
        }
    }

    const MEMORY: MemorySpace = MemorySpace {
        offered: Mib(4_100),
        usable: Mib(4_100),
        overhead: Overheads {
            qemu: Mib(100),
            microvm: Mib(20),
            auto: EngineKind::Microvm,
        },
    };
    const AUTO: EngineRequest = EngineRequest::Auto;

    const SPACE: DiskSpace = DiskSpace {
        total: Mib(10_000),
        available: Mib(6_000),
        occupied: Mib::ZERO,
        offered: None,
    };

    #[test]
    fn a_stopped_instance_holds_disk_and_no_memory() {
        let stopped = record(512, 1_000);
        let room = room([&stopped].into_iter(), MEMORY, SPACE, EngineRequest::Qemu);
        assert_eq!((room.memory_promised, room.memory_free), (Mib::ZERO, Mib(4_000)));
        assert_eq!((room.disk_promised, room.disk_free), (Mib(1_000), Mib(5_000)));
    }

    #[test]
    fn an_engine_needs_memory_beside_its_guests() {
        let (mut first, mut second) = (record(1_000, 0), record(1_000, 0));
        first.launch = Some(launch(1, false));
        second.launch = Some(launch(1, false));
        let room = room([&first, &second].into_iter(), MEMORY, SPACE, EngineRequest::Qemu);
        assert_eq!(room.memory_promised, Mib(2_000));
        // Three engines, counting that of the instance to come.
        assert_eq!(room.memory_free, Mib(4_100 - 2_000 - 3 * 100));
    }

    #[test]
    fn each_engine_counts_as_what_it_takes() {
        let (mut on_qemu, mut waiting) = (record(1_000, 0), record(1_000, 0));
        on_qemu.launch = Some(launch(1, false));
        waiting.intent.power_on();
        let free = |engine| {
            let records = [&on_qemu, &waiting].into_iter();
            room(records, MEMORY, SPACE, engine).memory_free
        };
        // The one that waits will get what the machine prefers.
        assert_eq!(free(AUTO), Mib(4_100 - 2_000 - 100 - 20 - 20));
        assert_eq!(free(EngineRequest::Microvm), free(AUTO));
        assert_eq!(free(EngineRequest::Qemu), Mib(4_100 - 2_000 - 100 - 20 - 100));
    }

    #[test]
    fn an_owner_may_offer_less_memory_than_there_is() {
        let memory = MemorySpace {
            offered: Mib(64),
            ..MEMORY
        };
        assert_eq!(room([].into_iter(), memory, SPACE, AUTO).memory_free, Mib(64));
    }

    #[test]
    fn a_guest_that_was_told_to_stop_holds_its_memory_until_it_is_gone() {
        let mut stopping = record(512, 0);
        stopping.launch = Some(launch(1, false));
        assert_eq!(stopping.memory_promised(), Mib(512));
        stopping.launch = Some(launch(1, true));
        assert_eq!(stopping.memory_promised(), Mib::ZERO);
    }

    #[test]
    fn disk_that_was_promised_and_filled_is_not_counted_twice() {
        let space = DiskSpace {
            available: Mib(5_200),
            occupied: Mib(800),
            ..SPACE
        };
        let held = record(16, 1_000);
        assert_eq!(
            room([&held].into_iter(), MEMORY, space, AUTO).disk_free,
            Mib(5_000)
        );
    }

    #[test]
    fn an_offer_caps_what_the_file_system_has() {
        let space = DiskSpace {
            offered: Some(Mib(1_500)),
            ..SPACE
        };
        let held = record(16, 1_000);
        assert_eq!(room([&held].into_iter(), MEMORY, space, AUTO).disk_free, Mib(500));
    }

    fn facts() -> HostFacts {
        HostFacts {
            id: Uuid::now_v7(),
            hostname: "atlas".into(),
            os: String::new(),
            kernel: String::new(),
            arch: "x86_64".into(),
            cpu_model: String::new(),
            threads: 2,
            memory_total_mib: Mib(8_192),
            memory_offered_mib: Mib(7_000),
            instance_overhead_mib: Mib(100),
            hardware_virtualization: api::HardwareVirtualization {
                available: false,
                reason: String::new(),
            },
            engines: vec![EngineKind::Qemu],
            network: api::NetworkMode::User,
            privileged: false,
            capabilities: Vec::new(),
            agent_version: String::new(),
            api_version: String::new(),
        }
    }

    fn tiny_linux() -> Image {
        Image {
            name: "tiny-linux".into(),
            title: String::new(),
            summary: String::new(),
            digest: String::new(),
            size_mib: Mib(1),
            memory_min_mib: Mib(1),
            disk_min_mib: Mib::ZERO,
            has_kernel: true,
            state: api::ImageState::Ready,
            problem: None,
            created_at: Timestamp::from_unix_ms(0).unwrap(),
        }
    }

    fn asked(spec: &InstanceSpec, memory_free: u32, disk_free: u32) -> Vec<Refusal> {
        let room = Room {
            memory_promised: Mib::ZERO,
            memory_free: Mib(memory_free),
            disk_promised: Mib::ZERO,
            disk_free: Mib(disk_free),
        };
        let request = request(spec, Mib::ZERO, Mib::ZERO);
        refusals(&request, &facts(), &[tiny_linux()], room).unwrap()
    }

    #[test]
    fn all_that_is_free_may_be_asked_for_and_no_more() {
        let spec = record(512, 1_000).spec;
        assert_eq!(asked(&spec, 512, 1_000), []);
        assert_eq!(
            asked(&spec, 511, 999),
            [
                Refusal::InsufficientMemory {
                    needed_mib: Mib(512),
                    free_mib: Mib(511),
                },
                Refusal::InsufficientDisk {
                    needed_mib: Mib(1_000),
                    free_mib: Mib(999),
                },
            ]
        );
        let held = request(&spec, Mib(512), Mib(1_000));
        assert_eq!(
            (held.memory_mib, held.disks.len()),
            (Mib::ZERO, 0),
            "what it holds is not asked for again"
        );
    }

    #[test]
    fn wishes_about_the_place_are_for_whoever_chooses_the_machine() {
        let mut spec = record(16, 0).spec;
        spec.placement.pin = Some(Uuid::now_v7());
        spec.placement.group = Some("web".into());
        assert_eq!(asked(&spec, 16, 0), []);
    }

    #[test]
    fn the_message_names_the_numbers() {
        let refusal = Refusal::InsufficientMemory {
            needed_mib: Mib(4096),
            free_mib: Mib(2560),
        };
        assert_eq!(
            to_api("web", &[refusal]).unwrap().message,
            "this machine cannot run web: needs 4 GiB of memory, 2.5 GiB free"
        );
        assert_eq!(to_api("web", &[]), None);
    }
}
