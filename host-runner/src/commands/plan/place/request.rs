//! What is to be placed.

use pool::inventory::{
    Activity, Affinity, AffinityKind, AffinityTarget, DiskNeed, Instance, Inventory, Needs,
};

use super::super::{PlanCommandError, edits, source};
use crate::cli::PlacePlan;

/// What each instance needs, from the file or the options.
pub(super) fn needs(asked: &PlacePlan, inventory: &Inventory) -> Result<Needs, PlanCommandError> {
    if let Some(file) = &asked.request {
        return Ok(source::json(file, "what an instance needs")?);
    }
    let machine = |word: &Option<String>| {
        word.as_deref()
            .map(|word| source::machine(inventory, word).map(|machine| machine.id))
            .transpose()
    };
    let apart = asked.group.clone().filter(|_| asked.apart).map(|name| Affinity {
        kind: AffinityKind::Apart,
        target: AffinityTarget::Group { name },
        hard: true,
    });
    // The command line gives both or a file.
    let (vcpus, memory) = (asked.vcpus.unwrap_or(1), asked.memory.unwrap_or_default());
    Ok(Needs {
        disks: (asked.disks.iter())
            .map(|size| DiskNeed {
                size_mib: *size,
                storage: None,
            })
            .collect(),
        image: asked.image.clone(),
        hardware: asked.hardware.clone(),
        group: asked.group.clone(),
        affinities: apart.into_iter().collect(),
        hint: machine(&asked.hint)?,
        pin: machine(&asked.pin)?,
        ..Needs::new(vcpus, memory)
    })
}

/// The instances, with ids that follow from their names: the same question has the same answer.
pub(super) fn wanted(asked: &PlacePlan, needs: &Needs) -> Vec<Instance> {
    (1..=asked.count)
        .map(|number| {
            let name = if asked.count == 1 {
                asked.name.clone()
            } else {
                format!("{}-{number}", asked.name)
            };
            Instance {
                id: edits::id_of(&name),
                name,
                machine: None,
                activity: Activity::Running,
                needs: needs.clone(),
                usage: None,
                moved_at_s: None,
            }
        })
        .collect()
}
