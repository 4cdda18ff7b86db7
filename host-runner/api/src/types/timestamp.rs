use std::fmt;

use serde::{Deserialize, Serialize};
use ts_rs::TS;
use utoipa::{PartialSchema, ToSchema, openapi};

/// A moment in UTC. On the wire RFC 3339, such as `2026-01-31T08:05:00Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS)]
#[serde(transparent)]
#[ts(type = "string")]
pub struct Timestamp(pub jiff::Timestamp);

impl Timestamp {
    /// Whole milliseconds since 1970-01-01T00:00:00Z; negative before.
    pub fn unix_ms(self) -> i64 {
        self.0.as_millisecond()
    }

    /// The moment `ms` milliseconds after 1970-01-01T00:00:00Z; `None` outside the years -9999..=9999.
    pub fn from_unix_ms(ms: i64) -> Option<Self> {
        jiff::Timestamp::from_millisecond(ms).ok().map(Self)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl PartialSchema for Timestamp {
    fn schema() -> openapi::RefOr<openapi::schema::Schema> {
        openapi::ObjectBuilder::new()
            .schema_type(openapi::schema::Type::String)
            .format(Some(openapi::SchemaFormat::KnownFormat(
                openapi::KnownFormat::DateTime,
            )))
            .into()
    }
}

impl ToSchema for Timestamp {}
