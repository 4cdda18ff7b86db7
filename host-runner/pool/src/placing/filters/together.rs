use super::Question;
use crate::Refusal;
use crate::inventory::AffinityKind;
use crate::state::AskedTarget;

/// Who has no machine yet is no reason to refuse: when it comes, its neighbours' wishes bind it (see `neighbours`).
pub(super) fn with_whom_it_must(question: &Question<'_>) -> Result<(), Refusal> {
    let (subject, pool) = (question.subject, question.subject.pool);
    for affinity in subject.asked.hard_affinities() {
        if affinity.kind != AffinityKind::Together {
            continue;
        }
        match affinity.target {
            AskedTarget::Instance(id) => {
                let with = pool
                    .instance_of_id(id)
                    .filter(|with| Some(*with) != subject.instance);
                let elsewhere = |with: &_| {
                    pool.instance(*with)
                        .machine
                        .is_some_and(|there| there != question.machine)
                };
                if let Some(with) = with.filter(elsewhere) {
                    return Err(Refusal::NotTogether {
                        with: question.name_of(with),
                    });
                }
            }
            AskedTarget::Group(group) => {
                let Some(members) = pool.group(group) else {
                    continue;
                };
                if members.any(subject.instance) && !members.any_on(question.machine, subject.instance) {
                    return Err(Refusal::NotTogether {
                        with: question.word(pool.words().groups.word(group)),
                    });
                }
            }
            AskedTarget::Tag(_) | AskedTarget::Site(_) => {}
        }
    }
    Ok(())
}
