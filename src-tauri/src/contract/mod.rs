//! What crosses between the window and its Rust half, whichever way it travels: through Tauri, or over HTTP to a browser.
//!
//! One [`Command`] in, one JSON value or one [`CommandError`] out; [`WindowEvent`]s are pushed. The types are generated into
//! `ui/src/api/generated`; a test fails when they have drifted.

mod batch;
mod command;
mod picture;
mod plan;

pub use batch::{Batch, BatchOutcome, BatchPreview};
pub use command::{
    ActivityPage, AddMachine, AddMachineOutcome, Call, Command, CommandError, CommandResults,
    HostKeyQuestion, InstanceAction, InstanceRequest, Opening, SavedInventory,
};
pub use picture::{
    ActivityEntry, ActivityKind, Link, MachineAddress, PlacedInstance, PoolChange, PoolMachine, PoolPicture,
    Settings, Template, ThemeChoice, WindowEvent,
};
pub use plan::{AddedMachine, MadePlan, PlanAsk, PlanStanding, PoolEdit, ReserveLost};
