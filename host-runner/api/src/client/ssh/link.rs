//! One SSH connection to one hop, possibly inside the connection to the hop before.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{Config, Handle};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::{Disconnect, Preferred, client};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::gatekeeper::{Ending, GateError, Gatekeeper, HostKeyCheck, note};
use super::known_hosts::KnownHosts;
use super::route::Hop;
use super::{CloseReason, SshError, SshOptions, auth, dial};

/// A silent peer is asked after this long; two questions without an answer end the connection, 12 s after its last word.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(4);
const KEEPALIVE_UNANSWERED_MAX: usize = 2;
/// The backstop where even the questions cannot be sent, as the send buffer is full.
const INACTIVITY_MAX: Duration = Duration::from_secs(13);

/// Host key types, most wanted first. SHA-1 signatures (`ssh-rsa`) are not among them. Source: RFC 8332.
const HOST_KEY_TYPES: [Algorithm; 6] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP256,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP384,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP521,
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha512),
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha256),
    },
];

/// A connection that is logged in.
pub(super) struct Link {
    pub handle: Handle<Gatekeeper>,
    pub address: String,
    ending: Ending,
    /// The connection that this one runs in.
    below: Option<Arc<Link>>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("address", &self.address)
            .field("below", &self.below)
            .finish_non_exhaustive()
    }
}

impl Link {
    /// Connects to a hop, checks its key and logs in.
    pub(super) async fn establish(
        hop: &Hop,
        options: &SshOptions,
        below: Option<Arc<Link>>,
    ) -> Result<Arc<Self>, SshError> {
        let ending: Ending = Arc::new(watch::Sender::new(None));
        let connecting = Self::connect(hop, options, below.as_ref(), ending.clone());
        let deadline = options.deadlines.connect;
        let mut handle = tokio::time::timeout(deadline, connecting)
            .await
            .map_err(|_| too_late(hop, "connecting", deadline))??;
        let deadline = options.deadlines.authenticate;
        tokio::time::timeout(deadline, auth::log_in(&mut handle, hop, options, &ending))
            .await
            .map_err(|_| too_late(hop, "logging in", deadline))??;
        Ok(Arc::new(Self {
            handle,
            address: hop.address(),
            ending,
            below,
        }))
    }

    async fn connect(
        hop: &Hop,
        options: &SshOptions,
        below: Option<&Arc<Link>>,
        ending: Ending,
    ) -> Result<Handle<Gatekeeper>, SshError> {
        let known = load_known(hop, options).await?;
        let config = Arc::new(config(&known, hop));
        let check = HostKeyCheck {
            address: hop.address(),
            known_as: hop.known_as.clone(),
            known,
            learn_to: hop.known_hosts.first().cloned(),
            accepted_fingerprint: options.accepted_fingerprint.clone(),
        };
        let gatekeeper = Gatekeeper::new(check, ending);
        match below {
            None => {
                let stream = dial::tcp(&hop.host, hop.port)
                    .await
                    .map_err(|err| SshError::Unreachable {
                        address: hop.address(),
                        err,
                    })?;
                shake_hands(hop, config, stream, gatekeeper).await
            }
            Some(below) => {
                let channel = below
                    .handle
                    .channel_open_direct_tcpip(hop.host.clone(), u32::from(hop.port), "127.0.0.1", 0)
                    .await
                    .map_err(|err| SshError::Unreachable {
                        address: hop.address(),
                        err: std::io::Error::other(format!("through {}: {err}", below.address)),
                    })?;
                shake_hands(hop, config, channel.into_stream(), gatekeeper).await
            }
        }
    }

    /// Waits until the connection has ended, and says why.
    pub(super) async fn ended(&self) -> CloseReason {
        match self.ending.subscribe().wait_for(Option::is_some).await.as_deref() {
            Ok(Some(reason)) => reason.clone(),
            Ok(None) | Err(_) => CloseReason::Local,
        }
    }

    /// The error for a call on a connection that no longer takes any.
    pub(super) fn gone(&self) -> SshError {
        let reason = self.ending.borrow().clone();
        SshError::Closed {
            address: self.address.clone(),
            reason: reason.unwrap_or_else(|| CloseReason::Broken("the connection broke".into())),
        }
    }

    /// Says goodbye to the server. What fails here no longer matters.
    pub(super) async fn close(&self) {
        note(&self.ending, CloseReason::Local);
        let _ = self
            .handle
            .disconnect(Disconnect::ByApplication, "goodbye", "")
            .await;
    }
}

async fn load_known(hop: &Hop, options: &SshOptions) -> Result<KnownHosts, SshError> {
    let paths: Vec<_> = hop
        .known_hosts
        .iter()
        .chain(&options.global_known_hosts_paths)
        .cloned()
        .collect();
    super::blocking(move || KnownHosts::load(&paths)).await
}

async fn shake_hands<S>(
    hop: &Hop,
    config: Arc<Config>,
    stream: S,
    gatekeeper: Gatekeeper,
) -> Result<Handle<Gatekeeper>, SshError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    client::connect_stream(config, stream, gatekeeper)
        .await
        .map_err(|err| match err {
            GateError::Refused(err) => err,
            GateError::Protocol(err) => SshError::Protocol {
                address: hop.address(),
                err,
            },
        })
}

/// Asks for the known key types first, as OpenSSH does: a server with several keys then shows the one that can be checked.
fn config(known: &KnownHosts, hop: &Hop) -> Config {
    let (name, port) = &hop.known_as;
    let mut key = known.algorithms(name, *port);
    key.retain(|algorithm| HOST_KEY_TYPES.contains(algorithm));
    for algorithm in HOST_KEY_TYPES {
        if !key.contains(&algorithm) {
            key.push(algorithm);
        }
    }
    let host_key_certificates = if known.has_authority(name, *port) {
        HOST_KEY_TYPES.to_vec()
    } else {
        Vec::new()
    };
    Config {
        preferred: Preferred {
            key: Cow::Owned(key),
            host_key_certificates: Cow::Owned(host_key_certificates),
            ..Preferred::default()
        },
        keepalive_interval: Some(KEEPALIVE_INTERVAL),
        keepalive_max: KEEPALIVE_UNANSWERED_MAX,
        inactivity_timeout: Some(INACTIVITY_MAX),
        ..Config::default()
    }
}

fn too_late(hop: &Hop, step: &'static str, deadline: Duration) -> SshError {
    SshError::DeadlineExceeded {
        address: hop.address(),
        step,
        deadline,
    }
}
