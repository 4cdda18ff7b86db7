use super::{History, HistoryError, cannot, damaged};
use crate::contract::Settings;

impl History {
    /// What was chosen for the window; the defaults where nothing was.
    pub async fn settings(&self) -> Result<Settings, HistoryError> {
        let value: Option<String> = sqlx::query_scalar("SELECT value FROM settings WHERE id = 1")
            .fetch_optional(&self.pool)
            .await
            .map_err(cannot("read the settings"))?;
        match value {
            Some(value) => serde_json::from_str(&value).map_err(damaged("settings", "value")),
            None => Ok(Settings::default()),
        }
    }

    /// Remembers what was chosen for the window.
    pub async fn set_settings(&self, settings: &Settings) -> Result<(), HistoryError> {
        let value = serde_json::to_string(settings).map_err(|err| HistoryError::Encode {
            what: "the settings",
            err,
        })?;
        sqlx::query(
            "INSERT INTO settings (id, value) VALUES (1, ?1) ON CONFLICT (id) DO UPDATE SET value = ?1",
        )
        .bind(value)
        .execute(&self.pool)
        .await
        .map_err(cannot("remember the settings"))?;
        Ok(())
    }
}
