//! Keeps everybody else out: other people's pages, other programs of this computer, and guests.
//!
//! A page from anywhere can make a browser send requests to loopback. Two checks stop it: the `Host` header must name loopback and this
//! server's port, since a page that points its own name at 127.0.0.1 (DNS rebinding) still sends that name; and where there is an
//! `Origin` it must be this server's, since a browser states the page's true origin with every POST, WebSocket and cross-origin read.
//!
//! Programs and guests write what headers they like. What they do not know is this start's token, see [`Access`].

use std::sync::Arc;

use api::ErrorCode;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::access::Access;
use crate::commands::malformed;
use crate::contract::CommandError;

/// The window's own policy (`tauri.conf.json`), so that what would break there breaks here too.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What to do without the token.
const REMEDY: &str = "open the link that millpond-dev-server printed when it started, or send its token as Authorization: Bearer";

/// The outer door, for the page and the commands alike. Trades the printed link for the cookie.
pub(super) async fn own_pages_only(
    State(access): State<Arc<Access>>,
    request: Request,
    next: Next,
) -> Response {
    if let Err(reason) = check(&access, request.headers()) {
        tracing::warn!(
            reason,
            path = request.uri().path(),
            "a request from elsewhere was refused"
        );
        return refusal(StatusCode::FORBIDDEN, reason);
    }
    let mut response = match token_of_link(request.method(), request.uri()) {
        Some(token) if access.is_token(token) => welcome(&access),
        Some(_) => stranger(request.uri()),
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// The inner door, before every command, event and console.
pub(super) async fn token_needed(
    State(access): State<Arc<Access>>,
    request: Request,
    next: Next,
) -> Response {
    if access.admits(request.headers()) {
        next.run(request).await
    } else {
        stranger(request.uri())
    }
}

fn check(access: &Access, headers: &HeaderMap) -> Result<(), &'static str> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = text(header::HOST).ok_or("a request needs a Host header")?;
    if !access.is_own_host(host) {
        return Err("this server answers to its loopback address and port only");
    }
    match text(header::ORIGIN) {
        None => Ok(()),
        Some(origin) if origin.strip_prefix("http://") == Some(host) => Ok(()),
        Some(_) => Err("this server answers to its own pages only"),
    }
}

/// The token of a request for `/?token=…`.
fn token_of_link<'a>(method: &Method, uri: &'a Uri) -> Option<&'a str> {
    if *method != Method::GET || uri.path() != "/" {
        return None;
    }
    uri.query()?
        .split('&')
        .find_map(|pair| pair.strip_prefix("token="))
}

/// The cookie, and the way to the page: the token leaves the address, so that it is in no picture of the window.
fn welcome(access: &Access) -> Response {
    let headers: [(HeaderName, String); 4] = [
        (header::SET_COOKIE, access.cookie()),
        (header::LOCATION, "/".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    (StatusCode::SEE_OTHER, headers).into_response()
}

fn stranger(uri: &Uri) -> Response {
    tracing::warn!(
        path = uri.path(),
        "a request without this start's token was refused"
    );
    let mut response = refusal(
        StatusCode::UNAUTHORIZED,
        "this server answers only to who has the token of this start",
    );
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

fn refusal(status: StatusCode, reason: &str) -> Response {
    let mut error: CommandError = malformed(reason);
    error.error = api::ApiError::new(ErrorCode::AuthenticationFailed, format!("{reason}: {REMEDY}"))
        .with("remedy", REMEDY);
    (status, Json(error)).into_response()
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
        check(&Access::generate(4000), &headers).is_err()
    }

    #[test]
    fn its_own_pages_and_programs_without_an_origin_come_to_the_inner_door() {
        assert!(!refused("127.0.0.1:4000", None));
        assert!(!refused("localhost:4000", Some("http://localhost:4000")));
        assert!(!refused("[::1]:4000", Some("http://[::1]:4000")));
    }

    #[test]
    fn other_pages_are_kept_out() {
        assert!(refused("evil.example:4000", None), "a rebound name");
        assert!(refused("127.0.0.1:5000", None), "another port");
        assert!(
            refused("127.0.0.1.evil.example", None),
            "a name that begins like loopback"
        );
        assert!(refused("127.0.0.1:4000", Some("https://evil.example")));
        assert!(
            refused("127.0.0.1:4000", Some("http://127.0.0.1:5000")),
            "another server of this computer, such as a guest's published port"
        );
        assert!(refused("127.0.0.1:4000", Some("null")), "a sandboxed frame");
        assert!(
            check(&Access::generate(4000), &HeaderMap::new()).is_err(),
            "no Host"
        );
    }
}
