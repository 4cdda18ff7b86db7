//! A row of the ledger as it is read: an instance, or something to set aside.
//!
//! A row that was damaged, edited, or written by another version must not take the other instances' agent with it. It is left as it
//! is, its instance is left alone, and what its guest may hold stays promised.

use api::{CreateInstance, InstanceSpec, Mib, Timestamp};
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::{Live, Record};
use crate::spec_rules;

/// A row that is no instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// The row's id, as it is written there.
    pub id: String,
    /// The row's name, as it is written there.
    pub name: String,
    /// What is wrong with it.
    pub fault: Fault,
    /// The memory of its guest while that is alive; `None` where the row does not tell.
    memory: Option<Mib>,
    /// The disk that was promised to it; zero where the row does not tell.
    pub disk: Mib,
}

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the column {column} is bad: {reason}")]
pub struct Fault {
    /// The column.
    pub column: &'static str,
    /// Why it is bad.
    pub reason: String,
}

impl BadRow {
    pub(super) fn set_aside(row: &SqliteRow, fault: Fault) -> Self {
        // As much as can be read: a part that is whole is worth more than none.
        let spec: Option<serde_json::Value> = decode(row, "spec").ok();
        let number = |field: &str| {
            spec.as_ref()?
                .get(field)?
                .as_u64()
                .map(|mib| u32::try_from(mib).unwrap_or(u32::MAX))
        };
        Self {
            id: row.try_get("id").unwrap_or_default(),
            name: row.try_get("name").unwrap_or_default(),
            fault,
            memory: number("memory_mib").map(Mib),
            disk: number("disk_mib").map_or(Mib::ZERO, Mib),
        }
    }

    /// The instance's id, where it is one.
    pub fn uuid(&self) -> Option<Uuid> {
        Uuid::parse_str(&self.id).ok()
    }

    /// What its guest holds while that is alive: where the row does not tell, all that there is, so that nothing is promised twice.
    pub fn memory_while_alive(&self) -> Mib {
        self.memory.unwrap_or(Mib(u32::MAX))
    }
}

/// Reads a row as what this version writes, held to the rules that a request is held to.
pub(super) fn read_row(row: &SqliteRow) -> Result<Record, Fault> {
    let id: String = column(row, "id")?;
    let name: String = column(row, "name")?;
    let generation: i64 = column(row, "generation")?;
    let created_at_ms: i64 = column(row, "created_at_ms")?;
    let launch: Option<String> = column(row, "launch")?;
    let spec: InstanceSpec = decode(row, "spec")?;
    let body = CreateInstance {
        generation: u32::try_from(generation).map_err(|err| fault("generation", &err))?,
        spec,
        start: false,
    };
    spec_rules::check_create(&body).map_err(|err| fault("spec", &err))?;
    if body.spec.name != name {
        return Err(fault("name", &"the spec has another one"));
    }
    Ok(Record {
        id: Uuid::parse_str(&id).map_err(|err| fault("id", &err))?,
        generation: body.generation,
        spec: body.spec,
        intent: decode(row, "intent")?,
        launch: launch
            .map(|text| serde_json::from_str(&text).map_err(|err| fault("launch", &err)))
            .transpose()?,
        status: decode(row, "status")?,
        created_at: Timestamp::from_unix_ms(created_at_ms)
            .ok_or_else(|| fault("created_at_ms", &"there is no such time"))?,
        live: Live::default(),
    })
}

fn fault(column: &'static str, reason: &dyn std::fmt::Display) -> Fault {
    Fault {
        column,
        reason: reason.to_string(),
    }
}

fn column<'r, T>(row: &'r SqliteRow, name: &'static str) -> Result<T, Fault>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(name).map_err(|err| fault(name, &err))
}

fn decode<T: DeserializeOwned>(row: &SqliteRow, name: &'static str) -> Result<T, Fault> {
    let text: String = column(row, name)?;
    serde_json::from_str(&text).map_err(|err| fault(name, &err))
}
