#![expect(
    unsafe_code,
    reason = "the standard library knows nothing of interfaces' queues"
)]
//! The queues of a network interface: how many there are, and what each has done.
//!
//! Source: `linux/ethtool.h`.

use std::error::Error;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

const SIOCETHTOOL: libc::Ioctl = 0x8946;
const GSTRINGS: u32 = 0x1b;
const GSTATS: u32 = 0x1d;
const GSSET_INFO: u32 = 0x37;
const GCHANNELS: u32 = 0x3c;
const SCHANNELS: u32 = 0x3d;
/// The names of what is counted (`ETH_SS_STATS`).
const STATS: u32 = 1;
/// The length of a name, with zeroes behind it (`ETH_GSTRING_LEN`).
const NAME: usize = 32;
/// Where the number of pairs of queues is among the numbers of `struct ethtool_channels`.
const COMBINED: usize = 8;
const CHANNELS: usize = 9;

/// `struct ifreq`, with the address of what is asked.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    data: *mut u64,
    rest: [u64; 2],
}

/// Asks the kernel; `words` is a structure as it wants it, and as long as its answer.
fn ask(interface: &str, words: &mut [u64]) -> io::Result<()> {
    let mut name = [0; libc::IFNAMSIZ];
    for (place, byte) in name.iter_mut().take(libc::IFNAMSIZ - 1).zip(interface.bytes()) {
        *place = byte;
    }
    let mut request = Request {
        name,
        data: words.as_mut_ptr(),
        rest: [0; 2],
    };
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    // SAFETY: `request` is a `struct ifreq`, and what it points to is as long as the kernel's answer; both outlive the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Two numbers of 32 bits, as they lie in a structure.
fn pair(first: u32, second: u32) -> u64 {
    u64::from(first) | u64::from(second) << 32
}

/// Prints what the driver counts, a name and a number on each line.
pub fn print_stats(interface: &str) -> Result<(), Box<dyn Error>> {
    // The set that is asked for, as a mask of 64 bits behind a word, and then its size.
    let mut info = [pair(GSSET_INFO, 0), 1 << STATS, 0];
    ask(interface, &mut info)?;
    let count = u32::try_from(info[2])?;
    let size = usize::try_from(count)?;
    // Three numbers of 32 bits before the names: they begin in the middle of a word.
    let mut names = vec![0; 2 + size * NAME / 8];
    names[0] = pair(GSTRINGS, STATS);
    names[1] = count.into();
    ask(interface, &mut names)?;
    let names: Vec<u8> = names
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .skip(12)
        .collect();
    let mut stats = vec![0; 1 + size];
    stats[0] = pair(GSTATS, count);
    ask(interface, &mut stats)?;
    for (name, number) in names.chunks(NAME).zip(stats.iter().skip(1)) {
        println!(
            "{} {number}",
            String::from_utf8_lossy(name).trim_end_matches('\0')
        );
    }
    Ok(())
}

/// Has the driver use so many pairs of queues.
pub fn set_pairs(interface: &str, pairs: u32) -> Result<(), Box<dyn Error>> {
    let mut channels = vec![0; CHANNELS.div_ceil(2)];
    channels[0] = pair(GCHANNELS, 0);
    ask(interface, &mut channels)?;
    // What is beside the command in its word stays.
    channels[0] = channels[0] & !u64::from(u32::MAX) | u64::from(SCHANNELS);
    // The number is the lower half of its word, which is the last one.
    channels[COMBINED / 2] = pairs.into();
    ask(interface, &mut channels)?;
    Ok(())
}
