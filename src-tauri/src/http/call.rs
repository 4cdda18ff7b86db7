use std::sync::Arc;

use api::{ApiError, ErrorCode};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use crate::app::App;
use crate::commands::{dispatch, malformed};
use crate::contract::CommandError;

pub(super) async fn call(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    // A form cannot send JSON, so a page that gets around the other checks with one ends here.
    let is_json = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let Ok(body) = body else {
        let mut error = malformed("its body is too large");
        error.error = ApiError::new(ErrorCode::BodyTooLarge, "the request is larger than 256 KiB").with(
            "limit_kib",
            u32::try_from(api::BODY_BYTES_MAX / 1024).unwrap_or(u32::MAX),
        );
        return refusal(error);
    };
    if !is_json {
        return refusal(malformed("its content type is not application/json"));
    }
    let call = match serde_json::from_slice(&body) {
        Ok(call) => call,
        Err(error) => return refusal(malformed(&error.to_string())),
    };
    match dispatch(&app, call).await {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => refusal(error),
    }
}

pub(super) async fn no_such_endpoint() -> Response {
    let mut error = malformed("there is nothing at this path");
    error.error.code = ErrorCode::NoSuchEndpoint;
    refusal(error)
}

fn refusal(error: CommandError) -> Response {
    (status(error.error.code), Json(error)).into_response()
}

fn status(code: ErrorCode) -> StatusCode {
    StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
