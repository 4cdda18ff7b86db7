use super::Question;
use crate::Refusal;
use crate::inventory::AffinityKind;
use crate::state::AskedTarget;

pub(super) fn right_tags(question: &Question<'_>) -> Result<(), Refusal> {
    for affinity in question.subject.asked.hard_affinities() {
        let AskedTarget::Tag(name) = affinity.target else {
            continue;
        };
        let tag = || question.word(question.subject.pool.words().tags.word(name));
        match (affinity.kind, question.seat.has_tag(name)) {
            (AffinityKind::Together, true) | (AffinityKind::Apart, false) => {}
            (AffinityKind::Together, false) => return Err(Refusal::TagMissing { tag: tag() }),
            (AffinityKind::Apart, true) => return Err(Refusal::TagForbidden { tag: tag() }),
        }
    }
    Ok(())
}
