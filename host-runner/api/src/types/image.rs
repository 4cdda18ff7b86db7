use serde::{Deserialize, Serialize};
use ts_rs::TS;
use utoipa::ToSchema;

use super::{ImageState, Mib, Timestamp};

/// An image on a machine: content-addressed, read-only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, TS)]
pub struct Image {
    /// The name that a spec refers to, such as `tiny-linux`.
    pub name: String,
    /// The name that people see, such as `Tiny Linux`.
    pub title: String,
    /// One line about what it is.
    pub summary: String,
    /// SHA-256 of the manifest, in lower-case hex: the same digest is the same image everywhere.
    pub digest: String,
    /// The size of its files.
    pub size_mib: Mib,
    /// The least memory that a guest of it boots with.
    pub memory_min_mib: Mib,
    /// The least disk that an instance of it has: the size of the image's own, which it begins with; 0 where it needs none.
    pub disk_min_mib: Mib,
    /// Whether it has a kernel of its own, which a microVM boots; without one, the disk's own boot loader starts it, on QEMU alone.
    pub has_kernel: bool,
    /// Whether it can be used.
    pub state: ImageState,
    /// Why not, and the remedy; absent when it can.
    pub problem: Option<String>,
    /// When it was made or imported.
    pub created_at: Timestamp,
}
