//! How many queues of a tap interface are open, in whatever process. Only rtnetlink tells: an interface of several queues lets any number
//! of processes of its user attach, and gives each of them some of the frames.
//!
//! Source: `linux/rtnetlink.h`, `linux/if_link.h`, `rtnetlink(7)`.

use std::io;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const NLM_F_REQUEST: u16 = 1;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_TUN_NUM_QUEUES: u16 = 8;
const IFLA_TUN_NUM_DISABLED_QUEUES: u16 = 9;
/// The two upper bits of an attribute's type are flags (`NLA_TYPE_MASK`).
const TYPE_MASK: u16 = 0x3fff;
/// `struct nlmsghdr`, and `struct ifinfomsg` after it.
const HEAD: usize = 16;
const BODY: usize = 16;
/// More than the kernel says of one interface without its virtual functions, which are not asked for.
const ANSWER_MAX: usize = 32 << 10;

/// How many queues of the interface are open, attached or not. `None` where the kernel does not tell (before Linux 4.17).
pub fn open_queues(interface: u32) -> io::Result<Option<u32>> {
    // Protocol 0 is `NETLINK_ROUTE`.
    let (kind, flags) = (SocketType::RAW, SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, kind, flags, None)?;
    rustix::net::send(&socket, &request(interface), SendFlags::empty())?;
    let mut answer = vec![0; ANSWER_MAX];
    let (length, _) = rustix::net::recv(&socket, answer.as_mut_slice(), RecvFlags::empty())?;
    Ok(counted(answer.get(..length).unwrap_or_default()))
}

fn request(interface: u32) -> Vec<u8> {
    let length = u32::try_from(HEAD + BODY).unwrap_or(u32::MAX);
    [
        &length.to_ne_bytes()[..],
        &RTM_GETLINK.to_ne_bytes(),
        &NLM_F_REQUEST.to_ne_bytes(),
        // Sequence number and sender: there is one question, and the kernel knows who asks.
        &[0; 8],
        // Family and kind of the interface.
        &[0; 4],
        &interface.to_ne_bytes(),
        // Its flags, and which of them are meant.
        &[0; 8],
    ]
    .concat()
}

/// The queues in an answer. Pure.
fn counted(answer: &[u8]) -> Option<u32> {
    let kind = answer.get(4..6)?;
    if kind != RTM_NEWLINK.to_ne_bytes() {
        return None;
    }
    let attributes = answer.get(HEAD + BODY..)?;
    let tun = attribute(attribute(attributes, IFLA_LINKINFO)?, IFLA_INFO_DATA)?;
    let number = |of| Some(u32::from_ne_bytes(attribute(tun, of)?.try_into().ok()?));
    number(IFLA_TUN_NUM_QUEUES)?.checked_add(number(IFLA_TUN_NUM_DISABLED_QUEUES)?)
}

/// The value of an attribute of this type.
fn attribute(attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    const HEADER: usize = 4;
    let mut rest = attributes;
    loop {
        let (head, _) = rest.split_at_checked(HEADER)?;
        let (length, kind) = head.split_at(2);
        let length = usize::from(u16::from_ne_bytes(length.try_into().ok()?));
        let kind = u16::from_ne_bytes(kind.try_into().ok()?) & TYPE_MASK;
        let value = rest.get(HEADER..length)?;
        if kind == wanted {
            return Some(value);
        }
        // `length` is `HEADER` at least, or there would be no value: the walk ends.
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn put(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn answer(kind: u16, attributes: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEAD + BODY];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(attributes);
        bytes
    }

    #[test]
    fn attached_and_detached_queues_are_counted() {
        let tun = [put(8, &4_u32.to_ne_bytes()), put(9, &3_u32.to_ne_bytes())].concat();
        let info = [put(1, b"tun\0"), put(2, &tun)].concat();
        // The name before it has a length that is no multiple of four.
        let all = [put(3, b"tap0\0"), put(0x8012, &info)].concat();
        assert_eq!(counted(&answer(16, &all)), Some(7));
        assert_eq!(counted(&answer(2, &all)), None, "an error is no interface");
        assert_eq!(counted(&answer(16, &put(3, b"tap0\0"))), None);
    }

    proptest! {
        #[test]
        fn no_answer_breaks_it(attributes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _number = counted(&answer(16, &attributes));
            let _number = counted(&attributes);
        }
    }
}
