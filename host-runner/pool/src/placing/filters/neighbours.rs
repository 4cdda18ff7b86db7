use super::Question;
use crate::Refusal;
use crate::state::{InstanceIndex, Presence, Watchers};

/// A wish binds both sides: who keeps away from this instance, or belongs with it, would be wronged by it as much as by a move of its
/// own.
pub(super) fn have_no_objection(question: &Question<'_>) -> Result<(), Refusal> {
    if let Some(watchers) = question.subject.watchers {
        none_keeps_away(question, watchers)?;
        if let Some(with) = first_elsewhere(question, &watchers.together) {
            return Err(Refusal::NotTogether {
                with: question.name_of(with),
            });
        }
    }
    if let Some(watchers) = question.subject.group_watchers {
        none_keeps_away(question, watchers)?;
        none_waits_elsewhere(question, watchers)?;
    }
    Ok(())
}

fn none_keeps_away(question: &Question<'_>, watchers: &Watchers) -> Result<(), Refusal> {
    let own = question.subject.instance;
    match watchers
        .apart
        .on(question.machine)
        .find(|from| Some(*from) != own)
    {
        Some(from) => Err(Refusal::NotApart {
            from: question.name_of(from),
        }),
        None => Ok(()),
    }
}

fn first_elsewhere(question: &Question<'_>, presence: &Presence) -> Option<InstanceIndex> {
    let own = question.subject.instance;
    presence
        .seats()
        .find(|(machine, instance)| *machine != question.machine && Some(*instance) != own)
        .map(|(_, instance)| instance)
}

/// Who belongs with a group of which nobody else is placed waits for its first member. Where others are placed, its wish is met, or
/// broken already, whatever becomes of this one.
fn none_waits_elsewhere(question: &Question<'_>, watchers: &Watchers) -> Result<(), Refusal> {
    if watchers.together.is_empty() {
        return Ok(());
    }
    let subject = question.subject;
    let group = subject.asked.group.and_then(|group| subject.pool.group(group));
    let mut others = group
        .into_iter()
        .flat_map(Presence::seats)
        .filter(|(_, member)| Some(*member) != subject.instance);
    let waits = match (others.next(), others.next()) {
        (None, _) => first_elsewhere(question, &watchers.together),
        // A member that itself belongs with its group, and is alone in it.
        (Some((machine, only)), None) => (machine != question.machine
            && watchers.together.on(machine).any(|watcher| watcher == only))
        .then_some(only),
        (Some(_), Some(_)) => None,
    };
    match waits {
        Some(with) => Err(Refusal::NotTogether {
            with: question.name_of(with),
        }),
        None => Ok(()),
    }
}
