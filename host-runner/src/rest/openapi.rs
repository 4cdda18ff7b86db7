//! The contract as an OpenAPI document, derived from the handlers and the wire types.

use axum::response::IntoResponse;
use utoipa::OpenApi;

use super::{console, events, handlers};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "host-runner",
        description = "What runs on each machine of a Millpond pool: HTTP/1.1 and JSON on a Unix socket. \
            What is no HTTP is answered with 400 and no body; every other refusal has an ApiError.",
        version = "1.0",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        handlers::host,
        handlers::usage,
        handlers::snapshot,
        handlers::images,
        handlers::image,
        handlers::instances,
        handlers::instance,
        handlers::create,
        handlers::delete,
        handlers::start,
        handlers::stop,
        handlers::restart,
        console::open,
        events::stream,
        serve,
    )
)]
struct Document;

/// The document, pretty-printed, with a line end.
pub fn document() -> Result<String, serde_json::Error> {
    let mut text = Document::openapi().to_pretty_json()?;
    text.push('\n');
    Ok(text)
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", responses((status = 200, description = "An OpenAPI 3.1 document")))]
pub async fn serve() -> impl IntoResponse {
    axum::Json(Document::openapi())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_document_is_the_derived_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == document().unwrap(),
            "docs/openapi.json has drifted; run `cargo run -p host-runner -- openapi > host-runner/docs/openapi.json`"
        );
    }
}
