use super::Question;
use crate::Refusal;
use crate::inventory::AffinityKind;
use crate::state::AskedTarget;

pub(super) fn from_whom_it_must(question: &Question<'_>) -> Result<(), Refusal> {
    let (subject, pool) = (question.subject, question.subject.pool);
    for affinity in subject.asked.hard_affinities() {
        if affinity.kind != AffinityKind::Apart {
            continue;
        }
        let from = match affinity.target {
            AskedTarget::Instance(id) => pool
                .instance_of_id(id)
                .filter(|from| pool.instance(*from).machine == Some(question.machine))
                .filter(|from| Some(*from) != subject.instance),
            AskedTarget::Group(group) => pool.group(group).and_then(|members| {
                members
                    .on(question.machine)
                    .find(|member| Some(*member) != subject.instance)
            }),
            AskedTarget::Tag(_) | AskedTarget::Site(_) => None,
        };
        if let Some(from) = from {
            return Err(Refusal::NotApart {
                from: question.name_of(from),
            });
        }
    }
    Ok(())
}
