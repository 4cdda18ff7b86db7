//! `host-runner pool dump` over real SSH servers: several machines, one document.

use std::process::{Command, Output};

use pool::inventory::Inventory;
use support::{
    AgentOptions, AgentProcess, Desktop, KeyKind, Machine, Place, SshKey, SshServer, SshServerOptions,
};

/// A machine with an agent, and the way to it.
struct Remote {
    // Dropped in this order: the machine goes last.
    server: SshServer,
    _agent: AgentProcess,
    machine: Machine,
}

impl Remote {
    fn start(key: &SshKey) -> Self {
        let machine = Machine::new().expect("a machine");
        let place = Place::Machine(&machine);
        let program = support::host_runner().expect("a built agent");
        machine.install(&program).expect("installed");
        let agent = AgentProcess::start(place, AgentOptions::default()).expect("an agent");
        let options = SshServerOptions {
            authorized: vec![key.public.clone()],
            ..SshServerOptions::default()
        };
        let server = SshServer::start(place, &options).expect("an SSH server");
        Self {
            server,
            _agent: agent,
            machine,
        }
    }

    fn address(&self) -> String {
        format!("root@{}", self.machine.address())
    }
}

/// Runs the program as that desktop's owner does.
fn dump(desktop: &Desktop, machines: &[&Remote]) -> Output {
    let ssh = desktop.ssh_path("");
    let mut command = Command::new(support::host_runner().expect("a built program"));
    command
        .args(["pool", "dump"])
        .env("HOME", ssh.parent().expect("a home"))
        .env_remove("SSH_AUTH_SOCK");
    for remote in machines {
        command.arg("--machine").arg(remote.address());
    }
    command.output().expect("it runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn several_machines_are_read_over_ssh_and_written_as_one_pool() {
    let desktop = Desktop::new().expect("a desktop");
    let key = SshKey::make(&desktop.ssh_path("id_ed25519"), KeyKind::Ed25519, "").expect("a key");
    let (first, second) = (Remote::start(&key), Remote::start(&key));

    // Nobody is asked anything: an unknown host key is an error that says what to do.
    let refused = dump(&desktop, &[&first, &second]);
    assert_eq!(refused.status.code(), Some(1));
    let words = said(&refused);
    assert!(words.contains("host key that is not known yet"), "{words}");
    assert!(words.contains("connect with `ssh` once"), "{words}");
    assert!(words.contains("none of the machines could be read"), "{words}");

    for remote in [&first, &second] {
        let address = remote.machine.address().to_string();
        desktop.know(&address, &remote.server).expect("known");
    }
    // A machine that is named twice is in the pool once.
    let written = dump(&desktop, &[&first, &second, &first]);
    assert!(written.status.success(), "{}", said(&written));
    let text = String::from_utf8(written.stdout).expect("text");
    let inventory = Inventory::from_json(&text).expect("an inventory");
    assert_eq!(inventory.machines.len(), 2, "{text}");
    assert!(inventory.machines.iter().all(|machine| machine.usage.is_some()));
}
