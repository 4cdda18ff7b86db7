//! The TCP connection to the first hop.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::net::TcpStream;

use super::prompt_acks::PromptAcks;

/// How long one address is waited for before the next is tried beside it. Source: RFC 8305, "Connection Attempt Delay".
const STAGGER: Duration = Duration::from_millis(250);
/// How many of a name's addresses are tried.
const ADDRESSES_MAX: usize = 8;

/// Connects to the first of a name's addresses that answers. The caller puts a deadline on it.
pub(super) async fn tcp(host: &str, port: u16) -> io::Result<PromptAcks> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port))
        .await?
        .take(ADDRESSES_MAX)
        .collect();
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    let mut attempts: FuturesUnordered<_> = (0_u32..)
        .zip(addresses)
        .map(|(index, address)| async move {
            tokio::time::sleep(STAGGER * index).await;
            TcpStream::connect(address).await
        })
        .collect();
    let mut failure = None;
    while let Some(attempt) = attempts.next().await {
        match attempt {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(PromptAcks(stream));
            }
            Err(err) => failure = Some(failure.unwrap_or(err)),
        }
    }
    Err(failure.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}
