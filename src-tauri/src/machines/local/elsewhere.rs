use std::path::PathBuf;

use api::client::Client;

use super::LocalAgentError;

/// No agent: there is none for this platform.
#[derive(Debug)]
pub struct LocalAgent;

impl LocalAgent {
    /// There is nothing to look for; the log would stay empty.
    pub fn from_environment(_log: PathBuf) -> Self {
        Self
    }

    /// Says that there is no agent.
    #[expect(clippy::unused_async, reason = "on Linux it waits for a socket")]
    pub async fn connect(&self) -> Result<Client, LocalAgentError> {
        Err(LocalAgentError::OtherPlatform)
    }
}
