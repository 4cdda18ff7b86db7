//! The stream of events.
use std::pin::Pin;
use std::task::{Context, Poll};

use super::ClientError;
use crate::Event;

/// The events of one agent, as they happen. Ends with an error; after any error it ends.
#[derive(Debug)]
pub struct EventStream {}

impl futures::Stream for EventStream {
    type Item = Result<Event, ClientError>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        todo!()
    }
}
