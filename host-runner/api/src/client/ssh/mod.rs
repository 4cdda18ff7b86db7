//! The SSH link: one connection to a machine, through which streams to its agent's socket are opened.
//!
//! Follows RFC 4251 to 4254 and 8308/8332 for the protocol (which russh implements), and OpenSSH's ssh_config(5), sshd(8)
//! ("SSH_KNOWN_HOSTS FILE FORMAT") and PROTOCOL (`direct-streamlocal@openssh.com`) for what a user's files and servers mean.

mod error;
mod options;
mod session;

pub use error::SshError;
pub use options::{SshDeadlines, SshOptions, SshTarget};
pub use session::{CloseReason, SshSession, connect};
