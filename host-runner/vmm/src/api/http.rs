//! The little of HTTP/1.1 that the control socket speaks: one request a connection, bodies of bounded length.
//!
//! Source: RFC 9112. Parsing is httparse's.

use std::io::{self, Read, Write};

use serde::Serialize;

/// The most bytes of a request's head.
pub const HEAD_MAX: usize = 8 << 10;
/// The most bytes of a request's body.
pub const BODY_MAX: usize = 64 << 10;
/// The most header fields of a request.
const FIELDS_MAX: usize = 32;

/// A request, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `PUT` …
    pub method: String,
    /// The path, without what follows a `?`.
    pub path: String,
    /// The body.
    pub body: Vec<u8>,
}

/// Why a request could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The other side stopped, was too slow, or went away.
    #[error("the request did not arrive")]
    Io(#[from] io::Error),
    /// It is no HTTP.
    #[error("not an HTTP/1.1 request: {0}")]
    Malformed(httparse::Error),
    /// It is too long.
    #[error("{what} is longer than {max} bytes")]
    TooLong {
        /// The head, or the body.
        what: &'static str,
        /// The most that is read.
        max: usize,
    },
    /// Its body's length is not said as it must be.
    #[error("a body needs a Content-Length, and no Transfer-Encoding")]
    Length,
}

impl RequestError {
    /// The status of the answer; `None` where nobody is there to read it.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Io(_) => None,
            Self::Malformed(_) | Self::Length => Some(400),
            Self::TooLong { .. } => Some(413),
        }
    }
}

/// Reads one request.
pub fn read(stream: &mut impl Read) -> Result<Request, RequestError> {
    let mut bytes = Vec::new();
    let (mut request, length, head) = loop {
        if let Some(parsed) = parse_head(&bytes)? {
            break parsed;
        }
        if bytes.len() >= HEAD_MAX {
            return Err(RequestError::TooLong {
                what: "the request's head",
                max: HEAD_MAX,
            });
        }
        more(stream, &mut bytes, HEAD_MAX)?;
    };
    if length > BODY_MAX {
        return Err(RequestError::TooLong {
            what: "the request's body",
            max: BODY_MAX,
        });
    }
    while bytes.len() < head + length {
        more(stream, &mut bytes, head + length)?;
    }
    request.body = bytes.get(head..head + length).unwrap_or_default().to_vec();
    Ok(request)
}

/// Reads what there is, up to `limit` bytes in all.
fn more(stream: &mut impl Read, bytes: &mut Vec<u8>, limit: usize) -> Result<(), RequestError> {
    let mut part = [0; 1024];
    let room = limit.saturating_sub(bytes.len()).min(part.len());
    let read = stream.read(part.get_mut(..room).unwrap_or_default())?;
    if read == 0 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    bytes.extend_from_slice(part.get(..read).unwrap_or_default());
    Ok(())
}

/// The request without its body, the body's length, and the head's; `None` while the head is not all there.
fn parse_head(bytes: &[u8]) -> Result<Option<(Request, usize, usize)>, RequestError> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut fields);
    let head = match parsed.parse(bytes).map_err(RequestError::Malformed)? {
        httparse::Status::Complete(head) => head,
        httparse::Status::Partial => return Ok(None),
    };
    let mut length = None;
    for field in parsed.headers.iter() {
        if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(RequestError::Length);
        }
        if field.name.eq_ignore_ascii_case("content-length") {
            let said = std::str::from_utf8(field.value)
                .ok()
                .and_then(|text| text.trim().parse::<usize>().ok());
            // Two different lengths are how one request is smuggled behind another.
            if said.is_none() || length.is_some_and(|before| Some(before) != said) {
                return Err(RequestError::Length);
            }
            length = said;
        }
    }
    let target = parsed.path.unwrap_or_default();
    let request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        path: target.split('?').next().unwrap_or_default().to_owned(),
        body: Vec::new(),
    };
    Ok(Some((request, length.unwrap_or(0), head)))
}

/// Writes an answer in JSON.
pub fn answer(stream: &mut impl Write, status: u16, body: &impl Serialize) -> io::Result<()> {
    let body = serde_json::to_vec(body)?;
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        413 => "Content Too Large",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    };
    write!(
        stream,
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(&body)?;
    stream.flush()
}

/// Begins an answer of JSON lines, which is as long as the connection lasts.
pub fn begin_lines(stream: &mut impl Write) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\nconnection: close\r\n\r\n")
}

/// Writes one of them, at once.
pub fn line(stream: &mut impl Write, body: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(body)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    stream.flush()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Request, RequestError> {
        read(&mut text.as_bytes())
    }

    #[test]
    fn a_request_has_a_method_a_path_and_a_body() {
        let request =
            parse("PUT /v1/balloon?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}more").unwrap();
        let expected = Request {
            method: "PUT".into(),
            path: "/v1/balloon".into(),
            body: b"{}".to_vec(),
        };
        assert_eq!(request, expected);
    }

    #[test]
    fn a_request_that_arrives_byte_by_byte_is_the_same() {
        struct Slow<'a>(&'a [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                let (Some((first, rest)), Some(to)) = (self.0.split_first(), into.first_mut()) else {
                    return Ok(0);
                };
                *to = *first;
                self.0 = rest;
                Ok(1)
            }
        }
        let request = read(&mut Slow(
            b"POST /v1/pause HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc",
        ))
        .unwrap();
        assert_eq!(
            (request.path.as_str(), request.body.as_slice()),
            ("/v1/pause", b"abc".as_slice())
        );
    }

    #[test]
    fn what_is_too_long_or_ambiguous_is_refused() {
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(HEAD_MAX));
        assert!(matches!(
            parse(&long),
            Err(RequestError::TooLong {
                what: "the request's head",
                ..
            })
        ));
        let large = format!("PUT / HTTP/1.1\r\ncontent-length: {}\r\n\r\n", BODY_MAX + 1);
        assert!(matches!(
            parse(&large),
            Err(RequestError::TooLong {
                what: "the request's body",
                ..
            })
        ));
        let two = "PUT / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab";
        assert!(matches!(parse(two), Err(RequestError::Length)));
        let chunked = "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
        assert!(matches!(parse(chunked), Err(RequestError::Length)));
        assert!(matches!(
            parse("PUT / HTTP/1.1\r\ncontent-length: -1\r\n\r\n"),
            Err(RequestError::Length)
        ));
        assert!(matches!(parse("GET / HT"), Err(RequestError::Io(_))));
        assert!(matches!(
            parse("\0\0\0\0 / HTTP/1.1\r\n\r\n"),
            Err(RequestError::Malformed(_))
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
            let _whatever = read(&mut bytes.as_slice());
        }
    }
}
