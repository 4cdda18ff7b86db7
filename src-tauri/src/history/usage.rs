use std::time::Duration;

use api::{Mib, Timestamp};
use sqlx::Row as _;
use uuid::Uuid;

use super::{History, HistoryError, cannot, damaged};

/// How long measurements are kept.
pub const USAGE_KEPT: Duration = Duration::from_secs(2 * 60 * 60);

/// How loaded a machine was over ten seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UsageSample {
    /// The end of the ten seconds, by the desktop's clock.
    pub at: Timestamp,
    /// The mean CPU load over all threads, 0..=100.
    pub cpu_percent: f64,
    /// Memory in use at the end.
    pub memory_used: Mib,
    /// All memory of the machine.
    pub memory_total: Mib,
}

impl History {
    /// Writes measurements down, and forgets those older than [`USAGE_KEPT`].
    pub async fn add_usage(
        &self,
        samples: &[(Uuid, UsageSample)],
        now: Timestamp,
    ) -> Result<(), HistoryError> {
        let failed = || cannot("write measurements");
        let mut transaction = self.pool.begin().await.map_err(failed())?;
        for (machine, sample) in samples {
            sqlx::query(
                "INSERT OR REPLACE INTO usage (machine, at, cpu_percent, memory_used_mib, memory_total_mib) \
                 VALUES (?, ?, ?, ?, ?)",
            )
            .bind(machine.to_string())
            .bind(sample.at.unix_ms())
            .bind(sample.cpu_percent)
            .bind(sample.memory_used.0)
            .bind(sample.memory_total.0)
            .execute(&mut *transaction)
            .await
            .map_err(failed())?;
        }
        let kept_ms = i64::try_from(USAGE_KEPT.as_millis()).unwrap_or(i64::MAX);
        sqlx::query("DELETE FROM usage WHERE at < ?")
            .bind(now.unix_ms().saturating_sub(kept_ms))
            .execute(&mut *transaction)
            .await
            .map_err(failed())?;
        transaction.commit().await.map_err(failed())
    }

    /// How busy each machine was since `since`: means over `step_s` seconds of its CPU load, 0..=1 over all threads, each with the time of
    /// its last measurement, oldest first.
    pub async fn loads(
        &self,
        since: Timestamp,
        step_s: u32,
    ) -> Result<Vec<(Uuid, Timestamp, f64)>, HistoryError> {
        let read = || cannot("read past loads");
        let rows = sqlx::query(
            "SELECT machine, MAX(at) AS last, AVG(cpu_percent) AS cpu_percent FROM usage WHERE at >= ? \
             GROUP BY machine, at / ? ORDER BY machine, last",
        )
        .bind(since.unix_ms())
        .bind(i64::from(step_s) * 1000)
        .fetch_all(&self.pool)
        .await
        .map_err(read())?;
        rows.iter()
            .map(|row| {
                let machine: String = row.try_get("machine").map_err(read())?;
                let last: i64 = row.try_get("last").map_err(read())?;
                let cpu_percent: f64 = row.try_get("cpu_percent").map_err(read())?;
                Ok((
                    machine
                        .parse()
                        .map_err(damaged::<uuid::Error>("usage", "machine"))?,
                    Timestamp::from_unix_ms(last)
                        .ok_or("outside the calendar")
                        .map_err(damaged("usage", "at"))?,
                    cpu_percent / 100.0,
                ))
            })
            .collect()
    }

    /// A machine's measurements since `since`, oldest first.
    pub async fn usage(&self, machine: Uuid, since: Timestamp) -> Result<Vec<UsageSample>, HistoryError> {
        let read = || cannot("read measurements");
        let rows = sqlx::query(
            "SELECT at, cpu_percent, memory_used_mib, memory_total_mib FROM usage WHERE machine = ? AND at >= ? ORDER BY at",
        )
        .bind(machine.to_string())
        .bind(since.unix_ms())
        .fetch_all(&self.pool)
        .await
        .map_err(read())?;
        rows.iter()
            .map(|row| {
                let at: i64 = row.try_get("at").map_err(read())?;
                Ok(UsageSample {
                    at: Timestamp::from_unix_ms(at)
                        .ok_or("outside the calendar")
                        .map_err(damaged("usage", "at"))?,
                    cpu_percent: row.try_get("cpu_percent").map_err(read())?,
                    memory_used: Mib(row.try_get("memory_used_mib").map_err(read())?),
                    memory_total: Mib(row.try_get("memory_total_mib").map_err(read())?),
                })
            })
            .collect()
    }
}
