//! Every refusal as one JSON shape with the right status, whoever refuses.

use api::{ApiError, ErrorCode};
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::instances::InstanceError;
use crate::usage::UsageError;

/// A refusal on its way out.
#[derive(Debug)]
pub struct Failure {
    status: StatusCode,
    error: ApiError,
}

impl Failure {
    /// A refusal with a status of its own.
    pub fn with_status(status: StatusCode, error: ApiError) -> Self {
        Self { status, error }
    }
}

/// The status that goes with a code.
pub fn status_of(code: ErrorCode) -> StatusCode {
    StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self {
            status: status_of(error.code),
            error,
        }
    }
}

impl From<InstanceError> for Failure {
    fn from(error: InstanceError) -> Self {
        let api = error.to_api();
        if api.code == ErrorCode::Internal {
            tracing::error!(error = &error as &dyn std::error::Error, "a request failed");
        }
        // "No such image" is not found where the image is what was asked for, and a conflict where an instance needs it.
        if error.is_refusal() {
            return Self::with_status(StatusCode::CONFLICT, api);
        }
        api.into()
    }
}

impl From<UsageError> for Failure {
    fn from(error: UsageError) -> Self {
        match error {
            UsageError::Instances(error) => error.into(),
            UsageError::Host(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a request failed");
                ApiError::new(ErrorCode::Internal, error.to_string()).into()
            }
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        tracing::info!(code = ?self.error.code, status = self.status.as_u16(), reason = %self.error, "refused");
        let mut response = (self.status, Json(self.error)).into_response();
        if self.status == StatusCode::PAYLOAD_TOO_LARGE {
            // The rest of the body is not read: the connection has no use after this.
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
