use api::Timestamp;
use sqlx::Row as _;
use uuid::Uuid;

use super::{History, HistoryError, cannot, damaged};
use crate::contract::MachineAddress;

/// A machine as it is remembered between runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedMachine {
    /// Its identity in this desktop's pool.
    pub id: Uuid,
    /// The name that people know it by.
    pub name: String,
    /// How it is reached; never with a secret.
    pub address: MachineAddress,
    /// Whether it is given no new instances.
    pub draining: bool,
}

impl History {
    /// All machines, in the order in which they were added.
    pub async fn machines(&self) -> Result<Vec<SavedMachine>, HistoryError> {
        let rows = sqlx::query("SELECT id, name, address, draining FROM machines ORDER BY position")
            .fetch_all(&self.pool)
            .await
            .map_err(cannot("read the machines"))?;
        let read = cannot;
        rows.iter()
            .map(|row| {
                let id: String = row.try_get("id").map_err(read("read a machine's id"))?;
                let address: String = row.try_get("address").map_err(read("read a machine's address"))?;
                Ok(SavedMachine {
                    id: id.parse().map_err(damaged::<uuid::Error>("machines", "id"))?,
                    name: row.try_get("name").map_err(read("read a machine's name"))?,
                    address: serde_json::from_str(&address).map_err(damaged("machines", "address"))?,
                    draining: row
                        .try_get("draining")
                        .map_err(read("read whether a machine is draining"))?,
                })
            })
            .collect()
    }

    /// Remembers a machine, after all others.
    pub async fn add_machine(&self, machine: &SavedMachine, now: Timestamp) -> Result<(), HistoryError> {
        let address = serde_json::to_string(&machine.address).map_err(|err| HistoryError::Encode {
            what: "an address",
            err,
        })?;
        sqlx::query(
            "INSERT INTO machines (id, position, name, address, added_at, draining) \
             VALUES (?, (SELECT COALESCE(MAX(position), 0) + 1 FROM machines), ?, ?, ?, ?)",
        )
        .bind(machine.id.to_string())
        .bind(&machine.name)
        .bind(address)
        .bind(now.unix_ms())
        .bind(machine.draining)
        .execute(&self.pool)
        .await
        .map_err(cannot("remember a machine"))?;
        Ok(())
    }

    /// Remembers whether a machine is given no new instances. One that is not there has nothing to remember.
    pub async fn set_draining(&self, id: Uuid, draining: bool) -> Result<(), HistoryError> {
        sqlx::query("UPDATE machines SET draining = ? WHERE id = ?")
            .bind(draining)
            .bind(id.to_string())
            .execute(&self.pool)
            .await
            .map_err(cannot("remember that a machine is draining"))?;
        Ok(())
    }

    /// Forgets a machine and its measurements. One that is not there is forgotten already.
    pub async fn remove_machine(&self, id: Uuid) -> Result<(), HistoryError> {
        let mut transaction = self.pool.begin().await.map_err(cannot("forget a machine"))?;
        for statement in [
            "DELETE FROM usage WHERE machine = ?",
            "DELETE FROM machines WHERE id = ?",
        ] {
            sqlx::query(statement)
                .bind(id.to_string())
                .execute(&mut *transaction)
                .await
                .map_err(cannot("forget a machine"))?;
        }
        transaction.commit().await.map_err(cannot("forget a machine"))
    }
}
