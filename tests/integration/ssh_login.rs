//! Every way to log in, against a real sshd.

use api::client::ssh::{SshError, SshOptions, SshSession, SshTarget, connect};
use support::{
    Desktop, KeyKind, Machine, PASSWORD, Place, SshAgent, SshKey, SshServer, SshServerOptions, USER,
};

/// A machine with an SSH server that the desktop knows already.
struct Scene {
    desktop: Desktop,
    machine: Machine,
    server: SshServer,
}

fn scene(options: &SshServerOptions) -> Scene {
    let machine = Machine::new().expect("a machine");
    let server = SshServer::start(Place::Machine(&machine), options).expect("an SSH server");
    let desktop = Desktop::new().expect("a desktop");
    desktop
        .know(&machine.address().to_string(), &server)
        .expect("known");
    Scene {
        desktop,
        machine,
        server,
    }
}

impl Scene {
    fn target(&self) -> SshTarget {
        Desktop::target(self.machine.address().to_string())
    }

    async fn connect(&self, options: &SshOptions) -> Result<SshSession, SshError> {
        connect(&self.target(), options).await
    }
}

/// Options for the user that has a password.
fn with_password(desktop: &Desktop, password: &str) -> SshOptions {
    SshOptions {
        local_user: USER.into(),
        password: Some(password.to_owned().into()),
        ..desktop.options()
    }
}

fn password_server() -> SshServerOptions {
    SshServerOptions {
        config: "PasswordAuthentication yes".into(),
        ..SshServerOptions::default()
    }
}

#[tokio::test]
async fn every_kind_of_key_in_every_format_logs_in() {
    let desktop = Desktop::new().expect("a desktop");
    let keys: Vec<SshKey> = KeyKind::ALL
        .iter()
        .map(|&kind| SshKey::make(&desktop.ssh_path(&format!("{kind:?}")), kind, "").expect("a key"))
        .collect();
    let scene = scene(&SshServerOptions {
        authorized: keys.iter().map(|key| key.public.clone()).collect(),
        ..SshServerOptions::default()
    });
    for key in keys {
        let target = SshTarget {
            identity_file: Some(key.path.clone()),
            ..scene.target()
        };
        let session = connect(&target, &scene.desktop.options()).await;
        session.unwrap_or_else(|err| panic!("{}: {err:?}\n{}", key.path.display(), scene.server.log()));
    }
}

#[tokio::test]
async fn default_keys_are_tried_without_being_named() {
    let scene = scene(&SshServerOptions::default());
    let key = SshKey::make(&scene.desktop.ssh_path("id_ed25519"), KeyKind::Ed25519, "").expect("a key");
    let options = SshServerOptions {
        authorized: vec![key.public],
        ..SshServerOptions::default()
    };
    let place = Place::Machine(&scene.machine);
    let _server = scene.server.start_again(place, &options).expect("an SSH server");
    let target = Desktop::target(scene.machine.address().to_string());
    connect(&target, &scene.desktop.options())
        .await
        .expect("logged in");
}

#[tokio::test]
async fn an_encrypted_key_asks_for_its_passphrase_and_tells_a_wrong_one_apart() {
    let desktop = Desktop::new().expect("a desktop");
    let kinds = [
        KeyKind::Ed25519,
        KeyKind::Ecdsa256SmallSecret,
        KeyKind::Ecdsa521Pkcs8,
        KeyKind::RsaPem,
    ];
    for (index, kind) in kinds.into_iter().enumerate() {
        let path = desktop.ssh_path(&format!("key{index}"));
        let key = SshKey::make(&path, kind, "open sesame").expect("a key");
        let scene = scene(&SshServerOptions {
            authorized: vec![key.public.clone()],
            ..SshServerOptions::default()
        });
        let target = SshTarget {
            identity_file: Some(path.clone()),
            ..scene.target()
        };
        for (passphrase, wrong) in [(None, false), (Some("open barley"), true)] {
            let options = SshOptions {
                passphrase: passphrase.map(|text| text.to_owned().into()),
                ..scene.desktop.options()
            };
            match connect(&target, &options).await {
                Err(SshError::PassphraseNeeded { path: asked, refused }) => {
                    assert_eq!((asked, refused), (path.clone(), wrong), "{kind:?}");
                }
                other => panic!("{kind:?} with {passphrase:?}: {other:?}"),
            }
        }
        let options = SshOptions {
            passphrase: Some("open sesame".to_owned().into()),
            ..scene.desktop.options()
        };
        connect(&target, &options)
            .await
            .unwrap_or_else(|err| panic!("{kind:?}: {err:?}"));
    }
}

#[tokio::test]
async fn no_passphrase_is_asked_for_a_key_that_the_server_does_not_want() {
    let scene = scene(&SshServerOptions::default());
    let path = scene.desktop.ssh_path("id_ed25519");
    SshKey::make(&path, KeyKind::Ed25519, "open sesame").expect("a key");
    let error = scene
        .connect(&scene.desktop.options())
        .await
        .expect_err("refused");
    assert!(
        matches!(error, SshError::AuthenticationFailed { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn the_ssh_agent_signs_for_keys_whose_files_stay_closed() {
    let desktop = Desktop::new().expect("a desktop");
    let agent = SshAgent::start().expect("an ssh-agent");
    for kind in [KeyKind::Rsa, KeyKind::Ecdsa256, KeyKind::Ed25519] {
        let key = SshKey::make(&desktop.ssh_path(&format!("{kind:?}")), kind, "").expect("a key");
        agent.add(&key).expect("added");
        let scene = scene(&SshServerOptions {
            authorized: vec![key.public],
            ..SshServerOptions::default()
        });
        let options = SshOptions {
            agent_socket: Some(agent.socket().to_owned()),
            ..scene.desktop.options()
        };
        scene
            .connect(&options)
            .await
            .unwrap_or_else(|err| panic!("{kind:?}: {err:?}"));
        let without = scene.connect(&scene.desktop.options()).await;
        assert!(
            matches!(without, Err(SshError::AuthenticationFailed { .. })),
            "{without:?}"
        );
    }
}

#[tokio::test]
async fn with_identities_only_the_ssh_agent_offers_no_other_key() {
    let desktop = Desktop::new().expect("a desktop");
    let agent = SshAgent::start().expect("an ssh-agent");
    let key = SshKey::make(&desktop.ssh_path("other"), KeyKind::Ed25519, "").expect("a key");
    agent.add(&key).expect("added");
    let scene = scene(&SshServerOptions {
        authorized: vec![key.public],
        ..SshServerOptions::default()
    });
    scene
        .desktop
        .write_ssh("config", "IdentitiesOnly yes\n")
        .expect("a file");
    let options = SshOptions {
        agent_socket: Some(agent.socket().to_owned()),
        ..scene.desktop.options()
    };
    let error = scene.connect(&options).await.expect_err("refused");
    assert!(
        matches!(error, SshError::AuthenticationFailed { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_password_logs_in_and_a_wrong_one_is_told_apart_from_none() {
    let scene = scene(&password_server());
    scene
        .connect(&with_password(&scene.desktop, PASSWORD))
        .await
        .expect("logged in");
    let wrong = scene.connect(&with_password(&scene.desktop, "wrong")).await;
    let none = SshOptions {
        password: None,
        ..with_password(&scene.desktop, "")
    };
    let none = scene.connect(&none).await;
    for (result, expected) in [(wrong, true), (none, false)] {
        match result {
            Err(SshError::AuthenticationFailed {
                user,
                password_possible,
                password_refused,
                ..
            }) => {
                assert_eq!(user, USER);
                assert!(password_possible);
                assert_eq!(password_refused, expected);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_server_without_passwords_is_never_sent_one() {
    let scene = scene(&SshServerOptions::default());
    let error = scene
        .connect(&with_password(&scene.desktop, PASSWORD))
        .await
        .expect_err("refused");
    match error {
        SshError::AuthenticationFailed {
            password_possible,
            password_refused,
            tried,
            ..
        } => {
            assert!(!password_possible && !password_refused);
            assert_eq!(tried, Vec::<String>::new());
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn questions_of_a_keyboard_interactive_login_are_answered_with_the_password() {
    let scene = scene(&SshServerOptions {
        config: "UsePAM yes\nKbdInteractiveAuthentication yes\nPasswordAuthentication no".into(),
        ..SshServerOptions::default()
    });
    let session = scene.connect(&with_password(&scene.desktop, PASSWORD)).await;
    session.unwrap_or_else(|err| panic!("{err:?}\n{}", scene.server.log()));
}

#[tokio::test]
async fn a_server_that_wants_a_key_and_a_password_gets_both() {
    let desktop = Desktop::new().expect("a desktop");
    let key = SshKey::make(&desktop.ssh_path("key"), KeyKind::Ed25519, "").expect("a key");
    let scene = scene(&SshServerOptions {
        authorized: vec![key.public],
        config: "PasswordAuthentication yes\nAuthenticationMethods publickey,password".into(),
        ..SshServerOptions::default()
    });
    let target = SshTarget {
        identity_file: Some(key.path),
        ..scene.target()
    };
    connect(&target, &with_password(&scene.desktop, PASSWORD))
        .await
        .expect("logged in");
    let without = SshOptions {
        password: None,
        ..with_password(&scene.desktop, "")
    };
    match connect(&target, &without).await {
        Err(SshError::AuthenticationFailed {
            password_possible: true,
            ..
        }) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_key_that_a_person_named_must_be_there_and_be_a_key() {
    let scene = scene(&SshServerOptions::default());
    scene
        .desktop
        .write_ssh("letter", "Dear machine, let me in.")
        .expect("a file");
    let named = |name: &str| SshTarget {
        identity_file: Some(scene.desktop.ssh_path(name)),
        ..scene.target()
    };
    let options = scene.desktop.options();
    let missing = connect(&named("missing"), &options).await.expect_err("missing");
    assert!(matches!(missing, SshError::ReadFile { .. }), "{missing:?}");
    let letter = connect(&named("letter"), &options).await.expect_err("no key");
    assert!(matches!(letter, SshError::BadKey { .. }), "{letter:?}");
}

#[tokio::test]
async fn jump_hosts_are_gone_through_and_each_key_is_checked() {
    let desktop = Desktop::new().expect("a desktop");
    let key = SshKey::make(&desktop.ssh_path("id_ed25519"), KeyKind::Ed25519, "").expect("a key");
    let options = SshServerOptions {
        authorized: vec![key.public],
        ..SshServerOptions::default()
    };
    let gate = Machine::new().expect("a machine");
    let gate_server = SshServer::start(Place::Machine(&gate), &options).expect("an SSH server");
    // Only from the gate itself can these be reached: they listen on its loopback.
    let behind = |port| SshServerOptions {
        port,
        listen: "127.0.0.1",
        ..options.clone()
    };
    let inner = SshServer::start(Place::Machine(&gate), &behind(2201)).expect("an SSH server");
    let innermost = SshServer::start(Place::Machine(&gate), &behind(2202)).expect("an SSH server");
    let config = format!(
        "Host gate\n HostName {}\nHost inner\n HostName 127.0.0.1\n Port 2201\n ProxyJump gate\n\
         Host innermost\n HostName 127.0.0.1\n Port 2202\n ProxyJump gate,inner\n",
        gate.address()
    );
    desktop.write_ssh("config", &config).expect("a file");
    desktop
        .know(&gate.address().to_string(), &gate_server)
        .expect("known");
    desktop.know("[127.0.0.1]:2201", &inner).expect("known");

    connect(&Desktop::target("inner"), &desktop.options())
        .await
        .expect("through one");
    match connect(&Desktop::target("innermost"), &desktop.options()).await {
        Err(SshError::HostKeyUnknown { address, .. }) => assert_eq!(address, "127.0.0.1:2202"),
        other => panic!("{other:?}"),
    }
    desktop.know("[127.0.0.1]:2202", &innermost).expect("known");
    let session = connect(&Desktop::target("innermost"), &desktop.options())
        .await
        .expect("through two");
    assert_eq!(session.address(), "127.0.0.1:2202");
}
