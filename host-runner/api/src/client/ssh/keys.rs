//! Private keys in files.

use std::path::{Path, PathBuf};

use russh::keys::agent::AgentIdentity;
use russh::keys::{HashAlg, PrivateKey, PublicKey, decode_secret_key};
use zeroize::Zeroizing;

use super::config::read_bounded;
use super::{SshError, small_secret};

/// A key as far as it could be read.
#[derive(Debug)]
pub(super) enum KeyMaterial {
    /// Ready to sign.
    Open(Box<PrivateKey>),
    /// Encrypted.
    Locked {
        /// Where it can be known without the passphrase.
        public: Option<PublicKey>,
        /// True when the given passphrase is wrong.
        refused: bool,
    },
}

impl KeyMaterial {
    pub(super) fn public_key(&self) -> Option<&PublicKey> {
        match self {
            Self::Open(key) => Some(key.public_key()),
            Self::Locked { public, .. } => public.as_ref(),
        }
    }
}

/// Reads a key file: OpenSSH's format, PKCS#1, PKCS#8 or SEC1 in PEM, or `PuTTY`'s. `None` where there is no such file.
///
/// # Errors
/// [`SshError::ReadFile`] and [`SshError::BadKey`].
pub(super) async fn load(
    path: &Path,
    passphrase: Option<Zeroizing<String>>,
) -> Result<Option<KeyMaterial>, SshError> {
    let path = path.to_owned();
    // Deriving a key from a passphrase is slow on purpose.
    super::blocking(move || load_now(&path, passphrase.as_ref().map(|text| text.as_str()))).await
}

fn load_now(path: &Path, passphrase: Option<&str>) -> Result<Option<KeyMaterial>, SshError> {
    let Some(text) = read_bounded(path)?.map(Zeroizing::new) else {
        return Ok(None);
    };
    let bad = |err| SshError::BadKey {
        path: path.to_owned(),
        err,
    };
    let failure = match decode(&text, None) {
        Ok(key) => return Ok(Some(KeyMaterial::Open(Box::new(key)))),
        Err(err) => err,
    };
    if !is_encrypted(&text, &failure) {
        return Err(bad(failure));
    }
    if let Some(passphrase) = passphrase
        && let Ok(key) = decode(&text, Some(passphrase))
    {
        return Ok(Some(KeyMaterial::Open(Box::new(key))));
    }
    Ok(Some(KeyMaterial::Locked {
        public: public_part(path, &text),
        refused: passphrase.is_some(),
    }))
}

fn decode(text: &str, passphrase: Option<&str>) -> Result<PrivateKey, russh::keys::Error> {
    match decode_secret_key(text, passphrase) {
        Err(failure) if small_secret::may_be(&failure) => {
            small_secret::decode(text, passphrase).map_err(|_| failure)
        }
        decoded => decoded,
    }
}

fn is_encrypted(text: &str, failure: &russh::keys::Error) -> bool {
    matches!(failure, russh::keys::Error::KeyIsEncrypted)
        || text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        || text.contains("Proc-Type: 4,ENCRYPTED")
        || (text.starts_with("PuTTY-User-Key-File-") && !text.contains("Encryption: none"))
}

/// An encrypted key's public half: OpenSSH's format holds it in clear, and `ssh-keygen` writes it to `….pub`.
fn public_part(path: &Path, text: &str) -> Option<PublicKey> {
    if let Ok(key) = PrivateKey::from_openssh(text) {
        return Some(key.public_key().clone());
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    let text = read_bounded(&PathBuf::from(name)).ok()??;
    PublicKey::from_openssh(text.trim()).ok()
}

/// Signs nothing: with it, a login only asks whether the server would take a key.
pub(super) struct NoSigner;

/// Why [`NoSigner`] did not sign.
#[derive(Debug)]
pub(super) enum NotSigned {
    /// The server would take the key.
    OnPurpose,
    /// The connection is gone.
    Closed,
}

impl From<russh::SendError> for NotSigned {
    fn from(_: russh::SendError) -> Self {
        Self::Closed
    }
}

impl russh::Signer for NoSigner {
    type Error = NotSigned;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        _: Option<HashAlg>,
        _: Vec<u8>,
    ) -> Result<Vec<u8>, NotSigned> {
        Err(NotSigned::OnPurpose)
    }
}
