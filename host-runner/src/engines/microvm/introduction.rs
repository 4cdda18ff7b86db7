//! Makes a new passt know a guest that is up already.
//!
//! passt learns its guest's hardware address from what the guest sends, and sends to everybody until then, which a guest's TCP does not
//! take. A guest that boots asks for its address and so introduces itself; one whose passt was replaced may have nothing to say. So it is
//! asked, as a neighbour would (ARP, RFC 826), until it answers: a network that was away for a moment comes back in its own time. Then it is
//! asked once more, and passt hears that answer.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{ReadHalf, WriteHalf};
use tokio::time::{sleep, timeout};

/// How long the guest is asked. One that has no address yet does not answer, and will introduce itself.
const DEADLINE: Duration = Duration::from_secs(2);
/// How often it is asked.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// The longest frame, in bytes.
const FRAME_MAX: usize = 65_535;
/// How many bytes of the guest's are read at once.
const PIECE: usize = 4096;
/// The length before each frame.
const PREFIX: usize = 4;

/// The question, behind its length: who has 10.0.2.15, asked by 10.0.2.2, padded to the shortest frame of Ethernet.
const QUESTION: [u8; PREFIX + 60] = {
    let said = [
        0, 0, 0, 60, // the length
        255, 255, 255, 255, 255, 255, // to all
        0x52, 0x55, 0x0a, 0, 2, 2, // from the gateway
        8, 6, // ARP
        0, 1, 8, 0, 6, 4, 0, 1, // a request, for IPv4 over Ethernet
        0x52, 0x55, 0x0a, 0, 2, 2, 10, 0, 2, 2, // whose sender is the gateway
        0, 0, 0, 0, 0, 0, 10, 0, 2, 15, // and whose target the guest
    ];
    let mut frame = [0; PREFIX + 60];
    let mut at = 0;
    while at < said.len() {
        frame[at] = said[at];
        at += 1;
    }
    frame
};

/// Asks until the guest has answered or the time is over, and once more. What else the guest sends meanwhile is lost, as on a wire that is
/// being plugged in.
///
/// # Errors
/// The connection is over, or stands in the middle of a frame: it is to be made anew.
pub async fn introduce(stream: &mut UnixStream) -> io::Result<()> {
    let (mut read, mut write) = stream.split();
    let mut held = Vec::new();
    let heard = timeout(DEADLINE, async {
        tokio::select! {
            heard = answer(&mut read, &mut held) => heard,
            failed = ask(&mut write) => failed,
        }
    });
    match heard.await {
        Ok(heard) => heard?,
        Err(_) if held.is_empty() => {}
        Err(_) => return Err(io::ErrorKind::TimedOut.into()),
    }
    write.write_all(&QUESTION).await
}

async fn ask(write: &mut WriteHalf<'_>) -> io::Result<()> {
    loop {
        write.write_all(&QUESTION).await?;
        sleep(ASK_EVERY).await;
    }
}

/// Reads whole frames, up to the end of one that answers. `held` is what was read of a frame that is not whole.
async fn answer(read: &mut ReadHalf<'_>, held: &mut Vec<u8>) -> io::Result<()> {
    loop {
        while let Some(length) = whole_frame(held)? {
            let is_answer = held.get(PREFIX..length).is_some_and(answers);
            held.drain(..length);
            if is_answer && held.is_empty() {
                return Ok(());
            }
        }
        let room = (PREFIX + FRAME_MAX).saturating_sub(held.len()).min(PIECE);
        let mut piece = [0; PIECE];
        let read = read.read(piece.get_mut(..room).unwrap_or_default()).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        held.extend_from_slice(piece.get(..read).unwrap_or_default());
    }
}

/// The bytes of the first frame and its length, where all of them are there.
fn whole_frame(held: &[u8]) -> io::Result<Option<usize>> {
    let Some(prefix) = held.first_chunk::<PREFIX>() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
    if length > FRAME_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((held.len() >= PREFIX + length).then_some(PREFIX + length))
}

/// Whether a frame is the guest's answer: ARP, a reply, from its address.
fn answers(frame: &[u8]) -> bool {
    let has = |at: usize, bytes: &[u8]| frame.get(at..at + bytes.len()) == Some(bytes);
    has(12, &[8, 6]) && has(20, &[0, 2]) && has(28, &[10, 0, 2, 15])
}

/// What a guest would answer.
#[cfg(test)]
pub fn answer_for_test() -> Vec<u8> {
    let mac = [0x52, 0x54, 0, 1, 2, 3];
    let asker = [0x52, 0x55, 0x0a, 0, 2, 2];
    let head = [0, 1, 8, 0, 6, 4, 0, 2];
    let frame = [
        &asker[..],
        &mac,
        &[8, 6],
        &head,
        &mac,
        &[10, 0, 2, 15],
        &asker,
        &[10, 0, 2, 2],
        &[0; 18],
    ]
    .concat();
    [&60_u32.to_be_bytes()[..], &frame].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn question(guest: &mut UnixStream) {
        let mut asked = [0; QUESTION.len()];
        guest.read_exact(&mut asked).await.unwrap();
        assert_eq!(asked, QUESTION);
        assert_eq!(asked[PREFIX + 38..PREFIX + 42], [10, 0, 2, 15], "the target");
    }

    #[tokio::test]
    async fn a_guest_is_asked_until_it_answers_and_once_more() {
        let (mut agent, mut guest) = UnixStream::pair().unwrap();
        let introduced = tokio::spawn(async move { introduce(&mut agent).await.map(|()| agent) });
        question(&mut guest).await;
        question(&mut guest).await;
        // Something else, in two parts, and the answer behind it.
        let other = [&20_u32.to_be_bytes()[..], &[7; 20]].concat();
        guest.write_all(&other[..9]).await.unwrap();
        guest
            .write_all(&[&other[9..], &answer_for_test()].concat())
            .await
            .unwrap();
        let mut agent = introduced.await.unwrap().unwrap();
        // Those that were asked meanwhile, and the last.
        agent.shutdown().await.unwrap();
        let mut asked = Vec::new();
        guest.read_to_end(&mut asked).await.unwrap();
        assert!(!asked.is_empty() && asked.len().is_multiple_of(QUESTION.len()));
    }

    #[tokio::test]
    async fn a_connection_that_ends_or_makes_no_sense_is_made_anew() {
        let (mut agent, guest) = UnixStream::pair().unwrap();
        drop(guest);
        assert!(introduce(&mut agent).await.is_err());
        let (mut agent, mut guest) = UnixStream::pair().unwrap();
        guest.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
        let error = introduce(&mut agent).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
