//! The SSH link: one connection to a machine, through which streams to its agent's socket are opened.
//!
//! Follows RFC 4251 to 4254 and 8308/8332 for the protocol (which russh implements), and OpenSSH's `ssh_config(5)`, `sshd(8)`
//! ("`SSH_KNOWN_HOSTS` FILE FORMAT") and PROTOCOL (`direct-streamlocal@openssh.com`) for what a user's files and servers mean.
//!
//! Left out on purpose: `ProxyCommand` (a program of the user's would have to be run; [`SshError::BadTarget`] says so), keys in
//! hardware, certificates of users, and SHA-1 signatures.

mod auth;
mod channel;
mod config;
mod dial;
mod error;
mod gatekeeper;
mod keys;
mod known_hosts;
mod link;
mod options;
mod pattern;
mod prompt_acks;
mod route;
mod session;
mod small_secret;

pub(super) use channel::Failed;
pub use error::SshError;
pub use options::{SshDeadlines, SshOptions, SshTarget};
pub use session::{CloseReason, SshSession, connect};

/// Runs what reads files or computes for long beside the async tasks.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SshError> + Send + 'static,
) -> Result<T, SshError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(err) => match err.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that shuts down cancels it.
            Err(_) => std::future::pending().await,
        },
    }
}
