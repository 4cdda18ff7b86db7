//! Why a network interface cannot be opened.

use std::io;
use std::path::PathBuf;

use super::PAIRS_MAX;
use super::mac::MacError;

/// Why a network interface cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenNetworkError {
    /// The hardware address makes no sense.
    #[error("{mac} is no hardware address for network {id}")]
    Mac {
        /// Which network.
        id: String,
        /// What was given.
        mac: String,
        /// What is wrong with it.
        #[source]
        err: MacError,
    },
    /// The name cannot be one of an interface.
    #[error("{interface:?} cannot be the name of an interface: 1 to 15 bytes without / and %")]
    Name {
        /// What was given.
        interface: String,
    },
    /// There is no such interface.
    #[error(
        "there is no interface {interface}; make it with: ip tuntap add dev {interface} mode tap user USER"
    )]
    Missing {
        /// Its name.
        interface: String,
    },
    /// Another process has it.
    #[error(
        "another process is attached to the interface {interface}; end that one, or name another interface"
    )]
    Busy {
        /// Its name.
        interface: String,
    },
    /// It belongs to another user.
    #[error(
        "the interface {interface} belongs to another user; make it with: ip tuntap add dev {interface} mode tap user USER"
    )]
    Forbidden {
        /// Its name.
        interface: String,
    },
    /// It is no tap.
    #[error(
        "the interface {interface} is no tap interface; make it with: ip tuntap add dev {interface} mode tap multi_queue"
    )]
    NotTap {
        /// Its name.
        interface: String,
    },
    /// The kernel refused for another reason.
    #[error("cannot attach to the interface {interface}")]
    Attach {
        /// Its name.
        interface: String,
        /// What the system said.
        #[source]
        err: io::Error,
    },
    /// The device of tap interfaces does not open.
    #[error("cannot open /dev/net/tun; load the module tun, and let this user read and write the device")]
    TunDevice {
        /// What the system said.
        #[source]
        err: io::Error,
    },
    /// A descriptor that was handed over is not what it should be.
    #[error("descriptor {number} cannot serve as a tap: {reason}")]
    Descriptor {
        /// Its number.
        number: i32,
        /// What is wrong.
        reason: String,
    },
    /// No descriptor was handed over, or more than there can be queue pairs.
    #[error("a tap is handed over as 1 to {PAIRS_MAX} descriptors, not {count}")]
    Descriptors {
        /// How many.
        count: usize,
    },
    /// The path of a socket is too long.
    #[error("the path of a socket has at most 107 bytes, and {} has more", path.display())]
    SocketPath {
        /// The path.
        path: PathBuf,
    },
    /// There is no such socket, or it is not for us.
    #[error("nobody listens on {}; start passt, or what else is to be at the other side, before the machine", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        err: io::Error,
    },
    /// The system has no more descriptors.
    #[error("cannot wait for events of network {id}")]
    Events {
        /// Which network.
        id: String,
        /// What the system said.
        #[source]
        err: io::Error,
    },
}
