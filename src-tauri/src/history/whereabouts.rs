use std::time::Duration;

use api::Timestamp;
use sqlx::Row as _;

use super::{History, HistoryError, cannot, damaged};
use crate::pool::Sight;

/// How long it is remembered where an instance was seen last.
pub const SIGHTS_KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

impl History {
    /// Writes down where instances were seen at `now`, and forgets those that were not seen for [`SIGHTS_KEPT`].
    pub async fn add_sights(&self, sights: &[Sight], now: Timestamp) -> Result<(), HistoryError> {
        let failed = || cannot("write down where instances are");
        let mut transaction = self.pool.begin().await.map_err(failed())?;
        for sight in sights {
            sqlx::query(
                "INSERT OR REPLACE INTO whereabouts (instance, host, moved_at, seen_at) VALUES (?, ?, ?, ?)",
            )
            .bind(sight.instance.to_string())
            .bind(sight.host.to_string())
            .bind(sight.moved_at.map(Timestamp::unix_ms))
            .bind(now.unix_ms())
            .execute(&mut *transaction)
            .await
            .map_err(failed())?;
        }
        let kept_ms = i64::try_from(SIGHTS_KEPT.as_millis()).unwrap_or(i64::MAX);
        sqlx::query("DELETE FROM whereabouts WHERE seen_at < ?")
            .bind(now.unix_ms().saturating_sub(kept_ms))
            .execute(&mut *transaction)
            .await
            .map_err(failed())?;
        transaction.commit().await.map_err(failed())
    }

    /// Where each instance was seen last.
    pub async fn sights(&self) -> Result<Vec<Sight>, HistoryError> {
        let read = || cannot("read where instances were seen");
        let rows = sqlx::query("SELECT instance, host, moved_at FROM whereabouts")
            .fetch_all(&self.pool)
            .await
            .map_err(read())?;
        rows.iter()
            .map(|row| {
                let instance: String = row.try_get("instance").map_err(read())?;
                let host: String = row.try_get("host").map_err(read())?;
                let moved_at: Option<i64> = row.try_get("moved_at").map_err(read())?;
                let moved_at = moved_at.map(|ms| {
                    Timestamp::from_unix_ms(ms)
                        .ok_or_else(|| damaged("whereabouts", "moved_at")(format!("{ms} ms is no time")))
                });
                Ok(Sight {
                    instance: instance
                        .parse()
                        .map_err(damaged::<uuid::Error>("whereabouts", "instance"))?,
                    host: host
                        .parse()
                        .map_err(damaged::<uuid::Error>("whereabouts", "host"))?,
                    moved_at: moved_at.transpose()?,
                })
            })
            .collect()
    }
}
