//! One client of the control socket, who has so much time and no more.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A client's connection: whatever it does, and however slowly, reading from it and writing to it end when its time is over.
///
/// A limit for each call alone would not do: who sends a byte now and then would hold one of few connections for days.
pub struct Client {
    stream: UnixStream,
    until: Instant,
}

impl Client {
    /// A client that has so much time.
    pub fn new(stream: UnixStream, time: Duration) -> Self {
        Self {
            stream,
            until: Instant::now() + time,
        }
    }

    /// Gives it so much time, from now on.
    pub fn extend(&mut self, time: Duration) {
        self.until = Instant::now() + time;
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(Some(left))
    }
}

impl Read for Client {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(into)
    }
}

impl Write for Client {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_whose_time_is_over_is_not_heard_however_much_it_says() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"GET /").unwrap();
        let mut client = Client::new(ours, Duration::from_secs(60));
        let mut byte = [0];
        assert_eq!(client.read(&mut byte).unwrap(), 1);
        client.extend(Duration::ZERO);
        assert_eq!(
            client.read(&mut byte).unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
        assert_eq!(client.write(b"x").unwrap_err().kind(), io::ErrorKind::TimedOut);
        client.extend(Duration::from_secs(60));
        assert_eq!(client.read(&mut byte).unwrap(), 1);
    }

    #[test]
    fn a_client_that_says_nothing_is_waited_for_no_longer_than_its_time() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut client = Client::new(ours, Duration::from_millis(30));
        let begun = Instant::now();
        let error = client.read(&mut [0]).unwrap_err();
        assert!(
            matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
            "{error}"
        );
        assert!(begun.elapsed() >= Duration::from_millis(30));
    }
}
