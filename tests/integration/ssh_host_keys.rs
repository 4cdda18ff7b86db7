//! Host keys: unknown ones wait for a yes, changed ones are refused, against a real sshd.

use api::client::ssh::{SshError, SshOptions, SshTarget, connect};
use support::{Desktop, KeyKind, Machine, Place, SshKey, SshServer, SshServerOptions};

/// A server, the desktop's key authorized there, and nothing known about it yet.
fn scene(host_keys: &[KeyKind]) -> (Desktop, Machine, SshServer, SshServerOptions) {
    let desktop = Desktop::new().expect("a desktop");
    let key = SshKey::make(&desktop.ssh_path("id_ed25519"), KeyKind::Ed25519, "").expect("a key");
    let machine = Machine::new().expect("a machine");
    let options = SshServerOptions {
        host_keys: host_keys.to_vec(),
        authorized: vec![key.public],
        ..SshServerOptions::default()
    };
    let server = SshServer::start(Place::Machine(&machine), &options).expect("an SSH server");
    (desktop, machine, server, options)
}

#[tokio::test]
async fn an_unknown_key_waits_for_a_yes_and_is_known_from_then_on() {
    let (desktop, machine, server, _) = scene(&[KeyKind::Ed25519]);
    let target = Desktop::target(machine.address().to_string());
    let shown = match connect(&target, &desktop.options()).await {
        Err(SshError::HostKeyUnknown {
            address,
            key_type,
            fingerprint,
        }) => {
            assert_eq!(address, format!("{}:22", machine.address()));
            assert_eq!(key_type, "ssh-ed25519");
            fingerprint
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(shown, server.host_keys[0].fingerprint().expect("a fingerprint"));
    assert!(
        !desktop.ssh_path("known_hosts").exists(),
        "nothing is learnt without a yes"
    );

    let other_print = SshOptions {
        accepted_fingerprint: Some("SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".into()),
        ..desktop.options()
    };
    let error = connect(&target, &other_print)
        .await
        .expect_err("another key was accepted");
    assert!(matches!(error, SshError::HostKeyUnknown { .. }), "{error:?}");

    let accepted = SshOptions {
        accepted_fingerprint: Some(shown),
        ..desktop.options()
    };
    connect(&target, &accepted).await.expect("accepted");
    connect(&target, &desktop.options()).await.expect("known by now");
}

#[tokio::test]
async fn a_changed_key_is_refused_even_with_a_yes() {
    let (desktop, machine, server, options) = scene(&[KeyKind::Ed25519]);
    let target = Desktop::target(machine.address().to_string());
    desktop
        .know(&machine.address().to_string(), &server)
        .expect("known");
    connect(&target, &desktop.options()).await.expect("known");

    drop(server);
    let server = SshServer::start(Place::Machine(&machine), &options).expect("another SSH server");
    let fingerprint = server.host_keys[0].fingerprint().expect("a fingerprint");
    let with_a_yes = SshOptions {
        accepted_fingerprint: Some(fingerprint.clone()),
        ..desktop.options()
    };
    for options in [desktop.options(), with_a_yes] {
        match connect(&target, &options).await {
            Err(error @ SshError::HostKeyChanged { .. }) => {
                let told = error.to_api();
                assert_eq!(told.code, api::ErrorCode::HostKeyChanged);
                assert!(told.message.contains(&fingerprint), "{told}");
                let place = format!("{}:1", desktop.ssh_path("known_hosts").display());
                assert_eq!(told.details["known_hosts_line"], place.as_str().into());
                assert!(error.needs_a_person());
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_server_with_several_keys_shows_the_one_that_is_known() {
    let (desktop, machine, server, _) = scene(&[KeyKind::Ed25519, KeyKind::Rsa, KeyKind::Ecdsa256]);
    for key in &server.host_keys {
        let line = format!("{} {}\n", machine.address(), key.public);
        desktop.write_ssh("known_hosts", &line).expect("a file");
        connect(
            &Desktop::target(machine.address().to_string()),
            &desktop.options(),
        )
        .await
        .unwrap_or_else(|err| panic!("{}: {err:?}", key.public));
    }
}

#[tokio::test]
async fn a_server_that_shows_only_a_key_of_another_type_counts_as_changed() {
    let (desktop, machine, _server, _) = scene(&[KeyKind::Ed25519]);
    let other = SshKey::make(&desktop.ssh_path("other"), KeyKind::Ecdsa256, "").expect("a key");
    let line = format!("{} {}\n", machine.address(), other.public);
    desktop.write_ssh("known_hosts", &line).expect("a file");
    let error = connect(
        &Desktop::target(machine.address().to_string()),
        &desktop.options(),
    )
    .await
    .expect_err("changed");
    assert!(matches!(error, SshError::HostKeyChanged { .. }), "{error:?}");
}

#[tokio::test]
async fn a_revoked_key_is_refused_even_with_a_yes() {
    let (desktop, machine, server, _) = scene(&[KeyKind::Ed25519]);
    let line = format!("@revoked * {}\n", server.host_keys[0].public);
    desktop.write_ssh("known_hosts", &line).expect("a file");
    let options = SshOptions {
        accepted_fingerprint: Some(server.host_keys[0].fingerprint().expect("a fingerprint")),
        ..desktop.options()
    };
    let error = connect(&Desktop::target(machine.address().to_string()), &options)
        .await
        .expect_err("revoked");
    assert!(matches!(error, SshError::HostKeyRevoked { .. }), "{error:?}");
}

#[tokio::test]
async fn an_authority_that_is_known_vouches_for_a_machine_never_seen_before() {
    let (desktop, machine, server, options) = scene(&[KeyKind::Ed25519]);
    let authority = SshKey::make(&desktop.ssh_path("authority"), KeyKind::Ecdsa256, "").expect("a key");
    let address = machine.address().to_string();
    for (name, good) in [(address.as_str(), true), ("another.example", false)] {
        let host_key = &server.host_keys[0].path;
        let mut sign = std::process::Command::new("ssh-keygen");
        sign.arg("-q").arg("-s").arg(&authority.path);
        sign.args(["-I", "machine", "-h", "-n", name, "-V", "-1h:+1h"])
            .arg(host_key);
        support::run(&mut sign).expect("a certificate");
        let certified = SshServerOptions {
            port: 2222,
            config: format!("HostCertificate {}-cert.pub", host_key.display()),
            ..options.clone()
        };
        let line = format!("@cert-authority [{address}]:2222 {}\n", authority.public);
        desktop.write_ssh("known_hosts", &line).expect("a file");
        let second = support::SshServer::start_beside(Place::Machine(&machine), &certified, &server)
            .expect("a second SSH server");
        let target = SshTarget {
            port: Some(2222),
            ..Desktop::target(address.clone())
        };
        match (connect(&target, &desktop.options()).await, good) {
            (Ok(_), true) | (Err(SshError::HostKeyUnknown { .. }), false) => {}
            (other, _) => panic!("{name}: {other:?}\n{}", second.log()),
        }
    }
}
