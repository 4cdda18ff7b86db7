//! One client of the control socket, who has so much time and no more.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::ask::IsGone;

/// A client's connection: whatever it does, and however slowly, reading from it and writing to it end when its time is over.
///
/// A limit for each call alone would not do: who sends a byte now and then would hold one of few connections for days.
pub struct Client {
    stream: Arc<UnixStream>,
    until: Instant,
}

impl Client {
    /// A client that has so much time.
    pub fn new(stream: UnixStream, time: Duration) -> Self {
        Self {
            stream: Arc::new(stream),
            until: Instant::now() + time,
        }
    }

    /// Tells, for as long as it is asked, whether the client waits for an answer no longer: it has hung up, or has had its answer.
    pub fn is_gone(&self) -> IsGone {
        let stream = Arc::downgrade(&self.stream);
        Box::new(move || stream.upgrade().is_none_or(|stream| has_hung_up(&stream)))
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
        (&*self.stream).read(into)
    }
}

impl Write for Client {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        (&*self.stream).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.stream).flush()
    }
}

/// Whether the other side has closed its end. One that only says no more still listens.
fn has_hung_up(stream: &UnixStream) -> bool {
    let mut ends = [PollFd::new(stream, PollFlags::empty())];
    // Of one that cannot be looked at, nothing is known.
    let looked = poll(&mut ends, Some(&Timespec::default()));
    looked.is_ok() && ends.iter().any(|end| end.revents().contains(PollFlags::HUP))
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;

    use super::*;

    #[test]
    fn a_client_is_gone_when_it_hangs_up_or_has_its_answer_and_not_when_it_only_says_no_more() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let client = Client::new(ours, Duration::from_secs(60));
        let is_gone = client.is_gone();
        assert!(!is_gone());
        theirs.shutdown(Shutdown::Write).unwrap();
        assert!(!is_gone());
        drop(theirs);
        assert!(is_gone());

        let (ours, _theirs) = UnixStream::pair().unwrap();
        let client = Client::new(ours, Duration::from_secs(60));
        let is_gone = client.is_gone();
        drop(client);
        assert!(is_gone());
    }

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
