//! Reading agents, several at a time.

use std::path::PathBuf;
use std::sync::Arc;

use api::Snapshot;
use api::client::ssh::{self, SshError, SshOptions, SshTarget};
use api::client::{Client, ClientError, LocalConnector, RequestContext};
use futures::StreamExt as _;

use super::DumpError;
use super::history::{self, History};
use crate::cli::MachineAddress;

/// How many machines are read at once.
const AT_ONCE: usize = 16;

/// Where an agent is.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// On this computer, behind this socket.
    Local(PathBuf),
    /// Somewhere else.
    Ssh(MachineAddress),
}

impl Source {
    fn name(&self) -> String {
        match self {
            Self::Local(_) => "this computer".to_owned(),
            Self::Ssh(address) => address.to_string(),
        }
    }
}

/// What one agent said.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) snapshot: Snapshot,
    pub(super) history: History,
}

/// Reads all machines; the answers are in the order of the sources.
pub(super) async fn read_all(sources: &[Source]) -> Vec<(&Source, Result<Reading, ClientError>)> {
    let options = SshOptions::from_environment();
    let reads = sources
        .iter()
        .map(async |source| (source, read(source, &options).await));
    futures::stream::iter(reads).buffered(AT_ONCE).collect().await
}

async fn read(source: &Source, options: &SshOptions) -> Result<Reading, ClientError> {
    let client = match source {
        Source::Local(socket) => Client::new(Arc::new(LocalConnector {
            socket: socket.clone(),
        })),
        Source::Ssh(address) => {
            let target = SshTarget {
                host: address.host.clone(),
                user: address.user.clone(),
                port: address.port,
                identity_file: None,
            };
            Client::new(Arc::new(ssh::connect(&target, options).await?))
        }
    };
    let context = RequestContext::generate();
    let snapshot = client.snapshot(&context).await?;
    let history = history::read(&client, &context, &snapshot).await;
    Ok(Reading { snapshot, history })
}

/// The error with the machine that it is about, and what to do about it.
pub(super) fn explained(source: &Source, err: ClientError) -> DumpError {
    let remedy = match &err {
        ClientError::Ssh(error) => match &**error {
            SshError::HostKeyUnknown { .. } => "; connect with `ssh` once, and compare the fingerprint",
            SshError::PassphraseNeeded { .. } => "; unlock the key with `ssh-add` first",
            SshError::AuthenticationFailed { .. } => "; a key that logs in without a password is needed",
            _ => "",
        },
        _ => "",
    };
    DumpError::Machine {
        machine: source.name(),
        remedy,
        err,
    }
}
