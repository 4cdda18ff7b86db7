//! Wire types. Sizes are MiB in `u32`; times are RFC 3339 in UTC; unknown fields in a request are refused.

mod event;
mod host;
mod image;
mod instance;
mod placement;
mod timestamp;

pub use event::{Event, EventBody, EventCursor, Snapshot};
pub use host::{Capability, CapabilityState, HardwareVirtualization, HostFacts, HostUsage, NetworkMode};
pub use image::Image;
pub use instance::{
    CreateInstance, DiskLimit, EngineChoice, EngineRequest, Failure, GUEST_STATUS_CHARS_MAX, Instance,
    InstanceSpec, InstanceUsage, NetworkLimit, PortRequest, Progress, PublishedPort, RunState, StopInstance,
    StopMode,
};
pub use placement::Placement;
pub use pool::inventory::{Affinity, AffinityKind, AffinityTarget, Mobility};
pub use pool::{EngineKind, ImageState, Mib};
pub use timestamp::Timestamp;

/// The version of this contract. A desktop refuses a host whose major version (the number before the dot) differs.
pub const API_VERSION: &str = "1.0";

/// The largest request body that a host reads, in bytes.
pub const BODY_BYTES_MAX: usize = 256 * 1024;

/// How much of a console's past a new viewer is shown, in bytes.
pub const CONSOLE_REPLAY_BYTES: usize = 64 * 1024;

/// The header that carries a request's id from the click to the agent's log line.
pub const REQUEST_ID_HEADER: &str = "x-request-id";

/// The protocol name in the `Upgrade` header of a console request.
pub const CONSOLE_PROTOCOL: &str = "millpond-console";
