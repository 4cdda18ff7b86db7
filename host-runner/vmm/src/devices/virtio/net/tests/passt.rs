//! With the real passt, where it is installed.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use virtio_bindings::virtio_net::{VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_F_STATUS};

use super::guest::{GUEST, Guest, config, wake};
use super::namespace::{TAP, ip, with_tap};
use crate::config::NetworkBackend;
use crate::devices::virtio::net::Network;

/// passt, which ends with this.
struct Passt(Child);

impl Drop for Passt {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Starts passt, as the guest's way out through the test's namespace. `None` where it is not installed.
fn start(socket: &Path) -> Option<Passt> {
    let mut child = Command::new("passt")
        .args(["--foreground", "--stderr", "--runas", "0", "--socket"])
        .arg(socket)
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let bound = lines.any(|line| line.unwrap().contains("socket bound at"));
    assert!(bound, "passt does not start");
    // What it says later must find a reader.
    std::thread::spawn(move || lines.for_each(drop));
    Some(Passt(child))
}

/// passt says that its socket is bound just before it listens there: whoever comes in between is refused, and tries again by itself.
fn wait_for_link(network: &mut Network) {
    while !network.stats().link_up {
        wake(network);
    }
}

/// Asks who has 10.11.12.9, the way out (passt gives its guest the address of the host), until passt answers: a frame each way.
fn ask(guest: &mut Guest, network: &mut Network) {
    let mut request = vec![0xff; 6];
    request.extend(GUEST);
    request.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    request.extend(GUEST);
    request.extend([10, 11, 12, 2, 0, 0, 0, 0, 0, 0, 10, 11, 12, 9]);
    request.resize(60, 0);
    guest.send(network, &request);
    loop {
        let received = guest.received();
        // An ARP reply to this guest.
        if received.iter().any(|received| {
            received.frame.get(12..22) == Some(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 2])
                && received.frame[..6] == GUEST
        }) {
            return;
        }
        wake(network);
    }
}

#[test]
fn passt_answers_and_is_found_again_after_a_restart() {
    with_tap(|| {
        ip(&["route", "add", "default", "via", "10.11.12.9", "dev", TAP]);
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let Some(passt) = start(&socket) else {
            eprintln!("not tried: passt is not installed");
            return;
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut network = loop {
            match Network::open(&config(NetworkBackend::Stream { path: socket.clone() }), 1) {
                Ok(network) => break network,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        };
        let mut guest = Guest::new(64);
        guest.give(60, 2048);
        guest.start(
            &mut network,
            1 << VIRTIO_NET_F_MRG_RXBUF | 1 << VIRTIO_NET_F_STATUS,
        );
        wait_for_link(&mut network);
        let reconnects = network.stats().reconnects;
        ask(&mut guest, &mut network);
        drop(passt);
        while network.stats().link_up {
            wake(&mut network);
        }
        let _ = std::fs::remove_file(&socket);
        let _passt = start(&socket).unwrap();
        wait_for_link(&mut network);
        ask(&mut guest, &mut network);
        assert_eq!(network.stats().reconnects, reconnects + 1);
    });
}
