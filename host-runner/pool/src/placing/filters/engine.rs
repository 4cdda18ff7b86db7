use super::Question;
use crate::Refusal;

pub(super) fn works(question: &Question<'_>) -> Result<(), Refusal> {
    let engines = &question.seat.engines;
    let needed = question.subject.asked.engine;
    let works = match needed {
        Some(engine) => engines.contains(&engine),
        None => !engines.is_empty(),
    };
    if works {
        Ok(())
    } else {
        Err(Refusal::NoEngine { needed })
    }
}
