use api::{ApiError, Timestamp};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::{History, HistoryError, cannot, damaged};
use crate::contract::{ActivityEntry, ActivityKind, ActivityPage};

/// How many entries the list keeps; the oldest go first.
pub const ACTIVITY_ENTRIES_MAX: u32 = 10_000;

/// A line of the activity list before it has its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// When it happened, by the desktop's clock.
    pub at: Timestamp,
    /// What it is about.
    pub kind: ActivityKind,
    /// The machine, as it is called now.
    pub machine: Option<String>,
    /// The instance, as it is called now.
    pub instance: Option<String>,
    /// The instance's id.
    pub instance_id: Option<Uuid>,
    /// Milliseconds that it took.
    pub took_ms: Option<u32>,
    /// The error, for failures and refusals.
    pub error: Option<ApiError>,
    /// The id that finds the same request in the agent's log.
    pub request_id: Option<String>,
}

impl History {
    /// Writes a line down, and forgets the oldest beyond [`ACTIVITY_ENTRIES_MAX`].
    pub async fn add_activity(&self, entry: NewEntry) -> Result<ActivityEntry, HistoryError> {
        let encode = |err| HistoryError::Encode {
            what: "an activity entry",
            err,
        };
        let kind = serde_json::to_string(&entry.kind).map_err(encode)?;
        let error = entry
            .error
            .as_ref()
            .map(serde_json::to_string)
            .transpose()
            .map_err(encode)?;
        let id: i64 = sqlx::query_scalar(
            "INSERT INTO activity (at, kind, machine, instance, instance_id, took_ms, error, request_id) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        )
        .bind(entry.at.unix_ms())
        .bind(kind)
        .bind(&entry.machine)
        .bind(&entry.instance)
        .bind(entry.instance_id.map(|id| id.to_string()))
        .bind(entry.took_ms)
        .bind(error)
        .bind(&entry.request_id)
        .fetch_one(&self.pool)
        .await
        .map_err(cannot("write the activity list"))?;
        sqlx::query("DELETE FROM activity WHERE id <= ?")
            .bind(id - i64::from(ACTIVITY_ENTRIES_MAX))
            .execute(&self.pool)
            .await
            .map_err(cannot("shorten the activity list"))?;
        Ok(ActivityEntry {
            id: u32::try_from(id).map_err(damaged("activity", "id"))?,
            at: entry.at,
            kind: entry.kind,
            machine: entry.machine,
            instance: entry.instance,
            instance_id: entry.instance_id,
            took_ms: entry.took_ms,
            error: entry.error,
            request_id: entry.request_id,
        })
    }

    /// At most `limit` lines older than `before` (all where absent), newest first.
    pub async fn activity(&self, before: Option<u32>, limit: u32) -> Result<ActivityPage, HistoryError> {
        let rows = sqlx::query("SELECT * FROM activity WHERE id < ? ORDER BY id DESC LIMIT ?")
            .bind(before.map_or(i64::MAX, i64::from))
            .bind(i64::from(limit) + 1)
            .fetch_all(&self.pool)
            .await
            .map_err(cannot("read the activity list"))?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        let entries = rows
            .iter()
            .take(limit)
            .map(entry)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(ActivityPage { entries, more })
    }
}

fn entry(row: &SqliteRow) -> Result<ActivityEntry, HistoryError> {
    let read = || cannot("read an activity entry");
    let id: i64 = row.try_get("id").map_err(read())?;
    let at: i64 = row.try_get("at").map_err(read())?;
    let kind: String = row.try_get("kind").map_err(read())?;
    let instance_id: Option<String> = row.try_get("instance_id").map_err(read())?;
    let error: Option<String> = row.try_get("error").map_err(read())?;
    Ok(ActivityEntry {
        id: u32::try_from(id).map_err(damaged("activity", "id"))?,
        at: Timestamp::from_unix_ms(at)
            .ok_or("outside the calendar")
            .map_err(damaged("activity", "at"))?,
        kind: serde_json::from_str(&kind).map_err(damaged("activity", "kind"))?,
        machine: row.try_get("machine").map_err(read())?,
        instance: row.try_get("instance").map_err(read())?,
        instance_id: instance_id
            .map(|id| id.parse::<Uuid>())
            .transpose()
            .map_err(damaged("activity", "instance_id"))?,
        took_ms: row.try_get("took_ms").map_err(read())?,
        error: error
            .map(|error| serde_json::from_str(&error))
            .transpose()
            .map_err(damaged("activity", "error"))?,
        request_id: row.try_get("request_id").map_err(read())?,
    })
}
