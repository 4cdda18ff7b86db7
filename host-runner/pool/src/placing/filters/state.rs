use super::Question;
use crate::Refusal;
use crate::inventory::MachineState;

/// A machine takes instances while it is ready, or asleep where the policy wakes it. While it is being emptied, it keeps what it has.
pub(super) fn takes_instances(question: &Question<'_>) -> Result<(), Refusal> {
    match question.seat.state {
        MachineState::Ready => Ok(()),
        MachineState::Draining if question.here => Ok(()),
        MachineState::Draining => Err(Refusal::Draining),
        MachineState::Asleep if question.subject.may_wake => Ok(()),
        MachineState::Asleep => Err(Refusal::Asleep),
        MachineState::Unreachable => Err(Refusal::Unreachable),
    }
}
