use proptest::prelude::*;
use russh::keys::{PublicKey, decode_secret_key};

use super::*;

// Written by ssh-keygen. The secret is the bytes 0, 1, 2, to 31.
const PUBLIC: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHpZMYCGDEA3yDwSdJhFyO4UJN0pf63LiV41glXSx9KyqMolWA8mJv5XkGL/G5n/kcJKDaBvsytb4gFIySSfVlA=";
const IN_CLEAR: &str = "\
-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAaAAAABNlY2RzYS
1zaGEyLW5pc3RwMjU2AAAACG5pc3RwMjU2AAAAQQR6WTGAhgxAN8g8EnSYRcjuFCTdKX+t
y4leNYJV0sfSsqjKJVgPJib+V5Bi/xuZ/5HCSg2gb7MrW+IBSMkkn1ZQAAAAmIx6THCMek
xwAAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHpZMYCGDEA3yDwS
dJhFyO4UJN0pf63LiV41glXSx9KyqMolWA8mJv5XkGL/G5n/kcJKDaBvsytb4gFIySSfVl
AAAAAfAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHwAAAAAB
-----END OPENSSH PRIVATE KEY-----
";
/// The same, with the passphrase "open sesame".
const ENCRYPTED: &str = "\
-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABAz9hPk/3
nKEQOdeXNwjvR1AAAAEAAAAAEAAABoAAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlz
dHAyNTYAAABBBHpZMYCGDEA3yDwSdJhFyO4UJN0pf63LiV41glXSx9KyqMolWA8mJv5XkG
L/G5n/kcJKDaBvsytb4gFIySSfVlAAAACg9cCT/jtP8WDHc+5GG7wjpPPoa4HIBxuw2TtC
lnVDgD0l4x+LPPzOh0oVAm+1dHA4aMJNYXVcqw0EY7OH4iiQWZtaAt8MgNxivvU3sPSjD5
e2iMms700dbOwLoZsw1Uhq2bASPJKfkD6Dwuq2S3mJ63E6fWWjy5IAVfAgJ30GzHYG4ajB
3+2rm1/O+0f5HB7s6/2W4i3ME7fLm4LHfBnq8Q==
-----END OPENSSH PRIVATE KEY-----
";

fn is_the_key(key: &PrivateKey) {
    let public = PublicKey::from_openssh(PUBLIC).expect("a public key");
    assert_eq!(key.public_key().key_data(), public.key_data());
    let secret: Vec<u8> = (0..32).collect();
    let keys = key.key_data().ecdsa().expect("an ECDSA key");
    assert_eq!(keys.private_key_bytes(), secret);
}

/// The file's bytes, without the armour.
fn bytes_of(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    let lines: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    base64::prelude::BASE64_STANDARD.decode(lines).expect("base64")
}

fn read(bytes: &[u8]) -> Result<PrivateKey, ssh_key::Error> {
    KeyFile::decode(&mut &*bytes)?.key(None)
}

#[test]
fn the_library_still_needs_this() {
    let failure = decode_secret_key(IN_CLEAR, None).expect_err("refused");
    assert!(may_be(&failure), "{failure:?}");
    let failure = decode_secret_key(ENCRYPTED, Some("open sesame")).expect_err("refused");
    assert!(may_be(&failure), "{failure:?}");
}

#[test]
fn a_key_is_read_in_clear_and_with_its_passphrase() {
    is_the_key(&decode(IN_CLEAR, None).expect("a key"));
    is_the_key(&decode(ENCRYPTED, Some("open sesame")).expect("a key"));
}

#[test]
fn another_passphrase_or_none_opens_nothing() {
    for passphrase in [None, Some(""), Some("open barley")] {
        assert!(decode(ENCRYPTED, passphrase).is_err(), "{passphrase:?}");
    }
}

#[test]
fn a_file_that_ends_early_is_no_key() {
    let whole = bytes_of(IN_CLEAR);
    is_the_key(&read(&whole).expect("a key"));
    for length in 0..whole.len() {
        assert!(
            read(&whole[..length]).is_err(),
            "{length} bytes of {}",
            whole.len()
        );
    }
}

#[test]
fn the_public_half_outside_has_to_be_that_inside() {
    let mut bytes = bytes_of(IN_CLEAR);
    let point = [0x04, 0x7a, 0x59];
    let outside = bytes
        .windows(point.len())
        .position(|window| window == point)
        .expect("a point");
    bytes[outside + 1] ^= 1;
    assert_eq!(read(&bytes).map(drop), Err(ssh_key::Error::PublicKey));
}

proptest! {
    #[test]
    fn a_byte_that_changed_never_makes_a_key_with_another_public_half(at in 0..300_usize, change in 1..=u8::MAX) {
        let mut bytes = bytes_of(IN_CLEAR);
        let at = at % bytes.len();
        bytes[at] ^= change;
        if let Ok(key) = read(&bytes) {
            let public = PublicKey::from_openssh(PUBLIC).expect("a public key");
            prop_assert_eq!(key.public_key().key_data(), public.key_data());
        }
    }
}
