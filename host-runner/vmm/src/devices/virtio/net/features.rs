//! Which features there are, and what they ask of the backend.

use virtio_bindings::virtio_net as net;
use virtio_bindings::virtio_ring as ring;

/// What a tap interface can leave to, or do for, the other side (`TUNSETOFFLOAD`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Checksums, and TCP segments of up to 64 KiB.
    pub tcp: bool,
    /// UDP datagrams to be cut into IP fragments.
    pub udp_fragments: bool,
    /// UDP datagrams to be cut into datagrams (Linux 6.2).
    pub udp_segments: bool,
}

/// What the guest may do with a frame that it sends.
const SEND_TCP: &[u32] = &[
    net::VIRTIO_NET_F_CSUM,
    net::VIRTIO_NET_F_HOST_TSO4,
    net::VIRTIO_NET_F_HOST_TSO6,
    net::VIRTIO_NET_F_HOST_ECN,
];
/// What the host may do with a frame that the guest receives, and what the tap calls it.
const RECEIVE_TCP: &[(u32, u32)] = &[
    (net::VIRTIO_NET_F_GUEST_CSUM, libc::TUN_F_CSUM),
    (net::VIRTIO_NET_F_GUEST_TSO4, libc::TUN_F_TSO4),
    (net::VIRTIO_NET_F_GUEST_TSO6, libc::TUN_F_TSO6),
    (net::VIRTIO_NET_F_GUEST_ECN, libc::TUN_F_TSO_ECN),
];
const RECEIVE_UDP_FRAGMENTS: &[(u32, u32)] = &[(net::VIRTIO_NET_F_GUEST_UFO, libc::TUN_F_UFO)];
const RECEIVE_UDP_SEGMENTS: &[(u32, u32)] = &[
    (net::VIRTIO_NET_F_GUEST_USO4, libc::TUN_F_USO4),
    (net::VIRTIO_NET_F_GUEST_USO6, libc::TUN_F_USO6),
];

/// What vhost-net must know of, where it serves the queues: the rest is between the guest and the tap.
pub const RING_FEATURES: u64 = 1 << net::VIRTIO_NET_F_MRG_RXBUF
    | 1 << ring::VIRTIO_RING_F_EVENT_IDX
    | 1 << ring::VIRTIO_RING_F_INDIRECT_DESC
    | 1 << virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;

/// The features of an interface whose backend has these offloads, and so many queue pairs.
///
/// The control queue is there to switch pairs on and off; where there is but one, there is nothing for it to do.
pub fn offered(offloads: Offloads, mtu: bool, pairs: usize) -> u64 {
    let bits = |features: &[u32]| features.iter().fold(0, |bits, feature| bits | 1_u64 << feature);
    let first = |pairs: &[(u32, u32)]| pairs.iter().fold(0, |bits, (feature, _)| bits | 1_u64 << feature);
    let mut offered = bits(&[
        net::VIRTIO_NET_F_MAC,
        net::VIRTIO_NET_F_STATUS,
        net::VIRTIO_NET_F_MRG_RXBUF,
        ring::VIRTIO_RING_F_EVENT_IDX,
        ring::VIRTIO_RING_F_INDIRECT_DESC,
    ]);
    if mtu {
        offered |= 1 << net::VIRTIO_NET_F_MTU;
    }
    if pairs > 1 {
        offered |= bits(&[net::VIRTIO_NET_F_CTRL_VQ, net::VIRTIO_NET_F_MQ]);
    }
    if offloads.tcp {
        offered |= bits(SEND_TCP) | first(RECEIVE_TCP);
    }
    if offloads.udp_fragments {
        offered |= 1 << net::VIRTIO_NET_F_HOST_UFO | first(RECEIVE_UDP_FRAGMENTS);
    }
    if offloads.udp_segments {
        offered |= 1 << net::VIRTIO_NET_F_HOST_USO | first(RECEIVE_UDP_SEGMENTS);
    }
    offered
}

/// What the tap may leave undone in the frames that it hands over, with the features that the driver has accepted.
///
/// Whoever does not compute checksums cannot cut segments (5.1.3.1): a driver that accepts the one without the other gets neither.
pub fn tap_flags(features: u64) -> u32 {
    if features & 1 << net::VIRTIO_NET_F_GUEST_CSUM == 0 {
        return 0;
    }
    let flags = [RECEIVE_TCP, RECEIVE_UDP_FRAGMENTS, RECEIVE_UDP_SEGMENTS].concat();
    let mut accepted: u32 = flags
        .iter()
        .filter(|(feature, _)| features & 1 << feature != 0)
        .fold(0, |flags, (_, flag)| flags | flag);
    // The tap knows congestion marks only beside TCP segments, and UDP segments of both protocols only together.
    if accepted & (libc::TUN_F_TSO4 | libc::TUN_F_TSO6) == 0 {
        accepted &= !libc::TUN_F_TSO_ECN;
    }
    let both = libc::TUN_F_USO4 | libc::TUN_F_USO6;
    if accepted & both != both {
        accepted &= !both;
    }
    accepted
}

/// Whether a guest with these features takes frames that are longer than the wire's.
pub fn takes_segments(features: u64) -> bool {
    tap_flags(features) & !(libc::TUN_F_CSUM | libc::TUN_F_TSO_ECN) != 0
}

/// How many pairs a driver with these features may use, which was told of `most`. One that cannot say how many has one (5.1.3.1:
/// `VIRTIO_NET_F_MQ` requires the control queue).
pub fn pairs(features: u64, most: usize) -> usize {
    let both = 1 << net::VIRTIO_NET_F_CTRL_VQ | 1 << net::VIRTIO_NET_F_MQ;
    if features & both == both { most } else { 1 }
}

/// Which queue is the control queue, if the driver accepted it: the one behind all pairs (5.1.2). Without `VIRTIO_NET_F_MQ` there is one.
pub fn control_queue(features: u64, most: usize) -> Option<usize> {
    (features & 1 << net::VIRTIO_NET_F_CTRL_VQ != 0).then(|| 2 * pairs(features, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_queue_follows_the_pairs_that_the_driver_knows_of() {
        let (control, many) = (1 << net::VIRTIO_NET_F_CTRL_VQ, 1 << net::VIRTIO_NET_F_MQ);
        let layout = |features| (pairs(features, 4), control_queue(features, 4));
        assert_eq!(layout(0), (1, None));
        assert_eq!(layout(control), (1, Some(2)));
        assert_eq!(layout(control | many), (4, Some(8)));
        assert_eq!(layout(many), (1, None), "nobody could say how many");
    }

    #[test]
    fn there_is_a_control_queue_only_where_it_has_something_to_control() {
        let both = 1 << net::VIRTIO_NET_F_CTRL_VQ | 1 << net::VIRTIO_NET_F_MQ;
        let offered = |pairs| offered(Offloads::default(), false, pairs) & both;
        assert_eq!((offered(1), offered(2)), (0, both));
    }
}
