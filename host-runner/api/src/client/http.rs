//! HTTP/1.1 over the connector's streams: a few connections that are used again, each call with a deadline and a size limit.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use super::error::presentable;
use super::ssh::{Failed, SshError};
use super::{BrokenConnection, ClientError, Connector, RequestContext};
use crate::{ApiError, CONSOLE_PROTOCOL, REQUEST_ID_HEADER};

/// How many calls are under way at once; more wait their turn. Streams of events and consoles do not count.
const CALLS_MAX: usize = 4;
/// How many connections are kept for the next call. Over SSH each is a channel, and may be one of the server's `MaxSessions`.
const IDLE_MAX: usize = 2;
/// How much of a refusal is read, in bytes.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// How much of a refusal's message is shown, in characters.
const MESSAGE_CHARS_MAX: usize = 2_000;

/// One request, and how patient and how hungry the caller is.
pub(super) struct Call {
    /// For people, such as `start an instance`.
    pub operation: &'static str,
    pub method: Method,
    pub path: String,
    /// JSON; empty for none.
    pub body: Bytes,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// From the wait for a free connection to the last byte of the answer (of its head, for streams).
    pub deadline: Duration,
    pub answer_bytes_max: usize,
}

#[derive(Debug)]
pub(super) struct Http {
    connector: Arc<dyn Connector>,
    idle: Mutex<Vec<Connection>>,
    calls: Semaphore,
}

/// One HTTP connection, with the task that drives it.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Why the SSH link below failed, once it has.
    link_failure: Arc<OnceLock<Arc<SshError>>>,
    _driver: AbortOnDropHandle<()>,
}

impl Http {
    pub(super) fn new(connector: Arc<dyn Connector>) -> Self {
        Self {
            connector,
            idle: Mutex::default(),
            calls: Semaphore::new(CALLS_MAX),
        }
    }

    /// Makes a call and gives the answer's body.
    pub(super) async fn call(&self, context: &RequestContext, call: Call) -> Result<Bytes, ClientError> {
        let (operation, deadline) = (call.operation, call.deadline);
        within(operation, deadline, async {
            let _permit = self.calls.acquire().await.map_err(|_| shut_down(operation))?;
            let limit_bytes = call.answer_bytes_max;
            let (response, connection) = self.exchange(context, &call, true).await?;
            if !response.status().is_success() {
                let refusal = refusal(operation, response).await;
                self.put_back(connection);
                return Err(refusal);
            }
            let body = collect(operation, response.into_body(), limit_bytes).await?;
            self.put_back(connection);
            Ok(body)
        })
        .await
    }

    /// Makes a call whose answer has no end, on a connection of its own.
    pub(super) async fn stream(
        &self,
        context: &RequestContext,
        call: Call,
    ) -> Result<(Connection, Incoming), ClientError> {
        let operation = call.operation;
        within(operation, call.deadline, async {
            let (response, connection) = self.exchange(context, &call, false).await?;
            if response.status() != StatusCode::OK {
                return Err(refusal(operation, response).await);
            }
            Ok((connection, response.into_body()))
        })
        .await
    }

    /// Makes a call that turns its connection into a console's stream.
    pub(super) async fn upgrade(
        &self,
        context: &RequestContext,
        mut call: Call,
    ) -> Result<ConsoleStream, ClientError> {
        let operation = call.operation;
        let protocol = HeaderValue::from_static(CONSOLE_PROTOCOL);
        call.headers
            .push((CONNECTION, HeaderValue::from_static("Upgrade")));
        call.headers.push((UPGRADE, protocol.clone()));
        within(operation, call.deadline, async {
            let (response, connection) = self.exchange(context, &call, false).await?;
            if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                return Err(refusal(operation, response).await);
            }
            if response.headers().get(UPGRADE) != Some(&protocol) {
                return Err(ClientError::BadAnswer {
                    operation,
                    reason: format!("it switched to another protocol than {CONSOLE_PROTOCOL}"),
                });
            }
            let upgraded = hyper::upgrade::on(response)
                .await
                .map_err(|err| connection.broken(operation, err))?;
            Ok(ConsoleStream {
                bytes: TokioIo::new(upgraded),
            })
        })
        .await
    }

    /// Sends a request, on a kept connection where one is left and `reuse` says so.
    async fn exchange(
        &self,
        context: &RequestContext,
        call: &Call,
        reuse: bool,
    ) -> Result<(Response<Incoming>, Connection), ClientError> {
        let mut request = request(context, call)?;
        while let Some(mut connection) = reuse.then(|| self.take()).flatten() {
            // The agent may have closed it meanwhile.
            if connection.sender.ready().await.is_err() {
                continue;
            }
            match connection.sender.try_send_request(request).await {
                Ok(response) => return Ok((response, connection)),
                Err(mut failure) => match failure.take_message() {
                    // Nothing was sent: another connection may carry it.
                    Some(unsent) => request = unsent,
                    None => return Err(connection.broken(call.operation, failure.into_error())),
                },
            }
        }
        let mut connection = self.connect(call.operation).await?;
        match connection.sender.send_request(request).await {
            Ok(response) => Ok((response, connection)),
            Err(err) => Err(connection.broken(call.operation, err)),
        }
    }

    async fn connect(&self, operation: &'static str) -> Result<Connection, ClientError> {
        let stream = self.connector.open().await?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|err| broken(operation, err))?;
        let link_failure = Arc::new(OnceLock::new());
        let noted = link_failure.clone();
        let driver = tokio::spawn(async move {
            if let Err(err) = driver.with_upgrades().await
                && let Some(cause) = link_cause(&err)
            {
                // The first failure is the cause of the others.
                let _ = noted.set(cause);
            }
        });
        Ok(Connection {
            sender,
            link_failure,
            _driver: AbortOnDropHandle::new(driver),
        })
    }

    fn take(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop()
    }

    fn put_back(&self, connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
    }
}

impl Connection {
    fn broken(&self, operation: &'static str, err: hyper::Error) -> ClientError {
        match self.link_failure.get() {
            Some(cause) => ClientError::Ssh(cause.clone()),
            None => broken(operation, err),
        }
    }
}

fn request(context: &RequestContext, call: &Call) -> Result<Request<Full<Bytes>>, ClientError> {
    let mut builder = Request::builder()
        .method(call.method.clone())
        .uri(&call.path)
        .header(HOST, "host-runner")
        .header(REQUEST_ID_HEADER, context.request_id());
    if !call.body.is_empty() {
        builder = builder.header(CONTENT_TYPE, "application/json");
    }
    for (name, value) in &call.headers {
        builder = builder.header(name, value);
    }
    builder
        .body(Full::new(call.body.clone()))
        .map_err(|err| ClientError::BadAnswer {
            operation: call.operation,
            reason: format!("the request cannot be written: {err}"),
        })
}

async fn within<T>(
    operation: &'static str,
    deadline: Duration,
    work: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    match tokio::time::timeout(deadline, work).await {
        Ok(result) => result,
        Err(_) => Err(ClientError::DeadlineExceeded { operation, deadline }),
    }
}

async fn collect(operation: &'static str, body: Incoming, limit_bytes: usize) -> Result<Bytes, ClientError> {
    match Limited::new(body, limit_bytes).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(err) if err.is::<LengthLimitError>() => Err(ClientError::AnswerTooLarge {
            operation,
            limit_bytes,
        }),
        Err(err) => Err(match err.downcast::<hyper::Error>() {
            Ok(err) => broken(operation, *err),
            Err(err) => ClientError::Broken {
                operation,
                err: BrokenConnection::Stream(io::Error::other(err)),
            },
        }),
    }
}

/// The agent's own error, or a word about an answer that is none.
async fn refusal(operation: &'static str, response: Response<Incoming>) -> ClientError {
    let status = response.status();
    match collect(operation, response.into_body(), REFUSAL_BYTES_MAX).await {
        Ok(body) => match serde_json::from_slice::<ApiError>(&body) {
            Ok(mut error) => {
                error.message = presentable(&error.message, MESSAGE_CHARS_MAX);
                ClientError::Refused {
                    operation,
                    status: status.as_u16(),
                    error,
                }
            }
            Err(err) => ClientError::BadAnswer {
                operation,
                reason: format!("status {status} without an error of the contract ({err})"),
            },
        },
        Err(err) => err,
    }
}

/// A broken connection; where the SSH link below is the cause, that is what is told.
pub(super) fn broken(operation: &'static str, err: hyper::Error) -> ClientError {
    match link_cause(&err) {
        Some(cause) => ClientError::Ssh(cause),
        None => ClientError::Broken {
            operation,
            err: BrokenConnection::Http(err),
        },
    }
}

fn link_cause(err: &(dyn Error + 'static)) -> Option<Arc<SshError>> {
    let mut at = Some(err);
    while let Some(err) = at {
        let carried = err
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .and_then(|inner| inner.downcast_ref::<Failed>());
        if let Some(Failed(cause)) = carried {
            return Some(cause.clone());
        }
        at = err.source();
    }
    None
}

/// The semaphore is never closed; were it, the client would be going down.
fn shut_down(operation: &'static str) -> ClientError {
    ClientError::Broken {
        operation,
        err: BrokenConnection::Ended,
    }
}

/// A console's raw bytes, both ways. Dropping it leaves the console; the guest does not notice.
///
/// Whoever holds it keeps reading: over SSH, a reader that stands still for 5 s with 256 KiB unread loses the stream.
#[derive(Debug)]
pub struct ConsoleStream {
    bytes: TokioIo<Upgraded>,
}

impl AsyncRead for ConsoleStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_read(cx, buffer)
    }
}

impl AsyncWrite for ConsoleStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.bytes).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_shutdown(cx)
    }
}
