use super::Question;
use crate::Refusal;
use crate::placing::question::mib;

/// Guest memory and what its engine needs beside it.
pub(super) fn enough_to_promise(question: &Question<'_>) -> Result<(), Refusal> {
    if !question.is_running() {
        return Ok(());
    }
    let seat = question.seat;
    let own = question
        .running_here()
        .map_or(0, |asked| asked.memory_mib + seat.overhead_mib);
    let promised = seat.memory_promised_mib.saturating_sub(own);
    let free = seat.memory_offered_mib.saturating_sub(promised);
    let asked = question.subject.asked.memory_mib;
    let needed = asked.saturating_add(seat.overhead_mib);
    if needed <= free {
        return Ok(());
    }
    // People think of the guest's memory: the overhead is told as room that is not there.
    let (needed, free) = match free.checked_sub(seat.overhead_mib) {
        Some(free) => (asked, free),
        None => (needed, free),
    };
    Err(Refusal::InsufficientMemory {
        needed_mib: mib(needed),
        free_mib: mib(free),
    })
}
