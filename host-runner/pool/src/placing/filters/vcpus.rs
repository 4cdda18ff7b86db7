use super::Question;
use crate::Refusal;
use crate::placing::question::count;

pub(super) fn enough_to_promise(question: &Question<'_>) -> Result<(), Refusal> {
    let (Some(limit), true) = (question.seat.vcpus_max, question.is_running()) else {
        return Ok(());
    };
    let own = question.running_here().map_or(0, |asked| u64::from(asked.vcpus));
    let promised = question.seat.vcpus_promised.saturating_sub(own);
    let left = limit.saturating_sub(promised);
    let needed = question.subject.asked.vcpus;
    if u64::from(needed) <= left {
        return Ok(());
    }
    Err(Refusal::TooManyVcpusPromised {
        needed,
        left: count(left),
        limit: count(limit),
    })
}
