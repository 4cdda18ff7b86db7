//! The commands over HTTP on loopback, so that a browser can run the window's code against the real Rust half.
//!
//! `POST /api/call` takes a [`Call`](crate::contract::Call); `GET /api/events` streams [`WindowEvent`](crate::contract::WindowEvent)s;
//! `GET /api/console/{machine}/{instance}` is a WebSocket. Everything else is the window's page.
//!
//! Whoever is let in can do what the user can. So it listens on loopback only, answers only to pages of its own (see `guard`), and only
//! to those who have this start's token (see [`Access`]): every guest in QEMU's user network reaches loopback too.

mod access;
mod call;
mod console;
mod events;
mod guard;

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};
use tower_http::services::{ServeDir, ServeFile};

pub use access::Access;

use crate::app::App;

/// The routes over `app`, with the page in the folder `page`, for those who have `access`.
pub fn router(app: Arc<App>, page: &Path, access: Access) -> Router {
    let access = Arc::new(access);
    // A page of the app has addresses of its own (`/machines/…`): each of them is the same file.
    let files = ServeDir::new(page).fallback(ServeFile::new(page.join("index.html")));
    let api = Router::new()
        .route("/call", post(call::call))
        .route("/events", get(events::events))
        .route("/console/{machine}/{instance}", get(console::console))
        .fallback(call::no_such_endpoint)
        .layer(DefaultBodyLimit::max(api::BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&access),
            guard::token_needed,
        ))
        .with_state(app);
    Router::new()
        .nest("/api", api)
        .fallback_service(files)
        .layer(middleware::from_fn_with_state(access, guard::own_pages_only))
}
