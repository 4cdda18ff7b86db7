//! What `host-runner doctor` prints.

use api::Capability;

/// The findings for people: one line each, aligned, with a symbol and a word for the state, and the remedy below.
pub fn render(capabilities: &[Capability]) -> String {
    unimplemented!("{capabilities:?}")
}

/// The findings as a JSON array of [`Capability`].
pub fn render_json(capabilities: &[Capability]) -> String {
    unimplemented!("{capabilities:?}")
}
