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
    /// The same, always the same key, whose secret begins with a zero byte. One in 256 of those that `ssh-keygen` makes is so.
    Ecdsa256SmallSecret,
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
    pub const ALL: [Self; 8] = [
        Self::Ed25519,
        Self::Ecdsa256,
        Self::Ecdsa256SmallSecret,
        Self::Ecdsa384Pem,
        Self::Ecdsa521Pkcs8,
        Self::Rsa,
        Self::RsaPem,
        Self::RsaPkcs8,
    ];

    /// What makes `ssh-keygen` generate such a key; `None` for one that is given.
    fn arguments(self) -> Option<&'static [&'static str]> {
        Some(match self {
            Self::Ecdsa256SmallSecret => return None,
            Self::Ed25519 => &["-t", "ed25519"],
            Self::Ecdsa256 => &["-t", "ecdsa", "-b", "256"],
            Self::Ecdsa384Pem => &["-t", "ecdsa", "-b", "384", "-m", "PEM"],
            Self::Ecdsa521Pkcs8 => &["-t", "ecdsa", "-b", "521", "-m", "PKCS8"],
            Self::Rsa => &["-t", "rsa", "-b", "3072"],
            Self::RsaPem => &["-t", "rsa", "-b", "2048", "-m", "PEM"],
            Self::RsaPkcs8 => &["-t", "rsa", "-b", "2048", "-m", "PKCS8"],
        })
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
        match kind.arguments() {
            Some(arguments) => run(Command::new("ssh-keygen")
                .args(["-q", "-N", passphrase, "-C", "test", "-f"])
                .arg(path)
                .args(arguments))?,
            None => write_small_secret(path, passphrase)?,
        };
        let public = run(Command::new("ssh-keygen")
            .args(["-y", "-P", passphrase, "-f"])
            .arg(path))?;
        let public = public.trim().to_owned();
        std::fs::write(public_path(path), format!("{public}\n"))
            .map_err(Trouble::io("write a public key"))?;
        Ok(Self {
            path: path.to_owned(),
            public,
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

fn public_path(path: &Path) -> PathBuf {
    let mut public = path.as_os_str().to_owned();
    public.push(".pub");
    public.into()
}

/// The secret is the bytes 0, 1, 2, to 31, in PEM (SEC1).
const SMALL_SECRET: &str = "\
-----BEGIN EC PRIVATE KEY-----
MDECAQEEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4foAoGCCqGSM49
AwEH
-----END EC PRIVATE KEY-----
";

/// Has `ssh-keygen` write [`SMALL_SECRET`] in OpenSSH's format.
fn write_small_secret(path: &Path, passphrase: &str) -> Result<String, Trouble> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(SMALL_SECRET.as_bytes()))
        .map_err(Trouble::io("write a key"))?;
    run(Command::new("ssh-keygen")
        .args(["-q", "-p", "-P", "", "-N", passphrase, "-C", "test", "-f"])
        .arg(path))
}
