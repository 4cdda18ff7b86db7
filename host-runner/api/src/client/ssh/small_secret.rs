//! ECDSA keys over P-256 whose secret begins with zero bytes, in OpenSSH's format.
//!
//! `ssh-keygen` writes the secret as an `mpint` (RFC 4251 section 5), without leading zero bytes: of one key in 256 it has 31 bytes or
//! fewer. The library's reader takes 32 and no fewer, and calls such a key broken. This reads it: the file's format is `PROTOCOL.key` of
//! OpenSSH. Longer curves are not concerned, as their secrets may be as short as 32 bytes there.

use russh::keys::ssh_encoding::pem::{DecodePem as _, PemLabel};
use russh::keys::ssh_encoding::{self, Decode, Reader};
use russh::keys::ssh_key::private::{EcdsaKeypair, EcdsaPrivateKey};
use russh::keys::ssh_key::public::{EcdsaPublicKey, KeyData};
use russh::keys::ssh_key::{self, Algorithm, Cipher, EcdsaCurve, Kdf};
use russh::keys::{Error, PrivateKey};
use zeroize::Zeroizing;

const MAGIC: [u8; 15] = *b"openssh-key-v1\0";

/// As much of it as the largest block has.
const PADDING: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

/// Bytes of a secret of P-256, leading zeros among them.
const SECRET_BYTES: usize = 32;

/// Whether the library may have refused a key for what this module reads.
pub(super) fn may_be(failure: &Error) -> bool {
    matches!(
        failure,
        Error::SshKey(ssh_key::Error::Encoding(ssh_encoding::Error::Length))
    )
}

/// Reads the key. The passphrase counts only where the file is encrypted.
///
/// # Errors
/// A file that is something else, is broken, or is encrypted with another passphrase, or with one where none is given.
pub(super) fn decode(text: &str, passphrase: Option<&str>) -> Result<PrivateKey, ssh_key::Error> {
    KeyFile::decode_pem(text.trim())?.key(passphrase)
}

/// `PROTOCOL.key` section 1.
struct KeyFile {
    cipher: Cipher,
    kdf: Kdf,
    public: KeyData,
    /// Of section 3, encrypted where the cipher is one.
    private: Zeroizing<Vec<u8>>,
    tag: Option<ssh_key::cipher::Tag>,
}

impl PemLabel for KeyFile {
    const PEM_LABEL: &'static str = "OPENSSH PRIVATE KEY";
}

impl Decode for KeyFile {
    type Error = ssh_key::Error;

    fn decode(reader: &mut impl Reader) -> Result<Self, ssh_key::Error> {
        let mut magic = [0; MAGIC.len()];
        reader.read(&mut magic)?;
        if magic != MAGIC {
            return Err(ssh_key::Error::FormatEncoding);
        }
        let cipher = Cipher::decode(reader)?;
        let kdf = Kdf::decode(reader)?;
        if u32::decode(reader)? != 1 {
            return Err(ssh_key::Error::FormatEncoding);
        }
        let public = reader.read_prefixed(KeyData::decode)?;
        let private = Zeroizing::new(Vec::decode(reader)?);
        let tag = if cipher.has_tag() {
            let mut tag = ssh_key::cipher::Tag::default();
            reader.read(&mut tag)?;
            Some(tag)
        } else {
            None
        };
        Ok(Self {
            cipher,
            kdf,
            public,
            private,
            tag,
        })
    }
}

impl KeyFile {
    fn key(&self, passphrase: Option<&str>) -> Result<PrivateKey, ssh_key::Error> {
        let opened = self.open(passphrase)?;
        let mut rest = opened.as_slice();
        let pair = KeyPair::decode(&mut rest)?;
        if !PADDING.starts_with(rest) {
            return Err(ssh_key::Error::FormatEncoding);
        }
        let key = PrivateKey::new(pair.keys.into(), pair.comment)?;
        if key.public_key().key_data() != &self.public {
            return Err(ssh_key::Error::PublicKey);
        }
        Ok(key)
    }

    fn open(&self, passphrase: Option<&str>) -> Result<Zeroizing<Vec<u8>>, ssh_key::Error> {
        let mut private = self.private.clone();
        if self.cipher.is_some() {
            let passphrase = passphrase.ok_or(ssh_key::Error::Encrypted)?;
            let (key, start) = self.kdf.derive_key_and_iv(self.cipher, passphrase)?;
            self.cipher.decrypt(&key, &start, &mut private, self.tag)?;
        }
        Ok(private)
    }
}

/// `PROTOCOL.key` section 3, up to the padding.
struct KeyPair {
    keys: EcdsaKeypair,
    comment: String,
}

impl Decode for KeyPair {
    type Error = ssh_key::Error;

    fn decode(reader: &mut impl Reader) -> Result<Self, ssh_key::Error> {
        // The same number twice: with a wrong passphrase they differ.
        if u32::decode(reader)? != u32::decode(reader)? {
            return Err(ssh_key::Error::Crypto);
        }
        let algorithm = Algorithm::decode(reader)?;
        let curve = EcdsaCurve::NistP256;
        if algorithm != (Algorithm::Ecdsa { curve }) {
            return Err(ssh_key::Error::AlgorithmUnknown);
        }
        let EcdsaPublicKey::NistP256(public) = EcdsaPublicKey::decode(reader)? else {
            return Err(ssh_key::Error::AlgorithmUnknown);
        };
        let private = EcdsaPrivateKey::from(*secret(reader)?);
        let keys = EcdsaKeypair::NistP256 { public, private };
        let comment = String::decode(reader)?;
        Ok(Self { keys, comment })
    }
}

/// An `mpint`, with the leading zeros that it does without.
fn secret(reader: &mut impl Reader) -> Result<Zeroizing<[u8; SECRET_BYTES]>, ssh_key::Error> {
    reader.read_prefixed(|reader| {
        let missing = SECRET_BYTES
            .checked_sub(reader.remaining_len())
            .ok_or(ssh_encoding::Error::Length)?;
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        reader.read(&mut secret[missing..])?;
        Ok(secret)
    })
}

#[cfg(test)]
#[path = "small_secret_tests.rs"]
mod tests;
