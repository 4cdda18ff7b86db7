//! The monitor's control socket: a little HTTP, one connection for each request, with a deadline.

use std::io;
use std::path::Path;
use std::time::Duration;

use api::EngineKind;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::engines::EngineError;

/// How long the monitor may take to answer.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What the monitor says of its machine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Machine {
    /// Whose it is.
    pub id: String,
    /// What it does: `running`, or `paused`.
    pub state: String,
    /// The disk that it is held for, where there is no room for what its guest writes.
    #[serde(default)]
    pub full_disk: Option<String>,
}

/// What the monitor says where it refuses.
#[derive(Debug, Deserialize)]
struct Refusal {
    message: String,
}

/// Asks what the machine is and does. Also returns the number of the process that serves the socket, as the kernel knows it.
pub async fn machine(socket: &Path) -> Result<(Machine, u32), EngineError> {
    let operation = "tell what its guest does";
    let (body, pid) = within(operation, request(socket, Method::GET, "/v1/machine")).await??;
    let machine = serde_json::from_slice(&body).map_err(|err| control(operation, err.into()))?;
    Ok((machine, pid))
}

/// Tells it to do something.
pub async fn tell(socket: &Path, operation: &'static str, path: &'static str) -> Result<(), EngineError> {
    match within(operation, request(socket, Method::POST, path)).await? {
        Ok(_) => Ok(()),
        Err(EngineError::Refused { engine, said, .. }) => Err(EngineError::Refused {
            engine,
            operation,
            said,
        }),
        Err(error) => Err(error),
    }
}

/// Asks for what lasts: a body, and the connection that carries it.
pub(super) async fn open_stream(
    socket: &Path,
    path: &'static str,
) -> Result<(Incoming, impl Future<Output = hyper::Result<()>> + use<>), EngineError> {
    let (mut sender, mut connection, _) = connect(socket).await?;
    let asked = sender.send_request(to_send(Method::GET, path)?);
    let answer = tokio::select! {
        answer = asked => answer.map_err(broken)?,
        ended = &mut connection => {
            ended.map_err(broken)?;
            return Err(control("listen", io::ErrorKind::UnexpectedEof.into()));
        }
    };
    if answer.status().is_success() {
        return Ok((answer.into_body(), connection));
    }
    Err(EngineError::Refused {
        engine: EngineKind::Microvm,
        operation: "tell what happens",
        said: answer.status().to_string(),
    })
}

async fn within<T>(operation: &'static str, work: impl Future<Output = T>) -> Result<T, EngineError> {
    timeout(DEADLINE, work).await.map_err(|_| EngineError::TimedOut {
        engine: EngineKind::Microvm,
        operation,
        deadline_ms: u32::try_from(DEADLINE.as_millis()).unwrap_or(u32::MAX),
    })
}

pub(super) fn control(operation: &'static str, err: io::Error) -> EngineError {
    EngineError::Control {
        engine: EngineKind::Microvm,
        operation,
        err,
    }
}

/// A connection to the control socket, and who serves it.
async fn connect(
    socket: &Path,
) -> Result<
    (
        http1::SendRequest<Empty<Bytes>>,
        http1::Connection<TokioIo<UnixStream>, Empty<Bytes>>,
        u32,
    ),
    EngineError,
> {
    let failed = |err: io::Error| control("reach the control socket", err);
    let stream = UnixStream::connect(socket).await.map_err(failed)?;
    let pid = stream
        .peer_cred()
        .and_then(|peer| peer.pid().ok_or_else(|| io::ErrorKind::NotFound.into()))
        .and_then(|pid| u32::try_from(pid).map_err(|_| io::ErrorKind::InvalidData.into()))
        .map_err(failed)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    Ok((sender, connection, pid))
}

fn broken(err: hyper::Error) -> EngineError {
    control("use the control socket", io::Error::other(err))
}

fn to_send(method: Method, path: &'static str) -> Result<Request<Empty<Bytes>>, EngineError> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(hyper::header::HOST, "microvm")
        .body(Empty::new())
        .map_err(|err| control("reach the control socket", io::Error::other(err)))
}

async fn request(socket: &Path, method: Method, path: &'static str) -> Result<(Bytes, u32), EngineError> {
    let failed = |err: io::Error| control("reach the control socket", err);
    let (mut sender, connection, pid) = connect(socket).await?;
    let request = to_send(method, path)?;
    let answered = async {
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|err| failed(io::Error::other(err)))?.to_bytes();
        if status.is_success() {
            return Ok((body, pid));
        }
        let said = serde_json::from_slice::<Refusal>(&body).map(|refusal| refusal.message);
        Err(EngineError::Refused {
            engine: EngineKind::Microvm,
            operation: "answer",
            said: said.unwrap_or_else(|_| status.to_string()),
        })
    };
    // The connection moves the bytes for as long as somebody waits for the answer, and goes with it.
    tokio::pin!(connection);
    tokio::pin!(answered);
    tokio::select! {
        answer = &mut answered => answer,
        ended = &mut connection => match ended {
            Ok(()) => answered.await,
            Err(err) => Err(broken(err)),
        },
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixListener;

    use super::*;

    /// Answers one request, and returns what was asked.
    async fn answer_once(listener: UnixListener, status: &str, body: &str) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = vec![0; 1024];
        let length = stream.read(&mut asked).await.unwrap();
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&asked[..length]).into_owned()
    }

    fn listener() -> (tempfile::TempDir, std::path::PathBuf, UnixListener) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let listener = UnixListener::bind(&path).unwrap();
        (dir, path, listener)
    }

    #[tokio::test]
    async fn the_machine_tells_its_id_and_its_process() {
        let (_dir, path, listener) = listener();
        let body =
            r#"{"id":"x","vcpus":1,"memory_mib":64,"version":"1","state":"paused","full_disk":"disk"}"#;
        let server = tokio::spawn(answer_once(listener, "200 OK", body));
        let (machine, pid) = machine(&path).await.unwrap();
        assert_eq!((machine.id.as_str(), machine.state.as_str()), ("x", "paused"));
        assert_eq!(machine.full_disk.as_deref(), Some("disk"));
        assert_eq!(pid, std::process::id());
        assert!(server.await.unwrap().starts_with("GET /v1/machine HTTP/1.1"));
    }

    #[tokio::test]
    async fn a_refusal_says_what_was_refused_and_why() {
        let (_dir, path, listener) = listener();
        let body = r#"{"code":"wrong_state","message":"the machine is running already"}"#;
        let server = tokio::spawn(answer_once(listener, "409 Conflict", body));
        let error = tell(&path, "set its guest running", "/v1/resume")
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the microVM monitor refused to set its guest running: the machine is running already"
        );
        assert!(server.await.unwrap().starts_with("POST /v1/resume"));
    }

    #[tokio::test]
    async fn nobody_at_the_socket_is_an_error_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let error = machine(&dir.path().join("api.sock")).await.unwrap_err();
        assert!(matches!(error, EngineError::Control { .. }), "{error}");
    }
}
