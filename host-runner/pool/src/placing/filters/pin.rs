use super::Question;
use crate::Refusal;

pub(super) fn not_tied_elsewhere(question: &Question<'_>) -> Result<(), Refusal> {
    match question.subject.asked.pin {
        Some(pin) if pin.machine != Some(question.machine) => Err(Refusal::PinnedElsewhere {
            machine: match pin.machine {
                Some(machine) => question.word(&question.subject.pool.machine(machine).name),
                None => question.word(&pin.id.to_string()),
            },
        }),
        Some(_) | None => Ok(()),
    }
}
