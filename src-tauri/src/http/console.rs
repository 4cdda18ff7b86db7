use std::sync::Arc;

use api::client::RequestContext;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;
use uuid::Uuid;

use crate::app::App;
use crate::commands::refused;
use crate::console::{self, Console, PIECE_BYTES_MAX};
use crate::contract::CommandError;

/// The WebSocket close code for a console that could not be opened; a text message with the [`CommandError`] comes before.
const NOT_OPENED: u16 = 4000;

/// The WebSocket close code for a console whose instance stopped, or whose link broke.
const ENDED: u16 = 1000;

#[derive(Debug, Deserialize)]
pub(super) struct ConsoleQuery {
    request_id: Option<String>,
}

/// Binary messages are the console's bytes, both ways. A browser cannot read the body of a refused upgrade, so the upgrade is always
/// granted, and a console that cannot be opened says why in its only text message.
pub(super) async fn console(
    State(app): State<Arc<App>>,
    Path((machine, instance)): Path<(Uuid, Uuid)>,
    Query(query): Query<ConsoleQuery>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let context = query
        .request_id
        .map_or_else(RequestContext::generate, RequestContext::new);
    upgrade
        .max_message_size(4 * PIECE_BYTES_MAX)
        .on_upgrade(move |socket| async move {
            match console::open(&app, &context, machine, instance).await {
                Ok(console) => carry(socket, console).await,
                Err(error) => say(socket, refused(&error, None, &context)).await,
            }
        })
}

async fn carry(mut socket: WebSocket, console: Console) {
    let Console { mut output, input } = console;
    loop {
        tokio::select! {
            printed = output.next() => {
                let Some(printed) = printed else {
                    return close(&mut socket, ENDED, "the console has ended").await;
                };
                if socket.send(Message::Binary(printed)).await.is_err() {
                    return;
                }
            }
            typed = socket.recv() => match typed {
                Some(Ok(Message::Binary(typed))) => {
                    if input.send(typed).await.is_err() {
                        return close(&mut socket, ENDED, "the console has ended").await;
                    }
                }
                Some(Ok(Message::Text(_) | Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            },
        }
    }
}

async fn say(mut socket: WebSocket, error: CommandError) {
    let text = serde_json::to_string(&error).unwrap_or_default();
    if socket.send(Message::Text(text.into())).await.is_ok() {
        close(&mut socket, NOT_OPENED, "the console was not opened").await;
    }
}

async fn close(socket: &mut WebSocket, code: u16, reason: &'static str) {
    let frame = CloseFrame {
        code,
        reason: reason.into(),
    };
    // The other end may be gone already.
    let _ = socket.send(Message::Close(Some(frame))).await;
}
