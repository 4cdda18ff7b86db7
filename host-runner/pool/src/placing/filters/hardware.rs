use super::Question;
use crate::Refusal;

pub(super) fn right_class(question: &Question<'_>) -> Result<(), Refusal> {
    let Some(wanted) = question.subject.asked.hardware else {
        return Ok(());
    };
    if question.seat.hardware == Some(wanted) {
        return Ok(());
    }
    let words = &question.subject.pool.words().hardware;
    Err(Refusal::WrongHardware {
        wanted: question.word(words.word(wanted)),
        has: question.seat.hardware.map(|has| question.word(words.word(has))),
    })
}
