//! The ledger: what this machine has promised, in SQLite.
//!
//! WAL mode with full synchronisation: what a request was answered with survives a power cut. One connection, since the agent is
//! the only writer and reads from memory.

mod record;
mod row;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::{ApiError, ErrorCode};
use serde::Serialize;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use uuid::Uuid;

pub use record::{Intent, Launch, Live, Record, Status, now};
pub use row::BadRow;

use self::row::read_row;

/// `SQLITE_FULL`: the file system has no room.
const SQLITE_FULL: i32 = 13;
/// `SQLITE_IOERR`, the low byte of all its kinds; on a full disk some of them take the place of `SQLITE_FULL`.
const SQLITE_IOERR: i32 = 10;

/// Why the ledger could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database cannot be opened.
    #[error("cannot open the ledger {}", path.display())]
    Open {
        /// The database's file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        err: sqlx::Error,
    },
    /// The schema could not be brought up to date.
    #[error("cannot bring the ledger {} to the present schema", path.display())]
    Migrate {
        /// The database's file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        err: sqlx::migrate::MigrateError,
    },
    /// The file system that holds the ledger is full.
    #[error("the disk that holds {} is full", path.display())]
    Full {
        /// The database's file.
        path: PathBuf,
    },
    /// A statement failed.
    #[error("cannot {operation} in the ledger")]
    Statement {
        /// What was attempted.
        operation: &'static str,
        /// What SQLite said.
        #[source]
        err: sqlx::Error,
    },
}

impl LedgerError {
    /// The error as it crosses the wire.
    pub fn to_api(&self) -> ApiError {
        match self {
            Self::Full { path } => ApiError::new(
                ErrorCode::DiskFull,
                format!("{self}; free some space and try again"),
            )
            .with("path", path.display().to_string()),
            Self::Open { .. } | Self::Migrate { .. } | Self::Statement { .. } => {
                ApiError::new(ErrorCode::Internal, self.to_string())
            }
        }
    }
}

/// What the ledger holds.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Every instance, oldest first.
    pub records: Vec<Record>,
    /// The rows that do not read as what this version writes. They stay as they are.
    pub bad: Vec<BadRow>,
}

/// The open ledger.
#[derive(Debug, Clone)]
pub struct Ledger {
    pool: SqlitePool,
    path: PathBuf,
}

impl Ledger {
    /// Opens `ledger.sqlite` in the state directory, makes it where it is missing, and brings its schema up to date.
    pub async fn open(state_dir: &Path) -> Result<Self, LedgerError> {
        let path = state_dir.join("ledger.sqlite");
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(Duration::from_secs(10))
            .connect_with(options)
            .await
            .map_err(|err| Self::opened_or(&path, err))?;
        sqlx::migrate!("./migrations")
            .run(&pool)
            .await
            .map_err(|err| LedgerError::Migrate {
                path: path.clone(),
                err,
            })?;
        Ok(Self { pool, path })
    }

    fn opened_or(path: &Path, err: sqlx::Error) -> LedgerError {
        let path = path.to_owned();
        if is_full(&err, &path) {
            LedgerError::Full { path }
        } else {
            LedgerError::Open { path, err }
        }
    }

    /// Every instance, oldest first, and the rows that are none.
    pub async fn load(&self) -> Result<Loaded, LedgerError> {
        let rows = sqlx::query(
            "SELECT id, name, generation, created_at_ms, spec, intent, launch, status FROM instances ORDER BY created_at_ms, id",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(|err| self.failed("read the instances", err))?;
        let mut loaded = Loaded::default();
        for row in &rows {
            match read_row(row) {
                Ok(record) => loaded.records.push(record),
                Err(fault) => loaded.bad.push(BadRow::set_aside(row, fault)),
            }
        }
        Ok(loaded)
    }

    /// The database's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes an instance, new or changed, in one transaction.
    pub async fn save(&self, record: &Record) -> Result<(), LedgerError> {
        let operation = "write an instance";
        let launch = record
            .launch
            .as_ref()
            .map(|launch| encode(launch, operation))
            .transpose()?;
        sqlx::query(
            "INSERT INTO instances (id, name, generation, created_at_ms, spec, intent, launch, status)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET name = excluded.name, generation = excluded.generation, spec = excluded.spec,
                 intent = excluded.intent, launch = excluded.launch, status = excluded.status",
        )
        .bind(record.id.to_string())
        .bind(&record.spec.name)
        .bind(i64::from(record.generation))
        .bind(record.created_at.unix_ms())
        .bind(encode(&record.spec, operation)?)
        .bind(encode(&record.intent, operation)?)
        .bind(launch)
        .bind(encode(&record.status, operation)?)
        .execute(&self.pool)
        .await
        .map_err(|err| self.failed(operation, err))?;
        Ok(())
    }

    /// Removes an instance; no such row is no error.
    pub async fn remove(&self, id: Uuid) -> Result<(), LedgerError> {
        sqlx::query("DELETE FROM instances WHERE id = ?")
            .bind(id.to_string())
            .execute(&self.pool)
            .await
            .map_err(|err| self.failed("remove an instance", err))?;
        Ok(())
    }

    /// Closes the database, so that the write-ahead log is folded in.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    fn failed(&self, operation: &'static str, err: sqlx::Error) -> LedgerError {
        if is_full(&err, &self.path) {
            LedgerError::Full {
                path: self.path.clone(),
            }
        } else {
            LedgerError::Statement { operation, err }
        }
    }
}

fn is_full(err: &sqlx::Error, path: &Path) -> bool {
    if let sqlx::Error::Io(io) = err {
        return io.kind() == io::ErrorKind::StorageFull;
    }
    let code = err
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .and_then(|code| code.parse::<i32>().ok());
    match code.map(|code| code & 0xff) {
        Some(SQLITE_FULL) => true,
        Some(SQLITE_IOERR) => no_room_beside(path),
        _ => false,
    }
}

fn no_room_beside(path: &Path) -> bool {
    let dir = path.parent().unwrap_or(path);
    rustix::fs::statvfs(dir).is_ok_and(|stats| stats.f_bavail == 0)
}

fn encode<T: Serialize>(value: &T, operation: &'static str) -> Result<String, LedgerError> {
    serde_json::to_string(value).map_err(|err| LedgerError::Statement {
        operation,
        err: sqlx::Error::Encode(Box::new(err)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::tests::{launch, record};

    #[tokio::test]
    async fn what_was_written_is_read_again_by_the_next_agent() {
        let dir = tempfile::tempdir().unwrap();
        let mut written = record(512, 1_000);
        written.intent.power_on();
        written.launch = Some(launch(1, false));
        let ledger = Ledger::open(dir.path()).await.unwrap();
        ledger.save(&written).await.unwrap();
        written.generation = 2;
        ledger.save(&written).await.unwrap();
        ledger.close().await;
        let ledger = Ledger::open(dir.path()).await.unwrap();
        assert_eq!(ledger.load().await.unwrap().records, [written.clone()]);
        ledger.remove(written.id).await.unwrap();
        ledger.remove(written.id).await.unwrap();
        assert_eq!(ledger.load().await.unwrap().records, []);
    }

    #[tokio::test]
    async fn two_instances_cannot_have_one_name_even_when_admission_errs() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).await.unwrap();
        ledger.save(&record(16, 0)).await.unwrap();
        let error = ledger.save(&record(16, 0)).await.unwrap_err();
        assert!(matches!(error, LedgerError::Statement { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_file_that_is_no_ledger_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("ledger.sqlite"),
            "no database at all, but long enough to look",
        )
        .unwrap();
        let error = Ledger::open(dir.path()).await.unwrap_err().to_string();
        assert!(error.contains("ledger.sqlite"), "{error}");
    }
}
