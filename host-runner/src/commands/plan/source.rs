//! The inventory that a question is asked about, and the names in it.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use pool::inventory::{Instance, Inventory, InventoryError, Machine};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::super::words::listed;

/// The largest file that is read, in bytes: more than the largest inventory that may be.
const FILE_BYTES_MAX: u64 = 4 << 30;
/// How many names are offered for one that is unknown.
const NEAR_MAX: usize = 4;
/// How alike two names are before one is offered for the other, 0..=1.
const LIKENESS_MIN: f64 = 0.75;

/// Why there is nothing to answer from.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file cannot be read.
    #[error("cannot read {}", Named(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        err: io::Error,
    },
    /// It is too large to be what it should be.
    #[error("{} is larger than {FILE_BYTES_MAX} bytes", Named(path))]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is no inventory.
    #[error("cannot use {}", Named(path))]
    Inventory {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        err: InventoryError,
    },
    /// It is no JSON of the form that is needed.
    #[error("cannot use {} as {what}", Named(path))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What is wrong, with line and column.
        #[source]
        err: serde_json::Error,
    },
    /// There is nothing of this name.
    #[error("there is no {what} {name:?} in the inventory{}", Offered(near))]
    Unknown {
        /// `machine` or `instance`.
        what: &'static str,
        /// What was asked for.
        name: String,
        /// Names that are meant, perhaps.
        near: Vec<String>,
    },
    /// Several have this name.
    #[error("{} {what}s are named {name:?}; give one's id: {}", ids.len(), listed(ids, NEAR_MAX))]
    Ambiguous {
        /// `machine` or `instance`.
        what: &'static str,
        /// The name.
        name: String,
        /// Theirs.
        ids: Vec<String>,
    },
}

struct Named<'a>(&'a Path);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_stdin(self.0) {
            f.write_str("what stdin holds")
        } else {
            self.0.display().fmt(f)
        }
    }
}

struct Offered<'a>(&'a [String]);

impl fmt::Display for Offered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => Ok(()),
            names => write!(f, "; there is {}", listed(names, NEAR_MAX)),
        }
    }
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// Reads a file, or stdin for `-`.
pub(in super::super) fn read_text(path: &Path) -> Result<String, SourceError> {
    let failed = |err| SourceError::Read {
        path: path.to_owned(),
        err,
    };
    let mut text = String::new();
    let read = if is_stdin(path) {
        io::stdin()
            .lock()
            .take(FILE_BYTES_MAX + 1)
            .read_to_string(&mut text)
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)
    };
    if read.map_err(failed)? as u64 > FILE_BYTES_MAX {
        return Err(SourceError::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(text)
}

/// Reads the inventory.
pub(super) fn inventory(path: &Path) -> Result<Inventory, SourceError> {
    Inventory::from_json(&read_text(path)?).map_err(|err| SourceError::Inventory {
        path: path.to_owned(),
        err,
    })
}

/// Reads a JSON file of any other form.
pub(super) fn json<T: DeserializeOwned>(path: &Path, what: &'static str) -> Result<T, SourceError> {
    serde_json::from_str(&read_text(path)?).map_err(|err| SourceError::Malformed {
        path: path.to_owned(),
        what,
        err,
    })
}

/// The machine that is meant by a name or an id.
pub(super) fn machine<'a>(inventory: &'a Inventory, word: &str) -> Result<&'a Machine, SourceError> {
    let named = |machine: &'a Machine| (machine.id, &*machine.name, machine);
    find("machine", inventory.machines.iter().map(named), word)
}

/// The instance that is meant by a name or an id.
pub(super) fn instance<'a>(inventory: &'a Inventory, word: &str) -> Result<&'a Instance, SourceError> {
    let named = |instance: &'a Instance| (instance.id, &*instance.name, instance);
    find("instance", inventory.instances.iter().map(named), word)
}

fn find<'a, T>(
    what: &'static str,
    all: impl Iterator<Item = (Uuid, &'a str, T)> + Clone,
    word: &str,
) -> Result<T, SourceError> {
    let mut found = all.clone().filter(|(_, name, _)| *name == word);
    match (found.next(), found.next()) {
        (Some((_, _, only)), None) => return Ok(only),
        (Some(_), Some(_)) => {
            let same = all.filter(|(_, name, _)| *name == word);
            return Err(SourceError::Ambiguous {
                what,
                name: word.to_owned(),
                ids: same.map(|(id, ..)| id.to_string()).collect(),
            });
        }
        (None, _) => {}
    }
    let id = word.parse::<Uuid>().ok();
    if let Some((_, _, only)) = all.clone().find(|(own, ..)| Some(*own) == id) {
        return Ok(only);
    }
    Err(SourceError::Unknown {
        what,
        name: word.to_owned(),
        near: near(all.map(|(_, name, _)| name), word),
    })
}

/// The names that are most like it; all where there are few.
fn near<'a>(names: impl Iterator<Item = &'a str>, word: &str) -> Vec<String> {
    let mut ranked: Vec<(f64, &str)> = names
        .map(|name| (strsim::jaro_winkler(name, word), name))
        .collect();
    ranked.sort_by(|(a, left), (b, right)| b.total_cmp(a).then_with(|| left.cmp(right)));
    let few = ranked.len() <= NEAR_MAX;
    ranked
        .into_iter()
        .take(NEAR_MAX)
        .filter(|(likeness, _)| few || *likeness >= LIKENESS_MIN)
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// What machines and instances are called.
#[derive(Debug)]
pub(super) struct Names(HashMap<Uuid, String>);

impl Names {
    pub(super) fn of(inventory: &Inventory) -> Self {
        let machines = inventory
            .machines
            .iter()
            .map(|machine| (machine.id, machine.name.clone()));
        let instances = (inventory.instances.iter()).map(|instance| (instance.id, instance.name.clone()));
        Self(machines.chain(instances).collect())
    }

    /// One that a question adds.
    pub(super) fn add(&mut self, id: Uuid, name: &str) {
        self.0.insert(id, name.to_owned());
    }

    /// The name; the id of what has none.
    pub(super) fn of_id(&self, id: Uuid) -> String {
        self.0.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> Inventory {
        let mut inventory = Inventory::empty();
        for (number, name) in ["atlas", "borea", "cygnus", "draco", "edgar", "twin", "twin"]
            .into_iter()
            .enumerate()
        {
            let id = Uuid::from_u128(number as u128 + 1);
            inventory
                .machines
                .push(Machine::new(id, name, 4, pool::Mib(4096)));
        }
        inventory
    }

    #[test]
    fn a_machine_is_found_by_name_and_by_id() {
        let pool = pool();
        assert_eq!(machine(&pool, "cygnus").unwrap().id, Uuid::from_u128(3));
        let by_id = machine(&pool, &Uuid::from_u128(7).to_string()).unwrap();
        assert_eq!((by_id.name.as_str(), by_id.id), ("twin", Uuid::from_u128(7)));
    }

    #[test]
    fn an_unknown_name_is_answered_with_those_that_are_like_it() {
        let said = machine(&pool(), "altas").unwrap_err().to_string();
        assert_eq!(
            said,
            "there is no machine \"altas\" in the inventory; there is atlas"
        );
        let said = instance(&pool(), "web").unwrap_err().to_string();
        assert_eq!(said, "there is no instance \"web\" in the inventory");
    }

    #[test]
    fn a_name_that_two_have_is_not_guessed_at() {
        let said = machine(&pool(), "twin").unwrap_err().to_string();
        assert!(
            said.starts_with("2 machines are named \"twin\"; give one's id: 00000000-"),
            "{said}"
        );
    }
}
