use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Trouble, run};

/// What kind of key, in which file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Ed25519, in OpenSSH's format.
    Ed25519,
    /// ECDSA over P-256, in OpenSSH's format.
    Ecdsa256,
    /// ECDSA over P-384, in PEM (SEC1).
    Ecdsa384Pem,
    /// ECDSA over P-521, in PKCS#8.
    Ecdsa521Pkcs8,
    /// RSA of 3072 bits, in OpenSSH's format.
    Rsa,
    /// RSA of 2048 bits, in PEM (PKCS#1).
    RsaPem,
    /// RSA of 2048 bits, in PKCS#8.
    RsaPkcs8,
}

impl KeyKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Ed25519,
        Self::Ecdsa256,
        Self::Ecdsa384Pem,
        Self::Ecdsa521Pkcs8,
        Self::Rsa,
        Self::RsaPem,
        Self::RsaPkcs8,
    ];

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Ed25519 => &["-t", "ed25519"],
            Self::Ecdsa256 => &["-t", "ecdsa", "-b", "256"],
            Self::Ecdsa384Pem => &["-t", "ecdsa", "-b", "384", "-m", "PEM"],
            Self::Ecdsa521Pkcs8 => &["-t", "ecdsa", "-b", "521", "-m", "PKCS8"],
            Self::Rsa => &["-t", "rsa", "-b", "3072"],
            Self::RsaPem => &["-t", "rsa", "-b", "2048", "-m", "PEM"],
            Self::RsaPkcs8 => &["-t", "rsa", "-b", "2048", "-m", "PKCS8"],
        }
    }
}

/// A key pair that `ssh-keygen` made.
#[derive(Debug, Clone)]
pub struct SshKey {
    /// The private key's file.
    pub path: PathBuf,
    /// The public key, as a line of `authorized_keys`.
    pub public: String,
}

impl SshKey {
    /// Makes a pair at `path`; an empty passphrase leaves it in clear.
    ///
    /// # Errors
    /// Those of `ssh-keygen`.
    pub fn make(path: &Path, kind: KeyKind, passphrase: &str) -> Result<Self, Trouble> {
        run(Command::new("ssh-keygen")
            .args(["-q", "-N", passphrase, "-C", "test", "-f"])
            .arg(path)
            .args(kind.arguments()))?;
        let mut public = path.as_os_str().to_owned();
        public.push(".pub");
        let public =
            std::fs::read_to_string(PathBuf::from(public)).map_err(Trouble::io("read a public key"))?;
        Ok(Self {
            path: path.to_owned(),
            public: public.trim().to_owned(),
        })
    }

    /// `SHA256:…`, as `ssh-keygen -lf` prints it.
    ///
    /// # Errors
    /// Those of `ssh-keygen`.
    pub fn fingerprint(&self) -> Result<String, Trouble> {
        let text = run(Command::new("ssh-keygen").arg("-lf").arg(&self.path))?;
        Ok(text.split_whitespace().nth(1).unwrap_or_default().to_owned())
    }
}
