//! What handlers read from a request, with every rejection in the contract's own shape.

use api::{ApiError, BODY_BYTES_MAX, ErrorCode};
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::header;
use axum::http::request::Parts;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::answer::Failure;

/// The one variable part of a path, as text.
#[derive(Debug)]
pub struct PathText(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathText {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(text)) => Ok(Self(text)),
            Err(_) => Err(ApiError::new(ErrorCode::MalformedRequest, "the path is not valid UTF-8").into()),
        }
    }
}

/// The id in an instance's path.
#[derive(Debug, Clone, Copy)]
pub struct InstanceId(pub Uuid);

impl<S: Send + Sync> FromRequestParts<S> for InstanceId {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| bad_id())?;
        // Only the canonical form: one instance has one path.
        match Uuid::parse_str(&text) {
            Ok(id) if id.to_string() == text.to_ascii_lowercase() => Ok(Self(id)),
            _ => Err(bad_id()),
        }
    }
}

fn bad_id() -> Failure {
    ApiError::new(
        ErrorCode::MalformedRequest,
        "the id in the path is not a UUID such as 0198c0de-0000-7000-8000-000000000000",
    )
    .with("field", "id")
    .into()
}

/// A JSON body of at most [`BODY_BYTES_MAX`], without unknown fields.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let bytes = read_body(request).await?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| malformed(&error).into())
    }
}

/// Reads a body without ever holding more of it than is allowed; one that is announced too large is not read at all.
async fn read_body(request: Request) -> Result<Bytes, Failure> {
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    if announced.is_some_and(|length| usize::try_from(length).map_or(true, |length| length > BODY_BYTES_MAX))
    {
        return Err(too_large());
    }
    match Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => Err(ApiError::new(
            ErrorCode::MalformedRequest,
            format!("the request's body broke off: {error}"),
        )
        .into()),
    }
}

fn too_large() -> Failure {
    let limit_kib = u32::try_from(BODY_BYTES_MAX / 1024).unwrap_or(u32::MAX);
    ApiError::new(
        ErrorCode::BodyTooLarge,
        format!("the request's body is larger than {limit_kib} KiB"),
    )
    .with("limit_kib", limit_kib)
    .into()
}

fn malformed(error: &serde_json::Error) -> ApiError {
    let text = error.to_string();
    let api = ApiError::new(
        ErrorCode::MalformedRequest,
        format!("the request's body is not what is expected: {text}"),
    );
    match named_field(&text) {
        Some(field) => api.with("field", field),
        None => api,
    }
}

/// The field that serde complains about, where it names one.
fn named_field(text: &str) -> Option<&str> {
    let rest = ["unknown field `", "missing field `", "duplicate field `"]
        .iter()
        .find_map(|start| text.strip_prefix(start))?;
    rest.split('`').next().filter(|field| field.len() <= 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{CreateInstance, DetailValue};

    fn refused(json: &str) -> ApiError {
        malformed(&serde_json::from_str::<CreateInstance>(json).unwrap_err())
    }

    #[test]
    fn the_field_at_fault_is_named() {
        let cases = [
            (r#"{"generation":1,"start":true,"colour":"red"}"#, Some("colour")),
            (r#"{"generation":1,"start":true}"#, Some("spec")),
            (r#"{"generation":1,"generation":1}"#, Some("generation")),
            (r#"{"generation":"#, None),
        ];
        for (json, field) in cases {
            let error = refused(json);
            assert_eq!(error.code, ErrorCode::MalformedRequest);
            assert_eq!(
                error.details.get("field"),
                field.map(DetailValue::from).as_ref(),
                "{json}"
            );
        }
    }
}
