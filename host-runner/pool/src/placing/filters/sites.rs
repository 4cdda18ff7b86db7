use super::Question;
use crate::Refusal;
use crate::inventory::AffinityKind;
use crate::state::AskedTarget;

pub(super) fn right_site(question: &Question<'_>) -> Result<(), Refusal> {
    let has = question.seat.site;
    let words = &question.subject.pool.words().sites;
    for affinity in question.subject.asked.hard_affinities() {
        let AskedTarget::Site(site) = affinity.target else {
            continue;
        };
        match (affinity.kind, has == Some(site)) {
            (AffinityKind::Together, true) | (AffinityKind::Apart, false) => {}
            (AffinityKind::Together, false) => {
                return Err(Refusal::SiteWrong {
                    wanted: question.word(words.word(site)),
                    has: has.map(|has| question.word(words.word(has))),
                });
            }
            (AffinityKind::Apart, true) => {
                return Err(Refusal::SiteForbidden {
                    site: question.word(words.word(site)),
                });
            }
        }
    }
    Ok(())
}
