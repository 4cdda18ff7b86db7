use super::Question;
use crate::Refusal;

/// No instance may have more vCPUs than the machine has threads: some would wait for each other while they hold a lock. Stopped ones,
/// too, as they are there to be started.
pub(super) fn as_many_as_vcpus(question: &Question<'_>) -> Result<(), Refusal> {
    let needed = question.subject.asked.vcpus;
    let threads = question.seat.threads;
    if needed <= threads {
        return Ok(());
    }
    Err(Refusal::TooManyVcpus { needed, threads })
}
