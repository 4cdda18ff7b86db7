#![expect(unsafe_code, reason = "the standard library knows no address of this family")]
//! Stream sockets between guest and host.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// The host's address.
const HOST: u32 = 2;
/// Any address of ours.
const ANY: u32 = u32::MAX;

fn address(cid: u32, port: u32) -> libc::sockaddr_vm {
    libc::sockaddr_vm {
        svm_family: libc::sa_family_t::try_from(libc::AF_VSOCK).unwrap_or(0),
        svm_reserved1: 0,
        svm_port: port,
        svm_cid: cid,
        svm_zero: [0; 4],
    }
}

fn length() -> libc::socklen_t {
    size_of::<libc::sockaddr_vm>().try_into().unwrap_or(0)
}

fn done(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn owned(result: libc::c_int) -> io::Result<OwnedFd> {
    let descriptor = done(result)?;
    // SAFETY: the kernel has just made it, for nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn socket() -> io::Result<OwnedFd> {
    // SAFETY: takes numbers alone.
    owned(unsafe { libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })
}

/// Waits for one connection, and answers what it says until it has said all.
pub fn echo(port: u32) -> Result<(), Box<dyn Error>> {
    let socket = socket()?;
    let here = address(ANY, port);
    // SAFETY: the address is as long as it is said to be, and outlives the call.
    done(unsafe { libc::bind(socket.as_raw_fd(), (&raw const here).cast(), length()) })?;
    // SAFETY: takes numbers alone.
    done(unsafe { libc::listen(socket.as_raw_fd(), 1) })?;
    println!("listening");
    // SAFETY: the caller's address is not asked for.
    let connection =
        owned(unsafe { libc::accept(socket.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut()) })?;
    let mut stream = File::from(connection);
    let mut part = vec![0; 64 << 10];
    loop {
        let read = stream.read(&mut part)?;
        let Some(said @ [_, ..]) = part.get_mut(..read) else {
            return Ok(());
        };
        said.make_ascii_uppercase();
        stream.write_all(said)?;
    }
}

/// A connection to whoever listens on the host.
fn connect(port: u32) -> io::Result<File> {
    let socket = socket()?;
    let there = address(HOST, port);
    // SAFETY: the address is as long as it is said to be, and outlives the call.
    done(unsafe { libc::connect(socket.as_raw_fd(), (&raw const there).cast(), length()) })?;
    Ok(File::from(socket))
}

/// Tells whoever listens on the host some lines, and waits for no answer.
pub fn tell(port: u32, lines: &[&str]) -> Result<(), Box<dyn Error>> {
    Ok(connect(port)?.write_all(lines.join("\n").as_bytes())?)
}

/// Says a word to whoever listens on the host, and prints the answer.
pub fn say(port: u32, word: &str) -> Result<(), Box<dyn Error>> {
    let mut stream = connect(port)?;
    writeln!(stream, "{word}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    println!("{answer}");
    Ok(())
}
