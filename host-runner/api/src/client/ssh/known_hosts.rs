//! Known host keys.
//!
//! Source: `sshd(8)`, "`SSH_KNOWN_HOSTS` FILE FORMAT": plain, hashed (HMAC-SHA1) and wildcard names, `[host]:port`, and the markers
//! `@cert-authority` and `@revoked`.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey, PublicKeyOrCertificate};
use sha1::Sha1;

use super::config::read_bounded;
use super::{SshError, pattern};

/// The port that a name without a port means.
const DEFAULT_PORT: u16 = 22;

/// Every entry of some files, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownHosts {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    at: Place,
    marker: Option<Marker>,
    names: Names,
    key: KeyData,
}

/// Where an entry stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub file: PathBuf,
    /// From 1.
    pub line: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    CertAuthority,
    Revoked,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Names {
    /// Patterns, parted by commas.
    Patterns(String),
    /// One name, hidden: HMAC-SHA1 of it under the salt.
    Hashed { salt: Vec<u8>, digest: Vec<u8> },
}

/// What the files say about a key that a server shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It is the known one.
    Known,
    /// Nothing is known about the host.
    Unknown,
    /// Another key is known for the host, at this place.
    Changed(Place),
    /// The key is marked as stolen, at this place.
    Revoked(Place),
}

impl KnownHosts {
    /// Reads the files; a missing one is empty, and a line that makes no sense is passed over, as in OpenSSH.
    pub(super) fn load(paths: &[PathBuf]) -> Result<Self, SshError> {
        let mut entries = Vec::new();
        for path in paths {
            let Some(text) = read_bounded(path)? else {
                continue;
            };
            for (line, text) in (1_u32..).zip(text.lines()) {
                entries.extend(parse_line(text).map(|(marker, names, key)| Entry {
                    at: Place {
                        file: path.clone(),
                        line,
                    },
                    marker,
                    names,
                    key,
                }));
            }
        }
        Ok(Self { entries })
    }

    /// What is known about `shown` for a host at a port, `now` in seconds since 1970.
    ///
    /// A host that is known by keys of other types alone counts as changed: the caller has offered those types first, so that a server
    /// which still had one of them would have shown it.
    pub(super) fn judge(&self, host: &str, port: u16, shown: &PublicKeyOrCertificate, now: u64) -> Judgement {
        let key = shown.public_key();
        let key = key.key_data();
        let authority = shown.certificate().map(Certificate::signature_key);
        let revoked = |entry: &&Entry| {
            entry.marker == Some(Marker::Revoked) && (entry.key == *key || Some(&entry.key) == authority)
        };
        if let Some(entry) = self.naming(host, port).find(revoked) {
            return Judgement::Revoked(entry.at.clone());
        }
        if let Some(certificate) = shown.certificate()
            && self
                .naming(host, port)
                .filter(|entry| entry.marker == Some(Marker::CertAuthority))
                .any(|entry| vouches(&entry.key, certificate, host, now))
        {
            return Judgement::Known;
        }
        let mut other = None;
        for entry in self.naming(host, port).filter(|entry| entry.marker.is_none()) {
            if entry.key == *key {
                return Judgement::Known;
            }
            // Name the line of the same type where there is one: it is the one to look at.
            let same_type = entry.key.algorithm() == key.algorithm();
            match other {
                None => other = Some((entry, same_type)),
                Some((_, false)) if same_type => other = Some((entry, true)),
                Some(_) => {}
            }
        }
        if let Some((entry, _)) = other {
            return Judgement::Changed(entry.at.clone());
        }
        // As in OpenSSH: a key that is known without a port is good at any port, as long as the port has none of its own.
        let plain = |entry: &Entry| entry.marker.is_none() && entry.key == *key;
        if port != DEFAULT_PORT && self.naming(host, DEFAULT_PORT).any(plain) {
            return Judgement::Known;
        }
        Judgement::Unknown
    }

    /// The key types that are known for the host, RSA as both of its signature types.
    pub(super) fn algorithms(&self, host: &str, port: u16) -> Vec<Algorithm> {
        let own: Vec<&Entry> = self
            .naming(host, port)
            .filter(|entry| entry.marker.is_none())
            .collect();
        let entries = if own.is_empty() && port != DEFAULT_PORT {
            self.naming(host, DEFAULT_PORT)
                .filter(|entry| entry.marker.is_none())
                .collect()
        } else {
            own
        };
        let mut found = Vec::new();
        for algorithm in entries.iter().flat_map(|entry| signature_types(&entry.key)) {
            if !found.contains(&algorithm) {
                found.push(algorithm);
            }
        }
        found
    }

    /// Whether a certificate of the host could be vouched for.
    pub(super) fn has_authority(&self, host: &str, port: u16) -> bool {
        self.naming(host, port)
            .any(|entry| entry.marker == Some(Marker::CertAuthority))
    }

    fn naming(&self, host: &str, port: u16) -> impl Iterator<Item = &Entry> {
        let name = written_name(host, port);
        self.entries
            .iter()
            .filter(move |entry| entry.names.include(&name))
    }
}

impl Names {
    fn include(&self, name: &str) -> bool {
        match self {
            Self::Patterns(list) => pattern::selects(list.split(','), name),
            Self::Hashed { salt, digest } => Hmac::<Sha1>::new_from_slice(salt)
                .is_ok_and(|mac| mac.chain_update(name).verify_slice(digest).is_ok()),
        }
    }
}

/// How a host at a port is written in the files: `host`, or `[host]:port` for a port other than 22.
pub(super) fn written_name(host: &str, port: u16) -> String {
    let host = host.to_ascii_lowercase();
    if port == DEFAULT_PORT {
        host
    } else {
        format!("[{host}]:{port}")
    }
}

/// Adds a key to a file, which is made (mode 0600, its folder 0700) where it is missing.
///
/// One write to a file opened for appending, so that two programs that add at once do not mix their lines.
pub(super) fn append(path: &Path, host: &str, port: u16, key: &PublicKey) -> io::Result<()> {
    let text = key.to_openssh().map_err(io::Error::other)?;
    let key: Vec<&str> = text.split(' ').take(2).collect();
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)?;
    }
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let break_before = if ends_with_newline(&mut file)? { "" } else { "\n" };
    let line = format!("{break_before}{} {}\n", written_name(host, port), key.join(" "));
    file.write_all(line.as_bytes())?;
    file.sync_all()
}

fn ends_with_newline(file: &mut std::fs::File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// `SHA256:` and the unpadded base64 of the digest, as `ssh-keygen -lf` prints it.
pub(super) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// Whether an authority's key vouches for a host certificate. Source: OpenSSH's PROTOCOL.certkeys.
fn vouches(authority: &KeyData, certificate: &Certificate, host: &str, now: u64) -> bool {
    let principals: BTreeSet<&str> = certificate
        .valid_principals()
        .iter()
        .map(String::as_str)
        .collect();
    certificate.cert_type() == CertType::Host
        && certificate.critical_options().is_empty()
        && principals
            .iter()
            .any(|principal| pattern::matches(principal, host))
        && certificate
            .validate_at(now, [&authority.fingerprint(HashAlg::Sha256)])
            .is_ok()
}

fn signature_types(key: &KeyData) -> Vec<Algorithm> {
    match key.algorithm() {
        Algorithm::Rsa { .. } => vec![
            Algorithm::Rsa {
                hash: Some(HashAlg::Sha512),
            },
            Algorithm::Rsa {
                hash: Some(HashAlg::Sha256),
            },
        ],
        other => vec![other],
    }
}

fn parse_line(line: &str) -> Option<(Option<Marker>, Names, KeyData)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let mut words = line.split_ascii_whitespace();
    let mut first = words.next()?;
    let marker = match first {
        "@cert-authority" => Some(Marker::CertAuthority),
        "@revoked" => Some(Marker::Revoked),
        // A marker of the future could take trust away: such a line must not give any.
        _ if first.starts_with('@') => return None,
        _ => None,
    };
    if marker.is_some() {
        first = words.next()?;
    }
    let names = parse_names(first)?;
    let (key_type, key) = (words.next()?, words.next()?);
    let key = PublicKey::from_openssh(&format!("{key_type} {key}")).ok()?;
    Some((marker, names, key.key_data().clone()))
}

fn parse_names(field: &str) -> Option<Names> {
    let Some(hashed) = field.strip_prefix("|1|") else {
        return Some(Names::Patterns(field.to_owned()));
    };
    let (salt, digest) = hashed.split_once('|')?;
    Some(Names::Hashed {
        salt: STANDARD.decode(salt).ok()?,
        digest: STANDARD.decode(digest).ok()?,
    })
}

#[cfg(test)]
#[path = "known_hosts_tests.rs"]
mod tests;
