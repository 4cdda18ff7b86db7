//! A request's id: taken from the caller where it is well-formed, else made; on every log line of the request and in the answer.

use api::REQUEST_ID_HEADER;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;
use uuid::Uuid;

/// The longest id, in bytes.
const LENGTH_MAX: usize = 64;

/// Takes a well-formed id: 1..=64 of letters, digits and dashes. Anything else could break out of a log line.
fn well_formed(given: &str) -> bool {
    (1..=LENGTH_MAX).contains(&given.len())
        && given
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Runs the request in a span with its id.
pub async fn trace(request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(REQUEST_ID_HEADER)
        .and_then(|value| value.to_str().ok())
        .filter(|given| well_formed(given));
    let id = given.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned);
    let span = tracing::info_span!(
        "request",
        request_id = id,
        method = %request.method(),
        path = request.uri().path(),
    );
    let mut response = async {
        let started = std::time::Instant::now();
        let response = next.run(request).await;
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(status = response.status().as_u16(), took_ms, "answered");
        response
    }
    .instrument(span)
    .await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID_HEADER, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_that_cannot_break_a_log_line_are_taken() {
        for good in ["a", "0198c0de-0000-7000-8000-000000000000", &"x".repeat(64)] {
            assert!(well_formed(good), "{good}");
        }
        for bad in ["", "a b", "a\nb", "ä", "a_b", &"x".repeat(65)] {
            assert!(!well_formed(bad), "{bad:?}");
        }
    }
}
