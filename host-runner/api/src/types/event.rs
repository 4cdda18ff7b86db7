use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use ts_rs::TS;
use utoipa::{PartialSchema, ToSchema, openapi};
use uuid::Uuid;

use super::{HostFacts, HostUsage, Image, Instance, InstanceUsage};

/// A place in a host's event stream: which run of the agent, and how many events of it have passed.
///
/// On the wire `EPOCH-SEQUENCE`, both decimal; it is the `id` of a server-sent event, and `Last-Event-ID` resumes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, TS)]
#[ts(type = "string")]
pub struct EventCursor {
    /// Chosen at random when the agent starts: a cursor of another run cannot be resumed.
    pub epoch: u64,
    /// The number of the last event seen; 0 before the first.
    pub sequence: u64,
}

impl fmt::Display for EventCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.sequence)
    }
}

/// The text is not `EPOCH-SEQUENCE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event id is two decimal numbers joined by a dash")]
pub struct BadCursor;

impl FromStr for EventCursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let (epoch, sequence) = text.split_once('-').ok_or(BadCursor)?;
        let number = |digits: &str| {
            if digits.bytes().all(|byte| byte.is_ascii_digit()) {
                digits.parse::<u64>().map_err(|_| BadCursor)
            } else {
                Err(BadCursor)
            }
        };
        Ok(Self {
            epoch: number(epoch)?,
            sequence: number(sequence)?,
        })
    }
}

impl Serialize for EventCursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventCursor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl PartialSchema for EventCursor {
    fn schema() -> openapi::RefOr<openapi::schema::Schema> {
        openapi::ObjectBuilder::new()
            .schema_type(openapi::schema::Type::String)
            .pattern(Some("^[0-9]+-[0-9]+$"))
            .into()
    }
}

impl ToSchema for EventCursor {}

/// What happened on a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "events are short-lived; a box would only move the cost to every reader"
)]
pub enum EventBody {
    /// An instance is new, or anything but its usage changed.
    InstanceChanged {
        /// The instance now.
        instance: Instance,
    },
    /// An instance is gone.
    InstanceDeleted {
        /// Its id.
        id: Uuid,
    },
    /// A sample of the host and its running instances.
    UsageSampled {
        /// The host.
        host: HostUsage,
        /// The running instances that were sampled, by id.
        instances: Vec<(Uuid, InstanceUsage)>,
    },
    /// The images changed.
    ImagesChanged {
        /// All images now.
        images: Vec<Image>,
    },
}

/// An event with its place in the stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema, TS)]
pub struct Event {
    /// Its place.
    pub cursor: EventCursor,
    /// What happened.
    pub body: EventBody,
}

/// Everything about a host at one moment, and where the events that follow it begin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema, TS)]
pub struct Snapshot {
    /// What the machine is.
    pub host: HostFacts,
    /// How loaded it is.
    pub usage: HostUsage,
    /// Its images.
    pub images: Vec<Image>,
    /// Its instances.
    pub instances: Vec<Instance>,
    /// Read events after this.
    pub cursor: EventCursor,
}
