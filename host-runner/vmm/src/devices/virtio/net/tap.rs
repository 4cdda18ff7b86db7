#![expect(unsafe_code, reason = "a tap interface is set up by ioctl")]
//! A tap interface of the host, with one queue or several (`IFF_MULTI_QUEUE`).

mod open_queues;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use vmm_sys_util::ioctl::{ioctl_with_mut_ref, ioctl_with_ref, ioctl_with_val};

use super::error::OpenNetworkError;
use super::features::Offloads;
use super::{HEADER, PAIRS_MAX};

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

/// What every queue of a tap is attached with.
const ATTACHED_WITH: libc::c_int = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;

/// Attaches a queue to its interface, or detaches it. One that is detached keeps its place, and gets no frames.
type Switch = fn(&File, bool) -> io::Result<()>;

/// A tap interface, attached. Its frames carry the virtio header (12 bytes), so that what a guest leaves to the host goes through as it is.
pub struct Tap {
    /// At least one.
    queues: Vec<File>,
    /// How many of them, from the first, are attached: the kernel spreads the interface's frames over these.
    attached: usize,
    switch: Switch,
    name: String,
    offloads: Offloads,
    /// Which of them a driver has accepted, as it was told last.
    accepted: u32,
    mtu: Option<u16>,
}

impl Tap {
    /// Attaches to an interface that exists; it is never made here. Takes `most` of its queues, if it is one of several.
    pub fn open(name: &str, most: usize) -> Result<Self, OpenNetworkError> {
        let fail = |err| attach_error(name, err);
        // TUNSETIFF would make an interface that is not there, if this process may: it would be connected to nothing.
        let socket = any_socket().map_err(fail)?;
        InterfaceRequest::new(name, 0).ok_or_else(|| OpenNetworkError::Name {
            interface: name.to_owned(),
        })?;
        let Ok(index) = rustix::net::netdevice::name_to_index(&socket, name) else {
            return Err(OpenNetworkError::Missing {
                interface: name.to_owned(),
            });
        };
        let several = ATTACHED_WITH | libc::IFF_MULTI_QUEUE;
        let queues = match attach(name, several) {
            Ok(first) => {
                let mut queues = vec![first];
                while queues.len() < most {
                    queues.push(attach(name, several)?);
                }
                alone(name, index, queues.len())?;
                queues
            }
            // An interface takes the flag that it was made with, and no other.
            Err(OpenNetworkError::NotTap { .. }) => vec![attach(name, ATTACHED_WITH)?],
            Err(error) => return Err(error),
        };
        Self::set_up(queues, name.to_owned(), mtu(name))
    }

    /// Takes queues of an interface that another process has attached: one, or several of an interface of several. It must have asked for
    /// a tap without packet information and with the virtio header.
    pub fn adopt(descriptors: Vec<OwnedFd>) -> Result<Self, OpenNetworkError> {
        let count = descriptors.len();
        if !(1..=PAIRS_MAX).contains(&count) {
            return Err(OpenNetworkError::Descriptors { count });
        }
        let mut name = None;
        let mut queues = Vec::new();
        for descriptor in descriptors {
            let number = descriptor.as_raw_fd();
            let file = File::from(descriptor);
            let here = adopted(&file).and_then(|here| {
                let same = name.as_ref().is_none_or(|name| *name == here);
                same.then_some(here)
                    .ok_or_else(|| "its interface is not that of the queue before it".to_owned())
            });
            name = Some(here.map_err(|reason| OpenNetworkError::Descriptor { number, reason })?);
            queues.push(file);
        }
        // Its interface may be in another network namespace, where this process cannot ask for its MTU.
        Self::set_up(queues, name.unwrap_or_default(), None)
    }

    /// What stands in for a tap where there is none: sockets whose messages are frames, with their headers.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn double(queues: Vec<File>, switch: Switch) -> Self {
        Self {
            attached: queues.len(),
            queues,
            switch,
            name: "double".to_owned(),
            offloads: Offloads::default(),
            accepted: 0,
            mtu: None,
        }
    }

    fn set_up(queues: Vec<File>, name: String, mtu: Option<u16>) -> Result<Self, OpenNetworkError> {
        let fail = |err| attach_error(&name, err);
        let first = queues.first().ok_or(OpenNetworkError::Descriptors { count: 0 })?;
        let header = libc::c_int::try_from(HEADER).unwrap_or(libc::c_int::MAX);
        // SAFETY: TUNSETVNETHDRSZ reads an int, which outlives the call.
        if unsafe { ioctl_with_ref(first, libc::TUNSETVNETHDRSZ, &header) } < 0 {
            return Err(fail(io::Error::last_os_error()));
        }
        let takes = |flags: u32| set_offloads(first, flags).is_ok();
        let offloads = Offloads {
            tcp: takes(TCP),
            udp_fragments: takes(TCP | libc::TUN_F_UFO),
            udp_segments: takes(TCP | libc::TUN_F_USO4 | libc::TUN_F_USO6),
        };
        // Until a driver says what it takes, whole frames with checksums.
        set_offloads(first, 0).map_err(fail)?;
        Ok(Self {
            attached: queues.len(),
            queues,
            switch,
            name,
            offloads,
            accepted: 0,
            mtu,
        })
    }

    /// How many queues it has here.
    pub fn queues(&self) -> usize {
        self.queues.len()
    }

    /// One of them.
    pub fn queue(&self, at: usize) -> Option<&File> {
        self.queues.get(at)
    }

    /// Leaves the first `count` queues attached, at least one, and no other. On an error as many as there are then.
    ///
    /// The kernel numbers its queues as they come, and moves the last one into the place of one that goes: from the end, all keep theirs.
    pub fn attach(&mut self, count: usize) -> io::Result<()> {
        let count = count.max(1);
        while self.attached > count {
            let last = self.attached - 1;
            self.switch(last, false)?;
            self.attached = last;
        }
        while self.attached < count {
            self.switch(self.attached, true)?;
            self.attached += 1;
        }
        Ok(())
    }

    fn switch(&self, at: usize, attached: bool) -> io::Result<()> {
        let queue = self.queues.get(at).ok_or(io::ErrorKind::InvalidInput)?;
        (self.switch)(queue, attached)
    }

    /// Says what may be left undone in the frames that the guest receives, as `TUN_F_` flags. It counts for all queues.
    pub fn accept_offloads(&mut self, flags: u32) -> io::Result<()> {
        if flags == self.accepted {
            // A driver that comes back again and again does not take the lock of all the host's interfaces each time.
            return Ok(());
        }
        set_offloads(self.queues.first().ok_or(io::ErrorKind::InvalidInput)?, flags)?;
        self.accepted = flags;
        Ok(())
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
}

/// A new queue of an interface that exists.
fn attach(name: &str, flags: libc::c_int) -> Result<File, OpenNetworkError> {
    let mut request = InterfaceRequest::new(name, flags).ok_or_else(|| OpenNetworkError::Name {
        interface: name.to_owned(),
    })?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/net/tun")
        .map_err(|err| OpenNetworkError::TunDevice { err })?;
    // SAFETY: TUNSETIFF reads (and writes back) a `struct ifreq`, which `InterfaceRequest` is as large as; it outlives the call.
    if unsafe { ioctl_with_mut_ref(&file, libc::TUNSETIFF, &mut request) } < 0 {
        return Err(attach_error(name, io::Error::last_os_error()));
    }
    Ok(file)
}

/// Whether nobody else has queues of an interface of several. One of a single queue refuses who comes second; this one would share out its
/// frames.
fn alone(name: &str, index: u32, ours: usize) -> Result<(), OpenNetworkError> {
    let open = open_queues::open_queues(index).map_err(|err| attach_error(name, err))?;
    match open {
        Some(open) if open as usize > ours => Err(OpenNetworkError::Busy {
            interface: name.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// The name of the interface that another process has attached a queue to.
fn adopted(file: &File) -> Result<String, String> {
    let mut request = InterfaceRequest {
        name: [0; NAME_MAX],
        value: 0,
        rest: [0; 20],
    };
    // SAFETY: TUNGETIFF writes a `struct ifreq`, which `InterfaceRequest` is as large as; it outlives the call.
    if unsafe { ioctl_with_mut_ref(file, libc::TUNGETIFF, &mut request) } < 0 {
        let err = io::Error::last_os_error();
        return Err(format!("it is no attached tap interface ({err})"));
    }
    if request.value & ATTACHED_WITH != ATTACHED_WITH {
        return Err("attach it with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR".to_owned());
    }
    if request.value & libc::IFF_DETACH_QUEUE != 0 {
        return Err("attach it (IFF_ATTACH_QUEUE) before it is handed over".to_owned());
    }
    rustix::io::ioctl_fionbio(file, true).map_err(|err| format!("it cannot be made non-blocking ({err})"))?;
    Ok(request.name())
}

fn set_offloads(queue: &File, flags: u32) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    let set = unsafe { ioctl_with_val(queue, libc::TUNSETOFFLOAD, flags.into()) };
    if set < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Attaches a queue of an interface of several, or detaches it.
fn switch(queue: &File, attached: bool) -> io::Result<()> {
    let request = InterfaceRequest {
        name: [0; NAME_MAX],
        value: if attached {
            libc::IFF_ATTACH_QUEUE
        } else {
            libc::IFF_DETACH_QUEUE
        },
        rest: [0; 20],
    };
    // SAFETY: TUNSETQUEUE reads a `struct ifreq`, which `InterfaceRequest` is as large as; it outlives the call.
    if unsafe { ioctl_with_ref(queue, libc::TUNSETQUEUE, &request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
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
