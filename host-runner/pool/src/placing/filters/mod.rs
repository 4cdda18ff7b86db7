//! What a machine must offer. Each filter passes, or names its reason with the numbers; the host's admission has the last word.

mod apart;
mod cpu;
mod disks;
mod engine;
mod hardware;
mod image;
mod memory;
mod neighbours;
mod pin;
mod sites;
mod state;
mod tags;
mod threads;
mod together;
mod vcpus;

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::Question;
use crate::Refusal;

/// A filter's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum FilterName {
    /// The machine takes instances.
    State,
    /// The instance is not tied to another machine.
    Pin,
    /// The hardware is of the class that the instance needs.
    Hardware,
    /// An engine works that can run the instance.
    Engine,
    /// The image is there, whole.
    Image,
    /// The machine stands at a site where the instance may be.
    Sites,
    /// The machine has the tags that the instance needs, and none that it avoids.
    Tags,
    /// The machine has as many threads as the instance has vCPUs.
    Threads,
    /// The machine may promise that many more vCPUs.
    Vcpus,
    /// The machine may promise that much more memory.
    Memory,
    /// The machine's CPU is expected to suffice for the instance, too. Asked only about what would become of a failure (see
    /// [`n_plus_one`](crate::placing::n_plus_one)).
    Cpu,
    /// Each disk finds room in its storage.
    Disks,
    /// Those that the instance must be with are there.
    Together,
    /// Those that the instance must keep away from are not there.
    Apart,
    /// The others' wishes about the instance are met.
    Neighbours,
    /// Every machine's failure stays recoverable. Asked only where a policy refuses what is not (see
    /// [`Recoverability`](crate::placing::Recoverability)).
    Recovery,
}

/// One requirement.
#[derive(Debug, Clone, Copy)]
pub struct Filter {
    /// Its name.
    pub name: FilterName,
    /// `Ok` passes, `Err` refuses with a reason.
    pub ask: fn(&Question<'_>) -> Result<(), Refusal>,
}

const fn filter(name: FilterName, ask: fn(&Question<'_>) -> Result<(), Refusal>) -> Filter {
    Filter { name, ask }
}

/// All requirements, in the order in which their reasons are told: what a person would fix first comes first.
pub const FILTERS: &[Filter] = &[
    filter(FilterName::State, state::takes_instances),
    filter(FilterName::Pin, pin::not_tied_elsewhere),
    filter(FilterName::Hardware, hardware::right_class),
    filter(FilterName::Engine, engine::works),
    filter(FilterName::Image, image::is_there),
    filter(FilterName::Sites, sites::right_site),
    filter(FilterName::Tags, tags::right_tags),
    filter(FilterName::Threads, threads::as_many_as_vcpus),
    filter(FilterName::Vcpus, vcpus::enough_to_promise),
    filter(FilterName::Memory, memory::enough_to_promise),
    filter(FilterName::Cpu, cpu::expected_to_suffice),
    filter(FilterName::Disks, disks::find_room),
    filter(FilterName::Together, together::with_whom_it_must),
    filter(FilterName::Apart, apart::from_whom_it_must),
    filter(FilterName::Neighbours, neighbours::have_no_objection),
];

/// Whether the machine can take the instance. Stops at the first no, and allocates nothing for at most one disk.
pub fn passes(question: &Question<'_>) -> bool {
    let question = question.without_words();
    FILTERS.iter().all(|filter| (filter.ask)(&question).is_ok())
}

/// Everything that keeps the machine from taking the instance, in the order of [`FILTERS`], each reason once.
pub fn unmet(question: &Question<'_>) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for refusal in FILTERS.iter().filter_map(|filter| (filter.ask)(question).err()) {
        // Two that keep apart from each other refuse each other.
        if !refusals.contains(&refusal) {
            refusals.push(refusal);
        }
    }
    refusals
}
