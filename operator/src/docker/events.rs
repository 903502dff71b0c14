//! The Engine's events. They are hints: the Engine keeps 256 (F10), so after every gap the facts are read again.

use std::pin::Pin;
use std::task::{Context, Poll};

use bollard::models::EventMessage;
use bytes::BytesMut;
use futures::Stream;
use http_body::Body as _;
use hyper::body::Incoming;

use super::client::{Ask, cut_off};
use super::outcome::{Cause, Outcome};
use super::{Engine, calls};

/// The longest line that can be an event: labels of a container are in it, and they are bounded by its creator.
const MAX_LINE: usize = 1 << 20;

/// Events as they happen. It ends when the Engine goes away and after every error.
#[derive(Debug)]
pub struct EventStream {
    body: Incoming,
    buffer: BytesMut,
    ended: bool,
}

/// Subscribes to the events of the given types (`container`, `network`, `image`, `volume`) on objects that carry every
/// one of `labels`. Events of other types are not sent.
pub async fn subscribe(
    engine: &Engine,
    types: &[&str],
    labels: &[String],
) -> Result<EventStream, Outcome> {
    let filters = serde_json::json!({ "type": types, "label": labels });
    let body = engine
        .client
        .open(Ask::new(&calls::EVENTS, "").query("filters", filters.to_string()))
        .await?;
    Ok(EventStream {
        body,
        buffer: BytesMut::new(),
        ended: false,
    })
}

impl EventStream {
    /// The next event among the bytes that have arrived.
    fn parse(&mut self) -> Option<Result<EventMessage, Outcome>> {
        loop {
            let end = match self.buffer.iter().position(|byte| *byte == b'\n') {
                Some(end) => end,
                None if self.buffer.len() > MAX_LINE => {
                    return Some(Err(unreadable("an event is longer than 1 MiB")));
                }
                None => return None,
            };
            let line = self.buffer.split_to(end + 1);
            if line.trim_ascii().is_empty() {
                continue;
            }
            return Some(
                serde_json::from_slice(&line).map_err(|error| unreadable(&error.to_string())),
            );
        }
    }
}

fn unreadable(message: &str) -> Outcome {
    Outcome::Unknown {
        call: calls::EVENTS.name.to_owned(),
        cause: Cause::Unreadable,
        message: message.to_owned(),
    }
}

impl Stream for EventStream {
    type Item = Result<EventMessage, Outcome>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            if let Some(event) = self.parse() {
                self.ended = event.is_err();
                return Poll::Ready(Some(event));
            }
            match futures::ready!(Pin::new(&mut self.body).poll_frame(context)) {
                None => self.ended = true,
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(cut_off(calls::EVENTS.name, &error))));
                }
            }
        }
    }
}
