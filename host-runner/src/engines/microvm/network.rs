//! The guest's network: a `passt` of its own, which is to it what QEMU's user-mode network is to QEMU's guests.
//!
//! The agent joins the two: it listens where the monitor connects, and hands that one connection to passt as its standard input. So
//! passt needs no file of the guest's, and ends with the monitor, which holds the other end: however that ends, and whoever is there.
//!
//! A passt that ends before its guest is replaced: the monitor connects again by itself, to the same socket, on which the agent listens
//! anew. `network.json` tells the next agent which process it was and which ports it published. It is there before the monitor is: an agent
//! that dies in the middle of a launch leaves a guest whose network is yet to be made, and not one that nobody knows to lack it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use api::{EngineKind, PublishedPort};
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;
use tokio::time::{Instant, sleep};

use super::START_DEADLINE;
use super::control::control;
use super::document::NETWORK_SOCKET;
use super::introduction::introduce;
use crate::engines::limits::GuestGroup;
use crate::engines::process::{self, Process, Program};
use crate::engines::{EngineError, guest_user};
use crate::host::process_began;
use crate::instance_files::FileError;

/// What passt writes, in the runtime folder.
const LOG_FILE: &str = "passt.log";
/// How long one look waits for the monitor to connect again, which it tries every two seconds.
const COMES_BACK: Duration = Duration::from_secs(3);
/// Which passt serves the guest.
const KEPT_FILE: &str = "network.json";
/// How long a network that was just mended is left alone where it fails again: a passt that cannot live is not started all day.
const MEND_AGAIN: Duration = Duration::from_secs(5);
/// How long a port may still be served by whoever had it before.
const PORT_GRACE: Duration = Duration::from_secs(2);
/// How often a starting passt is looked at.
const START_POLL: Duration = Duration::from_millis(10);

/// The addresses that QEMU's user-mode network has: a guest finds the same network on both engines.
const GUEST: &str = "10.0.2.15";
const PREFIX_BITS: &str = "24";
const GATEWAY: &str = "10.0.2.2";
const GATEWAY_MAC: &str = "52:55:0a:00:02:02";

/// The guest's network, for as long as the guest lives.
#[derive(Debug)]
pub struct Network {
    folder: PathBuf,
    /// Absent once it has ended.
    passt: Option<Process>,
    ports: Vec<PublishedPort>,
    /// Where the monitor is waited for, while passt is gone.
    listener: Option<UnixListener>,
    /// When a passt was last put in the place of another.
    mended: Option<Instant>,
}

/// What is kept of a passt, for the next agent.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// Absent until there is one.
    pid: Option<u32>,
    /// When the process began: another one may have the number by now.
    began_ticks: Option<u64>,
    ports: Vec<PublishedPort>,
}

impl Kept {
    /// Of a passt that has just been made. One that is not written down is one that the next agent takes for none: it waits for the monitor,
    /// which has no need to come.
    fn passt(process: &Process, ports: &[PublishedPort]) -> Self {
        Self {
            pid: Some(process.pid()),
            began_ticks: process_began(process.pid()),
            ports: ports.to_vec(),
        }
    }

    fn write(&self, folder: &Path) -> Result<(), FileError> {
        // Numbers always make JSON.
        let text = serde_json::to_vec(self).unwrap_or_default();
        super::write_private(&folder.join(KEPT_FILE), &text)
    }
}

/// Notes which ports a guest that is about to be launched is to have, for an agent that finds it without its network.
pub fn announce(folder: &Path, ports: &[PublishedPort]) -> Result<(), FileError> {
    let kept = Kept {
        ports: ports.to_vec(),
        ..Kept::default()
    };
    kept.write(folder)
}

impl Network {
    /// The network of a guest that was just launched.
    pub fn new(folder: &Path, passt: Process, ports: &[PublishedPort]) -> Self {
        Self {
            folder: folder.to_owned(),
            passt: Some(passt),
            ports: ports.to_vec(),
            listener: None,
            mended: None,
        }
    }

    /// The network of a guest that an earlier agent launched; `None` where that left no word of it, or where the system does not let this one
    /// see what it left (`hidepid`, proc(5)): then it is let be.
    pub fn adopt(folder: &Path) -> Option<Self> {
        let text = fs::read_to_string(folder.join(KEPT_FILE)).ok()?;
        let kept: Kept = serde_json::from_str(&text).ok()?;
        // The descriptor first, the question second: the process that is asked about is then the one that is held.
        let found = kept.pid.and_then(|pid| Process::open(pid).ok());
        let began = found.as_ref().and_then(|passt| process_began(passt.pid()));
        let passt = match found {
            Some(passt) if began.is_none() && !passt.has_ended() => return None,
            found => found.filter(|_| began.is_some() && began == kept.began_ticks),
        };
        Some(Self {
            folder: folder.to_owned(),
            passt,
            ports: kept.ports,
            listener: None,
            mended: None,
        })
    }

    /// Whether passt is there.
    pub fn is_up(&self) -> bool {
        self.passt.is_some()
    }

    /// Whether passt is at work now: one that has just ended is not.
    pub fn has_passt(&self) -> bool {
        self.passt.as_ref().is_some_and(|passt| !passt.has_ended())
    }

    /// Returns when passt has ended; never where that is known. Safe to cancel.
    pub async fn ended(&self) {
        match &self.passt {
            Some(passt) => passt.ended().await,
            None => std::future::pending().await,
        }
    }

    /// Puts another passt in the place of one that has ended. Gives the monitor a moment to come; where it does not, the next look goes on.
    pub async fn mend(&mut self, passt: &Path, group: &GuestGroup) -> Result<(), EngineError> {
        if self.has_passt() {
            return Ok(());
        }
        self.passt = None;
        if self.mended.is_some_and(|mended| mended.elapsed() < MEND_AGAIN) {
            return Ok(());
        }
        let listener = match self.listener.take() {
            Some(listener) => listener,
            None => listen(&self.folder)?,
        };
        let Ok(connected) = tokio::time::timeout(COMES_BACK, listener.accept()).await else {
            self.listener = Some(listener);
            return Ok(());
        };
        let failed = |err| control("connect its guest's network", err);
        let (mut connection, _) = connected.map_err(failed)?;
        introduce(&mut connection).await.map_err(failed)?;
        let connection = connection.into_std().map_err(failed)?;
        self.mended = Some(Instant::now());
        self.passt = Some(join(passt, &self.folder, connection, &self.ports, group).await?);
        Ok(())
    }
}

/// Listens where the monitor will connect; a socket that an earlier launch left behind goes.
///
/// The monitor may have become another user by the time that it connects again. It is in this folder, which is nobody else's: it gets
/// the socket, and may pass through the folder, where all else is the agent's alone.
pub fn listen(folder: &Path) -> Result<UnixListener, EngineError> {
    let socket = folder.join(NETWORK_SOCKET);
    process::remove_if_there(&socket)?;
    let failed = |err| control("listen for its guest's network", err);
    let listener = UnixListener::bind(&socket).map_err(failed)?;
    if let Some(user) = guest_user() {
        std::os::unix::fs::chown(&socket, Some(user.uid), Some(user.gid)).map_err(failed)?;
        std::os::unix::fs::chown(folder, None, Some(user.gid)).map_err(failed)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o710)).map_err(failed)?;
    }
    Ok(listener)
}

/// Makes passt serve the connection, and waits until it does, with the ports published.
///
/// # Errors
/// [`EngineError::PortTaken`] where somebody else listens on one of them, and passt's own.
pub async fn join(
    passt: &Path,
    folder: &Path,
    connection: UnixStream,
    ports: &[PublishedPort],
    group: &GuestGroup,
) -> Result<Process, EngineError> {
    // passt waits with epoll, and expects of its end no more than QEMU's side gives it: a socket that may block.
    connection
        .set_nonblocking(false)
        .map_err(|err| control("connect its guest's network", err))?;
    ports_are_free(ports).await?;
    let log = folder.join(LOG_FILE);
    let program = Program {
        engine: EngineKind::Microvm,
        path: passt,
        arguments: &arguments(ports, has_default_route()),
        folder,
        stderr: &log,
        group,
    };
    let mut process = process::start(&program, Stdio::from(OwnedFd::from(connection)))?;
    // At once: an agent that dies while passt starts leaves one that serves.
    if let Err(error) = Kept::passt(&process, ports).write(folder) {
        tracing::warn!(%error, "which passt serves the guest is not written down");
    }
    let started = Instant::now();
    // In this order: one that has ended has not come so far, whoever listens there.
    while process.has_ended()
        || !is_confined(process.pid()).unwrap_or(true)
        || !ports.iter().all(|port| is_served(port.host))
    {
        if process.has_ended() {
            return Err(refusal(&process::tail(&log), process.ending(), ports));
        }
        if started.elapsed() > START_DEADLINE {
            let _ends_with_its_connection = process.kill();
            return Err(EngineError::TimedOut {
                engine: EngineKind::Microvm,
                operation: "start its guest's network",
                deadline_ms: u32::try_from(START_DEADLINE.as_millis()).unwrap_or(u32::MAX),
            });
        }
        sleep(START_POLL).await;
    }
    Ok(process)
}

/// Waits until nobody listens on the ports: the passt of the guest's last run may be about to end. Whoever stays would be taken for the new
/// passt.
async fn ports_are_free(ports: &[PublishedPort]) -> Result<(), EngineError> {
    let started = Instant::now();
    while let Some(taken) = ports.iter().find(|port| is_served(port.host)) {
        if started.elapsed() > PORT_GRACE {
            return Err(EngineError::PortTaken { port: taken.host });
        }
        sleep(START_POLL).await;
    }
    Ok(())
}

/// Why passt did not start; a port that it could not have is told apart.
fn refusal(log: &str, ending: String, ports: &[PublishedPort]) -> EngineError {
    let complaint = log.lines().find(|line| line.contains("Failed to bind"));
    let taken = complaint.and_then(|line| {
        let hosts = ports.iter().map(|port| port.host);
        hosts.into_iter().find(|host| line.contains(&format!("/{host}:")))
    });
    match taken {
        Some(port) => EngineError::PortTaken { port },
        None => EngineError::Network {
            ending,
            log: log.to_owned(),
        },
    }
}

fn arguments(ports: &[PublishedPort], online: bool) -> Vec<OsString> {
    let mut line: Vec<OsString> = ["--foreground", "--quiet", "--stderr", "--ipv4-only"]
        .map(Into::into)
        .into();
    let mut pair = |flag: &str, value: &str| line.extend([flag.into(), value.into()]);
    pair("--fd", "0");
    pair("--address", GUEST);
    pair("--netmask", PREFIX_BITS);
    pair("--gateway", GATEWAY);
    pair("--mac-addr", GATEWAY_MAC);
    if !online {
        // Without a default route passt finds no interface to take after, and ends. Guests are still reached from here.
        pair("--interface", "lo");
    }
    for PublishedPort { guest, host } in ports {
        pair("--tcp-ports", &format!("127.0.0.1/{host}:{guest}"));
    }
    line
}

/// Whether the machine has a way to elsewhere.
fn has_default_route() -> bool {
    fs::read_to_string("/proc/net/route").is_ok_and(|table| names_default_route(&table))
}

fn names_default_route(table: &str) -> bool {
    table
        .lines()
        .skip(1)
        .any(|line| line.split_whitespace().nth(1) == Some("00000000"))
}

/// Whether a passt has given itself a filter of system calls: the last step before it serves its guest, behind the binding of its ports.
/// `None` where the system hides it, which it does from other users (`hidepid`), and in that same step from its own: passt is not
/// dumpable from then on.
fn is_confined(pid: u32) -> Option<bool> {
    let status = |process: &str| fs::read_to_string(format!("/proc/{process}/status")).ok();
    has_more_filters(&status(&pid.to_string())?, &status("self")?)
}

/// Whether a process has more filters than the one that made it, whose filters it has too.
///
/// Source: proc(5), `/proc/pid/status`.
fn has_more_filters(of_process: &str, own: &str) -> Option<bool> {
    let number = |status: &str, name: &str| {
        let mut values = status.lines().filter_map(|line| line.strip_prefix(name));
        values.next()?.trim().parse::<u32>().ok()
    };
    let filters = |status| number(status, "Seccomp_filters:");
    match (filters(of_process), filters(own)) {
        (Some(its), Some(own)) => Some(its > own),
        // Before Linux 5.9 only whether there are any is told.
        _ => number(of_process, "Seccomp:").map(|mode| mode == 2),
    }
}

/// Whether somebody listens on a port of 127.0.0.1.
fn is_served(port: u16) -> bool {
    fs::read_to_string("/proc/net/tcp").is_ok_and(|table| names_listener(&table, port))
}

/// Of the table of TCP sockets: the local address, as the kernel writes it, and the state 0A, which is LISTEN.
fn names_listener(table: &str, port: u16) -> bool {
    let wanted = format!("0100007F:{port:04X}");
    table.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next() == Some(&wanted) && fields.nth(1) == Some("0A")
    })
}

/// Waits for the monitor's connection.
pub async fn accept(listener: UnixListener) -> io::Result<UnixStream> {
    let (stream, _) = listener.accept().await?;
    stream.into_std()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::super::introduction::answer_for_test;
    use super::*;

    const PORTS: [PublishedPort; 2] = [
        PublishedPort {
            guest: 80,
            host: 8080,
        },
        PublishedPort {
            guest: 22,
            host: 2222,
        },
    ];

    #[test]
    fn ports_are_published_on_loopback_alone() {
        let line = arguments(&PORTS, true);
        let published: Vec<_> = line.windows(2).filter(|pair| pair[0] == "--tcp-ports").collect();
        assert_eq!(published[0][1], "127.0.0.1/8080:80");
        assert_eq!(published[1][1], "127.0.0.1/2222:22");
        assert!(!line.iter().any(|argument| argument == "--interface"));
    }

    #[test]
    fn a_machine_without_a_way_to_elsewhere_has_a_network_all_the_same() {
        assert!(
            arguments(&[], false)
                .windows(2)
                .any(|pair| pair[0] == "--interface" && pair[1] == "lo")
        );
        let header = "Iface\tDestination\tGateway\n";
        assert!(names_default_route(&format!(
            "{header}eth0\t00000000\t010200C0\n"
        )));
        assert!(!names_default_route(&format!(
            "{header}eth0\t000200C0\t00000000\n"
        )));
        assert!(!names_default_route(header));
    }

    #[test]
    fn a_port_that_passt_could_not_have_is_named() {
        let log = "Failed to bind any port for '-t 127.0.0.1/2222:22', exiting";
        assert!(matches!(
            refusal(log, String::new(), &PORTS),
            EngineError::PortTaken { port: 2222 }
        ));
        let other = refusal("something else", "exit code 1".into(), &PORTS);
        assert!(matches!(other, EngineError::Network { .. }), "{other}");
    }

    #[test]
    fn a_process_with_a_filter_of_its_own_is_told_from_one_that_inherited_some() {
        let status = |mode: u32, filters: u32| {
            format!(
                "Name:\tpasst\nNoNewPrivs:\t1\nSeccomp:\t{mode}\nSeccomp_filters:\t{filters}\nSpeculation:\tx\n"
            )
        };
        assert_eq!(has_more_filters(&status(0, 0), &status(0, 0)), Some(false));
        assert_eq!(has_more_filters(&status(2, 1), &status(0, 0)), Some(true));
        // In a container, whose filter all of its processes have.
        assert_eq!(has_more_filters(&status(2, 1), &status(2, 1)), Some(false));
        assert_eq!(has_more_filters(&status(2, 2), &status(2, 1)), Some(true));
        assert_eq!(has_more_filters("Seccomp:\t2\n", "Seccomp:\t0\n"), Some(true));
        assert_eq!(has_more_filters("Name:\tpasst\n", &status(0, 0)), None);
    }

    #[test]
    fn only_who_listens_on_loopback_serves_a_port() {
        let table = "  sl  local_address rem_address   st\n   0: 0100007F:1F90 00000000:0000 0A 0\n   1: 0100007F:1F91 0100007F:9999 01 0\n   2: 00000000:1F92 00000000:0000 0A 0";
        assert!(names_listener(table, 8080));
        assert!(!names_listener(table, 8081), "connected");
        assert!(!names_listener(table, 8082), "another address");
    }

    /// A guest's request for an address, as Ethernet carries it, and behind its length.
    fn discover() -> Vec<u8> {
        let mac = [0x52, 0x54, 0, 1, 2, 3];
        let mut bootp = vec![0; 300];
        bootp[..8].copy_from_slice(&[1, 1, 6, 0, 0, 0, 0x12, 0x34]);
        bootp[28..34].copy_from_slice(&mac);
        bootp[236..244].copy_from_slice(&[0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255]);
        let mut ip = vec![
            0x45, 0, 1, 72, 0, 1, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255,
        ];
        let sum: u32 = ip
            .chunks(2)
            .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
            .sum();
        let check = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
        ip[10..12].copy_from_slice(&check.to_be_bytes());
        let udp = [0, 68, 0, 67, 1, 52, 0, 0];
        let frame = [&[255; 6][..], &mac, &[8, 0], &ip, &udp, &bootp].concat();
        [&u32::try_from(frame.len()).unwrap().to_be_bytes()[..], &frame].concat()
    }

    #[tokio::test]
    async fn passt_gives_the_guest_qemus_address_publishes_its_ports_and_ends_with_its_connection() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = [api::PortRequest {
            guest: 80,
            host: None,
        }];
        let ports = crate::engines::choose_ports(&wanted, &[]).unwrap();
        let (mut guest, connection) = UnixStream::pair().unwrap();
        let process = join(
            Path::new(super::super::PASST),
            folder.path(),
            connection,
            &ports,
            &GuestGroup::default(),
        )
        .await
        .unwrap();
        assert!(is_served(ports[0].host));
        let (_other_guest, connection) = UnixStream::pair().unwrap();
        let group = GuestGroup::default();
        let second = join(
            Path::new(super::super::PASST),
            folder.path(),
            connection,
            &ports,
            &group,
        );
        let refused = second.await.unwrap_err();
        assert!(matches!(refused, EngineError::PortTaken { port } if port == ports[0].host));
        guest.write_all(&discover()).unwrap();
        guest.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut offer = [0; 4 + 14 + 20 + 8 + 20];
        guest.read_exact(&mut offer).unwrap();
        assert_eq!(offer[62..66], [10, 0, 2, 15], "the address that is offered");
        drop(guest);
        tokio::time::timeout(Duration::from_secs(10), process.ended())
            .await
            .unwrap();
        assert!(!is_served(ports[0].host));
    }
    #[tokio::test]
    async fn a_network_without_ports_is_one_only_where_passt_lives() {
        let folder = tempfile::tempdir().unwrap();
        let (_guest, connection) = UnixStream::pair().unwrap();
        let group = GuestGroup::default();
        let ends = join(Path::new("/bin/false"), folder.path(), connection, &[], &group);
        let refused = ends.await.unwrap_err();
        assert!(matches!(refused, EngineError::Network { .. }), "{refused}");
    }

    /// An agent that dies in the middle of a launch: the monitor may be there, and its network is not.
    #[tokio::test]
    async fn a_network_that_was_announced_and_not_made_is_made_by_the_next_agent() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = [api::PortRequest {
            guest: 80,
            host: None,
        }];
        let ports = crate::engines::choose_ports(&wanted, &[]).unwrap();
        assert!(Network::adopt(folder.path()).is_none());
        announce(folder.path(), &ports).unwrap();
        let mut next = Network::adopt(folder.path()).unwrap();
        assert!(!next.is_up());
        next.listener = Some(listen(folder.path()).unwrap());
        let socket = folder.path().join(NETWORK_SOCKET);
        let passt = Path::new(super::super::PASST);
        let group = GuestGroup::default();
        let (mended, _monitor) = tokio::join!(next.mend(passt, &group), come_back(&socket));
        mended.unwrap();
        assert!(next.is_up() && is_served(ports[0].host));

        // One that ends at once again is not followed by the next at once.
        next.passt.as_ref().unwrap().kill().unwrap();
        next.ended().await;
        next.mend(passt, &group).await.unwrap();
        assert!(
            !next.is_up() && next.listener.is_none(),
            "the monitor is not waited for"
        );
    }

    /// Connects as the monitor does whose passt has ended, again and again, and answers as its guest.
    async fn come_back(socket: &Path) -> tokio::net::UnixStream {
        use tokio::io::AsyncWriteExt as _;
        loop {
            match tokio::net::UnixStream::connect(socket).await {
                Ok(mut stream) => {
                    stream.write_all(&answer_for_test()).await.unwrap();
                    return stream;
                }
                Err(_) => sleep(START_POLL).await,
            }
        }
    }

    #[tokio::test]
    async fn a_passt_that_ends_before_its_guest_is_replaced_by_this_agent_or_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let (passt, group) = (Path::new(super::super::PASST), GuestGroup::default());
        let wanted = [api::PortRequest {
            guest: 80,
            host: None,
        }];
        let ports = crate::engines::choose_ports(&wanted, &[]).unwrap();
        let (_monitor, connection) = UnixStream::pair().unwrap();
        let first = join(passt, folder.path(), connection, &ports, &group)
            .await
            .unwrap();
        let network = Network::new(folder.path(), first, &ports);
        network.passt.as_ref().unwrap().kill().unwrap();
        network.ended().await;
        for _agent in 0..2 {
            let mut next = Network::adopt(folder.path()).unwrap();
            next.listener = Some(listen(folder.path()).unwrap());
            let socket = folder.path().join(NETWORK_SOCKET);
            let (mended, monitor) = tokio::join!(next.mend(passt, &group), come_back(&socket));
            mended.unwrap();
            assert!(next.is_up() && is_served(ports[0].host));
            let adopted = Network::adopt(folder.path()).unwrap();
            assert!(adopted.is_up(), "the next agent finds the new one");
            drop(monitor);
            tokio::time::timeout(START_DEADLINE, adopted.ended())
                .await
                .unwrap();
        }
    }
}
