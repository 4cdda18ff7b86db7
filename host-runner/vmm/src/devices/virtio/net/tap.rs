#![expect(unsafe_code, reason = "a tap interface is set up by ioctl")]
//! A tap interface of the host.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use vmm_sys_util::ioctl::{ioctl_with_mut_ref, ioctl_with_ref, ioctl_with_val};

use super::HEADER;
use super::error::OpenNetworkError;
use super::features::Offloads;

/// The longest name of an interface, with the zero that ends it (`IFNAMSIZ`).
const NAME_MAX: usize = 16;
/// Offloads that every kernel with vnet headers has.
const TCP: u32 = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;

/// `struct ifreq`, as far as it is needed here.
#[repr(C)]
#[derive(Clone, Copy)]
struct InterfaceRequest {
    name: [u8; NAME_MAX],
    /// Flags (`TUNSETIFF`, `TUNGETIFF`, as 16 bits) or a number (`SIOCGIFMTU`).
    value: i32,
    rest: [u8; 20],
}

impl InterfaceRequest {
    fn new(name: &str, value: i32) -> Option<Self> {
        let mut bytes = [0; NAME_MAX];
        let usable = !name.is_empty() && name.len() < NAME_MAX && !name.contains(['\0', '/', '%']);
        bytes.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        usable.then_some(Self {
            name: bytes,
            value,
            rest: [0; 20],
        })
    }

    fn name(&self) -> String {
        let name = self.name.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    }
}

/// A tap interface, attached. Its frames carry the virtio header (12 bytes), so that what a guest leaves to the host goes through as it is.
pub struct Tap {
    file: File,
    name: String,
    offloads: Offloads,
    mtu: Option<u16>,
}

impl Tap {
    /// Attaches to an interface that exists; it is never made here.
    pub fn open(name: &str) -> Result<Self, OpenNetworkError> {
        let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
        let mut request = InterfaceRequest::new(name, flags).ok_or_else(|| OpenNetworkError::Name {
            interface: name.to_owned(),
        })?;
        // TUNSETIFF would make an interface that is not there, if this process may: it would be connected to nothing.
        let socket = any_socket().map_err(|err| attach_error(name, err))?;
        if rustix::net::netdevice::name_to_index(&socket, name).is_err() {
            return Err(OpenNetworkError::Missing {
                interface: name.to_owned(),
            });
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open("/dev/net/tun")
            .map_err(|err| OpenNetworkError::TunDevice { err })?;
        // SAFETY: TUNSETIFF reads (and writes back) a `struct ifreq`, which `InterfaceRequest` is as large as; it outlives the call.
        let attached = unsafe { ioctl_with_mut_ref(&file, libc::TUNSETIFF, &mut request) };
        if attached < 0 {
            return Err(attach_error(name, io::Error::last_os_error()));
        }
        Self::set_up(file, name.to_owned(), mtu(name))
    }

    /// Takes an interface that another process has attached to. It must have asked for a tap without packet information and with the
    /// virtio header.
    pub fn adopt(descriptor: OwnedFd) -> Result<Self, OpenNetworkError> {
        let number = descriptor.as_raw_fd();
        let refuse = |reason: String| OpenNetworkError::Descriptor { number, reason };
        let file = File::from(descriptor);
        let mut request = InterfaceRequest {
            name: [0; NAME_MAX],
            value: 0,
            rest: [0; 20],
        };
        // SAFETY: TUNGETIFF writes a `struct ifreq`, which `InterfaceRequest` is as large as; it outlives the call.
        if unsafe { ioctl_with_mut_ref(&file, libc::TUNGETIFF, &mut request) } < 0 {
            let err = io::Error::last_os_error();
            return Err(refuse(format!("it is no attached tap interface ({err})")));
        }
        let wanted = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
        if request.value & wanted != wanted {
            return Err(refuse(
                "attach it with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR".to_owned(),
            ));
        }
        rustix::io::ioctl_fionbio(&file, true)
            .map_err(|err| refuse(format!("it cannot be made non-blocking ({err})")))?;
        // Its interface may be in another network namespace, where this process cannot ask for its MTU.
        Self::set_up(file, request.name(), None)
    }

    fn set_up(file: File, name: String, mtu: Option<u16>) -> Result<Self, OpenNetworkError> {
        let header = libc::c_int::try_from(HEADER).unwrap_or(libc::c_int::MAX);
        // SAFETY: TUNSETVNETHDRSZ reads an int, which outlives the call.
        if unsafe { ioctl_with_ref(&file, libc::TUNSETVNETHDRSZ, &header) } < 0 {
            return Err(attach_error(&name, io::Error::last_os_error()));
        }
        let mut tap = Self {
            mtu,
            file,
            name,
            offloads: Offloads::default(),
        };
        let takes = |flags: u32| tap.set_offloads(flags).is_ok();
        let offloads = Offloads {
            tcp: takes(TCP),
            udp_fragments: takes(TCP | libc::TUN_F_UFO),
            udp_segments: takes(TCP | libc::TUN_F_USO4 | libc::TUN_F_USO6),
        };
        tap.offloads = offloads;
        // Until a driver says what it takes, whole frames with checksums.
        tap.set_offloads(0).map_err(|err| attach_error(&tap.name, err))?;
        Ok(tap)
    }

    /// Says what may be left undone in the frames that the guest receives, as `TUN_F_` flags.
    pub fn set_offloads(&self, flags: u32) -> io::Result<()> {
        // SAFETY: TUNSETOFFLOAD takes its argument by value.
        let set = unsafe { ioctl_with_val(&self.file, libc::TUNSETOFFLOAD, flags.into()) };
        if set < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// The name of the interface.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it can do for the guest.
    pub fn offloads(&self) -> Offloads {
        self.offloads
    }

    /// The largest packet that it carries, in bytes without the Ethernet header, when it was attached. `None` where it is not known.
    pub fn mtu(&self) -> Option<u16> {
        self.mtu
    }

    /// Its file, for a kernel that moves the frames.
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn any_socket() -> io::Result<OwnedFd> {
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    Ok(socket)
}

fn mtu(name: &str) -> Option<u16> {
    let socket = any_socket().ok()?;
    let mut request = InterfaceRequest::new(name, 0)?;
    // SAFETY: SIOCGIFMTU reads and writes a `struct ifreq`, which `InterfaceRequest` is as large as; it outlives the call.
    if unsafe { ioctl_with_mut_ref(&socket, libc::SIOCGIFMTU, &mut request) } < 0 {
        return None;
    }
    // What IPv4 needs at least (5.1.4.1); an interface of 65536 and more says nothing that 16 bits could hold.
    u16::try_from(request.value).ok().filter(|mtu| *mtu >= 68)
}

fn attach_error(name: &str, err: io::Error) -> OpenNetworkError {
    let interface = name.to_owned();
    match err.raw_os_error() {
        Some(libc::EBUSY) => OpenNetworkError::Busy { interface },
        Some(libc::EPERM) => OpenNetworkError::Forbidden { interface },
        Some(libc::EINVAL) => OpenNetworkError::NotTap { interface },
        _ => OpenNetworkError::Attach { interface, err },
    }
}
