use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures::{Stream, StreamExt as _};

use crate::app::App;

/// How often a silent stream says that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

pub(super) async fn events(
    State(app): State<Arc<App>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let stopping = app.stopping().clone();
    let events = futures::stream::unfold(app.pool().subscribe(), |mut subscription| async {
        let event = subscription.next().await?;
        Some((event, subscription))
    });
    let lines = events.filter_map(|event| async move {
        match Event::default().json_data(&*event) {
            Ok(line) => Some(Ok(line)),
            Err(error) => {
                tracing::error!(%error, "an event cannot be written as JSON");
                None
            }
        }
    });
    Sse::new(lines.take_until(stopping.cancelled_owned())).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}
