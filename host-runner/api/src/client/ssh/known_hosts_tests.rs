use proptest::prelude::*;

use super::*;

// Made by ssh-keygen: two Ed25519 keys, one ECDSA key, an authority's key, and its certificate of key A for atlas.lan (2020 to 2030).
const A: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO0GY7GJFKrLN34vatdE+CcqVKlSou6sMfYGlqedm7M6";
const B: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH+/ADMwkWoEdNrU7xoAaMqQ/HlpR1qIuB9lOAQjBGCC";
const ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBMfsh/klzeFLqHqHXtP2DY6+EydYPP8lXa16JfH0aa6eaYe+MiuFApfMs+7E7JmCZBDdU8VOIsLZTgGS+HPe7xU=";
const AUTHORITY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOxhuIaHtUZKap1hRck/tgEISxtZiA64d+cBW9Vvbxbb";
const CERTIFICATE: &str = "ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29tAAAAIF283RNgFYNJTKEcx5kzBk6bN2t+SqzYBSPNex2zbZv9AAAAIO0GY7GJFKrLN34vatdE+CcqVKlSou6sMfYGlqedm7M6AAAAAAAAAAAAAAACAAAABGhvc3QAAAANAAAACWF0bGFzLmxhbgAAAABeC+EAAAAAAHDb2IAAAAAAAAAAAAAAAAAAAAAzAAAAC3NzaC1lZDI1NTE5AAAAIOxhuIaHtUZKap1hRck/tgEISxtZiA64d+cBW9VvbxbbAAAAUwAAAAtzc2gtZWQyNTUxOQAAAEDnFfGgJAUi9iCgoX6RbS6XicmRe+od8gohjj01PLA7+fPLbFD5qSCLVoX6pW41V3f6w9fzUgb4uezORlcs3Q0K";
/// As `ssh-keygen -lf` prints key A.
const FINGERPRINT_OF_A: &str = "SHA256:ech3y9AhYe9L0zDCr+smDE+98kyxQgs2BHDoAFlgSqs";
/// `atlas.lan`, hashed by `ssh-keygen -H`.
const HASHED: &str = "|1|v0yu7XVGzU/PNiXJRCMcfQQeuCQ=|v6MVk6JutkuGDl4uOXGG8F+9wvs=";
/// `[atlas.lan]:2222`, hashed likewise.
const HASHED_WITH_PORT: &str = "|1|LRzFo4rnmT4SQ2josB/sR2s45Vk=|CAPdNv+KCT2qNM9YA4otHSdmESc=";
/// A day in 2026.
const NOW: u64 = 1_790_000_000;

fn key(text: &str) -> PublicKey {
    PublicKey::from_openssh(text).expect("a key")
}

fn shown(text: &str) -> PublicKeyOrCertificate {
    key(text).into()
}

fn known(text: &str) -> KnownHosts {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("known_hosts");
    std::fs::write(&path, text).expect("a file");
    KnownHosts::load(&[path]).expect("a readable file")
}

fn judge(file: &str, host: &str, port: u16, key: &str) -> Judgement {
    known(file).judge(host, port, &shown(key), NOW)
}

/// The line at fault, from 1.
fn line(judgement: &Judgement) -> Option<u32> {
    match judgement {
        Judgement::Changed(place) | Judgement::Revoked(place) => Some(place.line),
        Judgement::Known | Judgement::Unknown => None,
    }
}

#[test]
fn plain_hashed_and_wildcard_names_are_found() {
    for names in ["atlas.lan", "zeus.lan,atlas.lan", HASHED, "*.lan", "ATLAS.lan"] {
        assert_eq!(
            judge(&format!("{names} {A} a comment\n"), "atlas.lan", 22, A),
            Judgement::Known,
            "{names}"
        );
    }
    for names in [
        "zeus.lan",
        "*.lan,!atlas.lan",
        "[atlas.lan]:2222",
        HASHED_WITH_PORT,
    ] {
        assert_eq!(
            judge(&format!("{names} {A}\n"), "atlas.lan", 22, A),
            Judgement::Unknown,
            "{names}"
        );
    }
}

#[test]
fn a_port_other_than_22_is_part_of_the_name() {
    for names in ["[atlas.lan]:2222", HASHED_WITH_PORT] {
        assert_eq!(
            judge(&format!("{names} {A}\n"), "atlas.lan", 2222, A),
            Judgement::Known
        );
        assert_eq!(
            judge(&format!("{names} {A}\n"), "atlas.lan", 2223, A),
            Judgement::Unknown
        );
    }
}

#[test]
fn a_key_known_without_a_port_is_good_at_any_port_and_another_one_is_unknown_there() {
    let file = format!("atlas.lan {A}\n");
    assert_eq!(judge(&file, "atlas.lan", 2222, A), Judgement::Known);
    assert_eq!(judge(&file, "atlas.lan", 2222, B), Judgement::Unknown);
}

#[test]
fn another_key_is_a_change_and_the_line_is_named() {
    let file = format!("# mine\n\natlas.lan {ECDSA}\natlas.lan {A}\n");
    assert_eq!(
        line(&judge(&file, "atlas.lan", 22, B)),
        Some(4),
        "the line of the same type"
    );
    assert_eq!(judge(&file, "atlas.lan", 22, ECDSA), Judgement::Known);
}

#[test]
fn a_key_of_a_type_that_is_not_known_is_a_change_too() {
    let judgement = judge(&format!("atlas.lan {ECDSA}\n"), "atlas.lan", 22, A);
    assert_eq!(line(&judgement), Some(1), "{judgement:?}");
}

#[test]
fn a_revoked_key_is_refused_even_where_it_is_also_known() {
    let file = format!("atlas.lan {A}\n@revoked * {A}\n");
    let judgement = judge(&file, "atlas.lan", 22, A);
    assert!(matches!(judgement, Judgement::Revoked(_)), "{judgement:?}");
    assert_eq!(line(&judgement), Some(2));
}

#[test]
fn an_authority_vouches_for_the_names_and_the_time_of_its_certificates() {
    let file = known(&format!("@cert-authority *.lan {AUTHORITY}\n"));
    let certificate = || {
        PublicKeyOrCertificate::Certificate(Certificate::from_openssh(CERTIFICATE).expect("a certificate"))
    };
    assert!(file.has_authority("atlas.lan", 22));
    assert!(
        file.algorithms("atlas.lan", 22).is_empty(),
        "an authority is not a host key"
    );
    assert_eq!(file.judge("atlas.lan", 22, &certificate(), NOW), Judgement::Known);
    assert_eq!(
        file.judge("zeus.lan", 22, &certificate(), NOW),
        Judgement::Unknown,
        "not its name"
    );
    assert_eq!(
        file.judge("atlas.lan", 22, &certificate(), 2 * NOW),
        Judgement::Unknown,
        "out of date"
    );
    let stranger = known(&format!("@cert-authority *.lan {B}\n"));
    assert_eq!(
        stranger.judge("atlas.lan", 22, &certificate(), NOW),
        Judgement::Unknown,
        "not its authority"
    );
    let revoked = known(&format!(
        "@cert-authority *.lan {AUTHORITY}\n@revoked * {AUTHORITY}\n"
    ));
    assert!(matches!(
        revoked.judge("atlas.lan", 22, &certificate(), NOW),
        Judgement::Revoked(_)
    ));
}

#[test]
fn known_types_are_offered_in_the_order_of_the_file() {
    let file = known(&format!("atlas.lan {ECDSA}\natlas.lan {A}\natlas.lan {B}\n"));
    let types: Vec<String> = file
        .algorithms("atlas.lan", 22)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(types, ["ecdsa-sha2-nistp256", "ssh-ed25519"]);
}

#[test]
fn lines_that_make_no_sense_and_markers_of_the_future_give_no_trust() {
    let file =
        format!("atlas.lan\n|1|x|y {A}\n@trusted atlas.lan {A}\natlas.lan ssh-ed25519 AAAA\n@revoked\n");
    assert_eq!(judge(&file, "atlas.lan", 22, A), Judgement::Unknown);
}

#[test]
fn an_added_key_is_known_from_then_on_and_the_file_is_private() {
    let home = tempfile::tempdir().expect("a home");
    let path = home.path().join(".ssh/known_hosts");
    append(&path, "Atlas.lan", 2222, &key(A)).expect("added");
    append(&path, "zeus.lan", 22, &key(B)).expect("added");
    let text = std::fs::read_to_string(&path).expect("the file");
    assert_eq!(text, format!("[atlas.lan]:2222 {A}\nzeus.lan {B}\n"));
    let file = KnownHosts::load(std::slice::from_ref(&path)).expect("readable");
    assert_eq!(file.judge("atlas.lan", 2222, &shown(A), NOW), Judgement::Known);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| std::fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().expect("a folder")), 0o700);
    }
}

#[test]
fn a_last_line_without_a_newline_is_not_glued_to_the_added_one() {
    let home = tempfile::tempdir().expect("a home");
    let path = home.path().join("known_hosts");
    std::fs::write(&path, format!("zeus.lan {B}")).expect("a file");
    append(&path, "atlas.lan", 22, &key(A)).expect("added");
    let file = KnownHosts::load(&[path]).expect("readable");
    assert_eq!(file.judge("zeus.lan", 22, &shown(B), NOW), Judgement::Known);
    assert_eq!(file.judge("atlas.lan", 22, &shown(A), NOW), Judgement::Known);
}

#[test]
fn fingerprints_are_those_of_ssh_keygen() {
    assert_eq!(fingerprint(&key(A)), FINGERPRINT_OF_A);
}

proptest! {
    #[test]
    fn no_line_makes_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse_line(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_line_that_looks_right_makes_it_panic(
        line in "(@revoked |@cert-authority |@x )?([a-z*!.,\\[\\]:]{0,20}|\\|1\\|[A-Za-z0-9+/=]{0,12}\\|[A-Za-z0-9+/=]{0,12}) ssh-[a-z0-9]{1,10} [A-Za-z0-9+/=]{0,80}",
    ) {
        let _ = judge(&line, "atlas.lan", 22, A);
    }

    #[test]
    fn only_the_same_key_is_known(host in "[a-z]{1,12}", port in 1_u16..) {
        let file = format!("{} {A}\n", written_name(&host, port));
        prop_assert_eq!(judge(&file, &host, port, A), Judgement::Known);
        let is_changed = matches!(judge(&file, &host, port, B), Judgement::Changed(_));
        prop_assert!(is_changed);
    }
}
