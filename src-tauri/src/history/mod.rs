//! What this desktop remembers: machines, settings, the activity list, and measurements for charts, in one SQLite file.
//!
//! No secret is ever written here; there is no column that could hold one.

mod activity;
mod machines;
mod settings;
mod usage;
mod whereabouts;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

pub use activity::{ACTIVITY_ENTRIES_MAX, NewEntry};
pub use machines::SavedMachine;
pub use usage::{USAGE_KEPT, UsageSample};
pub use whereabouts::SIGHTS_KEPT;

/// The file's name in the data folder.
pub const FILE_NAME: &str = "millpond.sqlite";

/// How long a statement waits for another that writes, of this app or of a second one on the same folder.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the desktop's memory failed.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The data folder cannot be made.
    #[error("cannot make the folder {}", path.display())]
    MakeFolder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        err: std::io::Error,
    },
    /// The file cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        err: sqlx::Error,
    },
    /// The file's tables cannot be brought up to date; a newer version of the app may have written it.
    #[error("cannot bring {} up to date", path.display())]
    Migrate {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        err: sqlx::migrate::MigrateError,
    },
    /// A statement failed.
    #[error("cannot {operation}")]
    Statement {
        /// What was to be done.
        operation: &'static str,
        /// Why.
        #[source]
        err: sqlx::Error,
    },
    /// A stored value makes no sense.
    #[error("{table} holds a {column} that makes no sense: {reason}")]
    Damaged {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A value cannot be written as JSON.
    #[error("cannot write {what} as JSON")]
    Encode {
        /// What it is.
        what: &'static str,
        /// Why.
        #[source]
        err: serde_json::Error,
    },
}

/// The open file. Cheap to clone.
#[derive(Debug, Clone)]
pub struct History {
    pool: SqlitePool,
}

impl History {
    /// Opens the file in `folder`, making both where they are missing (for the user alone), and brings its tables up to date.
    pub async fn open(folder: &Path) -> Result<Self, HistoryError> {
        make_private_folder(folder).map_err(|err| HistoryError::MakeFolder {
            path: folder.to_owned(),
            err,
        })?;
        let path = folder.join(FILE_NAME);
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            // Losing the last activity line to a power cut is fine; a damaged file is not, and WAL keeps it whole.
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new()
            .max_connections(3)
            .acquire_timeout(Duration::from_secs(10))
            .connect_with(options)
            .await
            .map_err(|err| HistoryError::Open {
                path: path.clone(),
                err,
            })?;
        sqlx::migrate!("src/history/migrations")
            .run(&pool)
            .await
            .map_err(|err| HistoryError::Migrate { path, err })?;
        Ok(Self { pool })
    }

    /// Writes everything down and closes the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

fn make_private_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(folder)
}

/// Names the operation in a failure.
fn cannot(operation: &'static str) -> impl FnOnce(sqlx::Error) -> HistoryError {
    move |err| HistoryError::Statement { operation, err }
}

/// Names the column of a value that makes no sense.
fn damaged<E: std::fmt::Display>(
    table: &'static str,
    column: &'static str,
) -> impl FnOnce(E) -> HistoryError {
    move |reason| HistoryError::Damaged {
        table,
        column,
        reason: reason.to_string(),
    }
}
