//! The edits of a what-if question.

use std::collections::BTreeSet;

use pool::inventory::{Inventory, Machine, MachineState};
use pool::plans::Edit;
use uuid::Uuid;

use super::source::{self, Names, SourceError};
use crate::cli::WhatIfPlan;

/// All edits, in the order that the help text promises.
pub(super) fn all(asked: &WhatIfPlan, inventory: &Inventory) -> Result<Vec<Edit>, SourceError> {
    let mut edits = Vec::new();
    for word in &asked.remove {
        let machine = source::machine(inventory, word)?.id;
        edits.push(Edit::RemoveMachine { machine });
    }
    for word in &asked.remove_instance {
        let instance = source::instance(inventory, word)?.id;
        edits.push(Edit::RemoveInstance { instance });
    }
    let mut taken = names_of(inventory);
    for added in &asked.add {
        let like = source::machine(inventory, &added.like)?;
        for _ in 0..added.count {
            let machine = Box::new(another(like, &mut taken));
            edits.push(Edit::AddMachine { machine });
        }
    }
    let states = [
        (&asked.fail, MachineState::Unreachable),
        (&asked.drain, MachineState::Draining),
        (&asked.sleep, MachineState::Asleep),
        (&asked.wake, MachineState::Ready),
    ];
    for (words, state) in states {
        for word in words {
            let machine = source::machine(inventory, word)?.id;
            edits.push(Edit::SetState { machine, state });
        }
    }
    edits.extend(asked.scale_load.map(|factor| Edit::ScaleLoad { factor }));
    if let Some(file) = &asked.edit_file {
        edits.extend(source::json::<Vec<Edit>>(file, "a list of edits")?);
    }
    Ok(edits)
}

fn names_of(inventory: &Inventory) -> BTreeSet<String> {
    inventory
        .machines
        .iter()
        .map(|machine| machine.name.clone())
        .collect()
}

/// An empty, idle machine like this one, with a name that no other has.
fn another(like: &Machine, taken: &mut BTreeSet<String>) -> Machine {
    let mut number = 2_u32;
    let mut name = format!("{}-{number}", like.name);
    // Ends: fewer names are taken than there are numbers.
    while taken.contains(&name) {
        number += 1;
        name = format!("{}-{number}", like.name);
    }
    taken.insert(name.clone());
    Machine {
        // The same question has the same answer: an id that follows from the name.
        id: id_of(&name),
        name,
        state: MachineState::Ready,
        // What its agent said of the machine that it is like, and what is used there, says nothing of an empty one.
        reported: None,
        usage: None,
        ..like.clone()
    }
}

/// A version 8 UUID made of the name's SHA-256.
pub(super) fn id_of(name: &str) -> Uuid {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(name.as_bytes());
    let mut bytes = [0; 16];
    for (byte, from) in bytes.iter_mut().zip(digest) {
        *byte = from;
    }
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// Tells what the added machines and instances are called.
pub(super) fn name(edits: &[Edit], names: &mut Names) {
    for edit in edits {
        match edit {
            Edit::AddMachine { machine } => names.add(machine.id, &machine.name),
            Edit::AddInstance { instance } => names.add(instance.id, &instance.name),
            Edit::RemoveMachine { .. }
            | Edit::RemoveInstance { .. }
            | Edit::ScaleLoad { .. }
            | Edit::SetState { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_machines_have_names_and_ids_of_their_own_that_are_the_same_every_time() {
        let like = Machine::new(Uuid::from_u128(1), "atlas", 4, pool::Mib(4_096));
        let add = || {
            let mut taken = BTreeSet::from(["atlas".to_owned(), "atlas-2".to_owned()]);
            [another(&like, &mut taken), another(&like, &mut taken)]
        };
        let [first, second] = add();
        assert_eq!(
            (first.name.as_str(), second.name.as_str()),
            ("atlas-3", "atlas-4")
        );
        assert_ne!(first.id, second.id);
        assert_eq!([first, second], add());
    }
}
