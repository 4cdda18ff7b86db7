//! What a machine must offer: each filter passes, or names its reason with the numbers.

use crate::Refusal;
use crate::types::{ImageState, Machine, Readiness, Request};

/// One requirement: `Ok` passes, `Err` refuses with a reason.
pub type Filter = fn(&Request, &Machine) -> Result<(), Refusal>;

/// All requirements, in the order in which their reasons are told: what a person would fix first comes first.
pub const FILTERS: &[Filter] = &[
    reachable,
    engine_works,
    image_is_there,
    enough_vcpus,
    enough_memory,
    enough_disk,
];

fn reachable(_: &Request, machine: &Machine) -> Result<(), Refusal> {
    match machine.readiness {
        Readiness::Ready => Ok(()),
        Readiness::Unreachable => Err(Refusal::Unreachable),
    }
}

fn engine_works(request: &Request, machine: &Machine) -> Result<(), Refusal> {
    let works = match request.engine {
        Some(engine) => machine.engines.contains(&engine),
        None => !machine.engines.is_empty(),
    };
    if works { Ok(()) } else { Err(Refusal::NoEngine) }
}

fn image_is_there(request: &Request, machine: &Machine) -> Result<(), Refusal> {
    let image = request.image.clone();
    match machine
        .images
        .iter()
        .find(|held| held.name == request.image)
        .map(|held| held.state)
    {
        Some(ImageState::Ready) => Ok(()),
        Some(ImageState::Corrupt) => Err(Refusal::ImageCorrupt { image }),
        None => Err(Refusal::ImageMissing { image }),
    }
}

fn enough_vcpus(request: &Request, machine: &Machine) -> Result<(), Refusal> {
    if request.vcpus <= machine.threads {
        return Ok(());
    }
    Err(Refusal::TooManyVcpus {
        needed: request.vcpus,
        threads: machine.threads,
    })
}

fn enough_memory(request: &Request, machine: &Machine) -> Result<(), Refusal> {
    if request.memory <= machine.memory_free {
        return Ok(());
    }
    Err(Refusal::InsufficientMemory {
        needed_mib: request.memory,
        free_mib: machine.memory_free,
    })
}

fn enough_disk(request: &Request, machine: &Machine) -> Result<(), Refusal> {
    if request.disk <= machine.disk_free {
        return Ok(());
    }
    Err(Refusal::InsufficientDisk {
        needed_mib: request.disk,
        free_mib: machine.disk_free,
    })
}
