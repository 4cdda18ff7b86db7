//! The instances in memory, written through to the ledger: one lock, so that admission is atomic and events are in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{EventBody, EventCursor, Instance, InstanceUsage};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::events::EventLog;
use crate::ledger::{BadRow, Ledger, LedgerError, Record};

/// All instances by id; a `UUIDv7`'s order is that of its creation.
pub type Records = BTreeMap<Uuid, Record>;

/// What is decided of a request to add an instance.
#[derive(Debug)]
pub enum Addition {
    /// It is there, as asked.
    Keep(Record),
    /// It is there, and changes to this.
    Change(Record),
    /// It is new.
    New(Record),
}

/// What this machine holds, and the only way to change it.
#[derive(Debug)]
pub struct Registry {
    ledger: Ledger,
    events: Arc<EventLog>,
    records: Mutex<Records>,
    set_aside: Vec<BadRow>,
}

impl Registry {
    /// Reads the ledger. Rows that are no instances are told and set aside.
    pub async fn load(ledger: Ledger, events: Arc<EventLog>) -> Result<Self, LedgerError> {
        let loaded = ledger.load().await?;
        for row in &loaded.bad {
            tracing::error!(
                ledger = %ledger.path().display(),
                row = row.id,
                name = row.name,
                fault = %row.fault,
                remedy = "stop host-runner, repair the row with sqlite3 or delete it there, and start host-runner again; \
                          the instance's folder below instances/ has its disk",
                "a row of the ledger is bad; it and its instance are left alone"
            );
        }
        let records = loaded
            .records
            .into_iter()
            .map(|record| (record.id, record))
            .collect();
        Ok(Self {
            ledger,
            events,
            records: Mutex::new(records),
            set_aside: loaded.bad,
        })
    }

    /// The rows of the ledger that are no instances. Their ids and names are taken.
    pub fn set_aside(&self) -> &[BadRow] {
        &self.set_aside
    }

    /// One instance as it is now.
    pub async fn get(&self, id: Uuid) -> Option<Record> {
        self.records.lock().await.get(&id).cloned()
    }

    /// Looks at all instances at one moment. `look` runs under the lock: it must not take long.
    pub async fn read<T>(&self, look: impl FnOnce(&Records) -> T) -> T {
        look(&*self.records.lock().await)
    }

    /// All instances, oldest first, and the place in the event stream that they belong to.
    pub async fn snapshot(&self) -> (Vec<Instance>, EventCursor) {
        let records = self.records.lock().await;
        let instances = records.values().map(Record::to_api).collect();
        (instances, self.events.cursor())
    }

    /// Changes or adds one instance, or refuses: `decide` sees all instances and returns the whole new record, or `None` to leave
    /// everything as it is. Nothing changes unless the ledger has it on disk.
    pub async fn transact<E>(
        &self,
        id: Uuid,
        decide: impl FnOnce(&Records) -> Result<Option<Record>, E>,
    ) -> Result<Option<Record>, E>
    where
        E: From<LedgerError>,
    {
        let mut records = self.records.lock().await;
        if let Some(record) = decide(&records)? {
            self.ledger.save(&record).await?;
            self.put(&mut records, record);
        }
        Ok(records.get(&id).cloned())
    }

    /// Adds an instance, or refuses. `decide` sees all instances, `prepare` then makes what tells a new instance from one whose files are
    /// lost, and only after that the ledger has it. When it cannot be written down, `undo` takes back what was prepared.
    ///
    /// All of it happens under the lock, so that nobody else is promised the same meanwhile. Must not be cancelled in between.
    pub async fn add<E, Prepared>(
        &self,
        decide: impl FnOnce(&Records) -> Result<Addition, E>,
        prepare: impl FnOnce(&Record) -> Prepared,
        undo: impl FnOnce(&Record),
    ) -> Result<(Record, bool), E>
    where
        E: From<LedgerError>,
        Prepared: Future<Output = Result<(), E>>,
    {
        let mut records = self.records.lock().await;
        let record = match decide(&records)? {
            Addition::Keep(record) => return Ok((record, false)),
            Addition::Change(record) => {
                self.ledger.save(&record).await?;
                self.put(&mut records, record.clone());
                return Ok((record, false));
            }
            Addition::New(record) => record,
        };
        prepare(&record).await?;
        if let Err(error) = self.ledger.save(&record).await {
            undo(&record);
            return Err(error.into());
        }
        self.put(&mut records, record.clone());
        Ok((record, true))
    }

    /// Changes what is meant or was done, when the instance is still there. The ledger has it on disk before anybody sees it.
    pub async fn change(&self, id: Uuid, change: impl FnOnce(&mut Record)) -> Result<(), LedgerError> {
        self.transact(id, |records| {
            Ok::<_, LedgerError>(records.get(&id).cloned().map(|mut record| {
                change(&mut record);
                record
            }))
        })
        .await
        .map(|_| ())
    }

    /// Notes what was seen. What was seen is true whether or not the disk has room for it, so a ledger that cannot be written is
    /// only logged; the next pass of the reconciler sees the same again.
    pub async fn note(&self, id: Uuid, change: impl FnOnce(&mut Record)) {
        let mut records = self.records.lock().await;
        let Some(mut record) = records.get(&id).cloned() else {
            return;
        };
        change(&mut record);
        let Some(old) = records.get(&id) else { return };
        let worth_writing =
            (&old.intent, &old.launch, &old.status) != (&record.intent, &record.launch, &record.status);
        if worth_writing && let Err(error) = self.ledger.save(&record).await {
            tracing::warn!(instance = %id, error = &error as &dyn std::error::Error, "the ledger lags behind");
        }
        self.put(&mut records, record);
    }

    fn put(&self, records: &mut Records, record: Record) {
        let now = record.to_api();
        let old = records.insert(record.id, record).map(|old| old.to_api());
        // Samples travel in events of their own.
        let as_before = old.is_some_and(|mut old| {
            old.usage.clone_from(&now.usage);
            old == now
        });
        if !as_before {
            self.events.publish(&EventBody::InstanceChanged { instance: now });
        }
    }

    /// Keeps the latest samples; instances that are gone are skipped.
    pub async fn keep_usage(&self, samples: &[(Uuid, InstanceUsage)]) {
        let mut records = self.records.lock().await;
        for (id, usage) in samples {
            if let Some(record) = records.get_mut(id) {
                record.live.usage = Some(usage.clone());
            }
        }
    }

    /// Forgets an instance. Its files must be gone already.
    pub async fn remove(&self, id: Uuid) -> Result<(), LedgerError> {
        let mut records = self.records.lock().await;
        self.ledger.remove(id).await?;
        if records.remove(&id).is_some() {
            self.events.publish(&EventBody::InstanceDeleted { id });
        }
        Ok(())
    }

    /// Closes the ledger.
    pub async fn close(&self) {
        self.ledger.close().await;
    }
}
