//! Keeps other people's pages out.
//!
//! A page from anywhere can make a browser send requests to loopback. Two checks stop it: the `Host` header must name loopback, since a
//! page that points its own name at 127.0.0.1 (DNS rebinding) still sends that name; and where there is an `Origin` it must be this
//! server's, since a browser states the page's true origin with every POST, WebSocket and cross-origin read.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

/// The window's own policy (`tauri.conf.json`), so that what would break there breaks here too.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) async fn own_pages_only(request: Request, next: Next) -> Response {
    match check(request.headers()) {
        Ok(()) => {
            let mut response = next.run(request).await;
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
            headers.insert(
                header::X_CONTENT_TYPE_OPTIONS,
                HeaderValue::from_static("nosniff"),
            );
            response
        }
        Err(reason) => {
            tracing::warn!(
                reason,
                path = request.uri().path(),
                "a request from elsewhere was refused"
            );
            (StatusCode::FORBIDDEN, reason).into_response()
        }
    }
}

fn check(headers: &HeaderMap) -> Result<(), &'static str> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = text(header::HOST).ok_or("a request needs a Host header")?;
    if !is_loopback(host) {
        return Err("this server answers to its loopback address only");
    }
    match text(header::ORIGIN) {
        None => Ok(()),
        Some(origin) if origin.strip_prefix("http://") == Some(host) => Ok(()),
        Some(_) => Err("this server answers to its own pages only"),
    }
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split_once(']').map_or("", |(name, _)| name),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    matches!(name, "127.0.0.1" | "localhost" | "::1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(host: &'static str, origin: Option<&'static str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(host));
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
        }
        check(&headers).is_err()
    }

    #[test]
    fn its_own_pages_and_programs_without_an_origin_are_let_in() {
        assert!(!refused("127.0.0.1:4000", None));
        assert!(!refused("localhost:4000", Some("http://localhost:4000")));
        assert!(!refused("[::1]:4000", Some("http://[::1]:4000")));
    }

    #[test]
    fn other_pages_are_kept_out() {
        assert!(refused("evil.example:4000", None), "a rebound name");
        assert!(
            refused("127.0.0.1.evil.example", None),
            "a name that begins like loopback"
        );
        assert!(refused("127.0.0.1:4000", Some("https://evil.example")));
        assert!(
            refused("127.0.0.1:4000", Some("http://127.0.0.1:5000")),
            "another server of this computer"
        );
        assert!(refused("127.0.0.1:4000", Some("null")), "a sandboxed frame");
        assert!(check(&HeaderMap::new()).is_err(), "no Host");
    }
}
