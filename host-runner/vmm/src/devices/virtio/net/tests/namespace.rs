#![expect(unsafe_code, reason = "a thread leaves the network namespace of its process")]
//! A network namespace of a test's own, with a tap interface in it.

use std::net::UdpSocket;
use std::process::Command;

/// The interface in each test's namespace.
pub const TAP: &str = "tap0";
/// The host's address on it.
pub const HOST: &str = "10.11.12.1";

/// Runs `test` in a thread that has a network namespace of its own, with an interface [`TAP`]. Where this user may not have one, the test
/// says so and passes.
pub fn with_tap(test: impl FnOnce() + Send + 'static) {
    if !rustix::process::geteuid().is_root() || !std::path::Path::new("/dev/net/tun").exists() {
        eprintln!("not tried: a tap interface needs root and /dev/net/tun");
        return;
    }
    std::thread::spawn(move || {
        // The namespace goes with the last thread in it.
        // SAFETY: Only the network namespace of this thread changes; its file descriptors stay the process's.
        unsafe {
            rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET).unwrap();
        }
        ip(&["tuntap", "add", "dev", TAP, "mode", "tap"]);
        ip(&["addr", "add", &format!("{HOST}/24"), "dev", TAP]);
        ip(&["link", "set", TAP, "up"]);
        // Who else lives in the network is known, so that nobody asks.
        ip(&[
            "neigh",
            "add",
            "10.11.12.2",
            "lladdr",
            "52:54:00:12:34:56",
            "dev",
            TAP,
        ]);
        test();
    })
    .join()
    .unwrap();
}

/// Runs `ip` in this thread's namespace.
pub fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().unwrap();
    assert!(status.success(), "ip {arguments:?}");
}

/// What `ip -o link show` says of [`TAP`], word for word.
pub fn link() -> Vec<String> {
    let output = Command::new("ip")
        .args(["-o", "link", "show", TAP])
        .output()
        .unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// Waits until the host's kernel has seen that somebody is attached: before, it drops what is sent into the interface.
pub fn wait_until_attached() {
    let attached = (0..5000).any(|_| {
        let words = link();
        words.iter().any(|word| word == "UP") && !words.iter().any(|word| word == "noop")
    });
    assert!(attached, "the interface stays down: {:?}", link());
}

/// A socket of the host, for datagrams to and from the guest at 10.11.12.2.
pub fn socket() -> UdpSocket {
    let socket = UdpSocket::bind((HOST, 4000)).unwrap();
    socket.connect(("10.11.12.2", 5000)).unwrap();
    socket
}

/// Lets the kernel cut what is written into datagrams of `length` bytes, as late as possible (`UDP_SEGMENT`).
pub fn segment(socket: &UdpSocket, length: i32) {
    use std::os::fd::AsRawFd as _;
    let size = libc::socklen_t::try_from(size_of_val(&length)).unwrap();
    // SAFETY: The option is an int, which outlives the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const length).cast(),
            size,
        )
    };
    assert_eq!(set, 0);
}
