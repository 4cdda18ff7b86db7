use super::Question;
use crate::Refusal;
use crate::placing::question::mib;
use crate::state::DiskMisfit;

pub(super) fn find_room(question: &Question<'_>) -> Result<(), Refusal> {
    let (seat, subject) = (question.seat, question.subject);
    let told = match (&*subject.asked.disks, subject.instance.filter(|_| question.here)) {
        ([], _) => Ok(()),
        (disks, Some(own)) => seat.fit_disks(disks, &mut subject.pool.instance(own).disks_there()),
        ([disk], None) if seat.has_room_for(disk) => Ok(()),
        (disks, None) => seat.fit_disks(disks, &mut std::iter::empty()),
    };
    let storages = &subject.pool.words().storages;
    told.map_err(|misfit| match misfit {
        DiskMisfit::Missing(storage) => Refusal::StorageMissing {
            storage: question.word(storages.word(storage)),
        },
        DiskMisfit::StorageFull {
            storage,
            needed_mib,
            free_mib,
        } => Refusal::StorageFull {
            storage: question.word(storages.word(storage)),
            needed_mib: mib(needed_mib),
            free_mib: mib(free_mib),
        },
        DiskMisfit::Full { needed_mib, free_mib } => Refusal::InsufficientDisk {
            needed_mib: mib(needed_mib),
            free_mib: mib(free_mib),
        },
    })
}
