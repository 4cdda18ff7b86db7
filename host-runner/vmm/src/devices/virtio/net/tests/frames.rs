//! Frames as they are on the wire.

/// A UDP datagram from the guest at 10.11.12.2 to the host at 10.11.12.1, without a checksum.
pub fn udp(to: [u8; 6], from: [u8; 6], ports: (u16, u16), data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap();
    let mut ip = vec![0x45, 0];
    ip.extend((28 + length).to_be_bytes());
    ip.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 10, 11, 12, 2, 10, 11, 12, 1]);
    let sum: u32 = ip
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut frame = [to, from].concat();
    frame.extend([8, 0]);
    frame.extend(ip);
    frame.extend(ports.0.to_be_bytes());
    frame.extend(ports.1.to_be_bytes());
    frame.extend((8 + length).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(data);
    frame
}

/// The datagram's data, if the frame is one over IPv4.
pub fn data(frame: &[u8]) -> Option<&[u8]> {
    (frame.get(12..14) == Some(&[8, 0]) && frame.get(23) == Some(&17)).then(|| &frame[42..])
}
