//! Images: content-addressed, read-only.
