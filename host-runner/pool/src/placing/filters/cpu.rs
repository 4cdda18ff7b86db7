use super::Question;
use crate::Refusal;

/// Sums of measured floats differ in their last digits by the order in which they were made.
const TOLERANCE_THREADS: f64 = 1e-9;

/// Asked only where a machine's expected use may not exceed what it offers (see [`Subject::within_cpu`](crate::placing::Subject)): an
/// instance whose use is foretold needs CPU that is expected to be idle. One that nobody has measured is refused nothing on a guess.
pub(super) fn expected_to_suffice(question: &Question<'_>) -> Result<(), Refusal> {
    let (seat, subject) = (question.seat, question.subject);
    if !subject.minds_cpu() {
        return Ok(());
    }
    let own = match (question.running_here(), subject.instance) {
        (Some(_), Some(instance)) => subject.pool.instance(instance).demand.mean,
        _ => 0.0,
    };
    let expected = (seat.demand.mean - own).max(0.0) + subject.demand.mean;
    if expected <= seat.offered_threads + TOLERANCE_THREADS {
        return Ok(());
    }
    Err(Refusal::too_busy(
        expected,
        seat.offered_threads,
        seat.offered_threads,
    ))
}
