//! The commands over HTTP on loopback, so that a browser can run the window's code against the real Rust half.
//!
//! `POST /api/call` takes a [`Call`](crate::contract::Call); `GET /api/events` streams [`WindowEvent`](crate::contract::WindowEvent)s;
//! `GET /api/console/{machine}/{instance}` is a WebSocket. Everything else is the window's page.
//!
//! There is no login: whoever can open the port can do what the user can. So it listens on loopback only, and answers only to pages of
//! its own (see `guard`).

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

use crate::app::App;

/// The routes over `app`, with the page in the folder `page`.
pub fn router(app: Arc<App>, page: &Path) -> Router {
    // A page of the app has addresses of its own (`/machines/…`): each of them is the same file.
    let files = ServeDir::new(page).fallback(ServeFile::new(page.join("index.html")));
    let api = Router::new()
        .route("/call", post(call::call))
        .route("/events", get(events::events))
        .route("/console/{machine}/{instance}", get(console::console))
        .fallback(call::no_such_endpoint)
        .layer(DefaultBodyLimit::max(api::BODY_BYTES_MAX))
        .with_state(app);
    Router::new()
        .nest("/api", api)
        .fallback_service(files)
        .layer(middleware::from_fn(guard::own_pages_only))
}
