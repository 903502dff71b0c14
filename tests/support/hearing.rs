//! What an operator hears: the events of the API's watches and of the Engine, of which one can be lost.
//!
//! Owns their count. It must not know what an operator makes of them. What a watch lists at its beginning is no event.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Frame};
use serde_json::Value;

use crate::fake_engine::FakeEngine;

/// The ears of one operator.
#[derive(Default)]
pub struct Hearing {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    counting: bool,
    /// Every event since it was armed, in words.
    events: Vec<String>,
    /// The index of the one that does not arrive.
    lost: Option<usize>,
}

impl Hearing {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts from here on, and loses the event with this index (from 0), if any.
    pub fn arm(&self, lost: Option<usize>) {
        *self.state() = State {
            counting: true,
            events: Vec::new(),
            lost,
        };
    }

    /// What was sent since it was armed, the lost one included.
    pub fn events(&self) -> Vec<String> {
        self.state().events.clone()
    }

    /// Counts an event. False: it is the one that is lost.
    fn arrives(&self, event: String) -> bool {
        let mut state = self.state();
        if !state.counting {
            return true;
        }
        state.events.push(event);
        state.lost != Some(state.events.len() - 1)
    }

    /// Listens between an Engine and whoever hears its events.
    pub(crate) fn over(self: &Arc<Self>, engine: &FakeEngine) {
        let hearing = Arc::clone(self);
        engine.set_event_losses(move |event| hearing.arrives(format!("engine: {event}")));
    }

    /// An answer of the API, in which the events of a watch are counted.
    pub(crate) fn answer<B>(
        self: &Arc<Self>,
        answer: Response<B>,
    ) -> Response<UnsyncBoxBody<Bytes, B::Error>>
    where
        B: Body<Data = Bytes> + Send + 'static,
    {
        let hearing = Arc::clone(self);
        let heard = move |frame: Frame<Bytes>| frame.map_data(|piece| hearing.heard(&piece));
        answer.map(|body| body.map_frame(heard).boxed_unsync())
    }

    /// A piece of an answer without the event that is lost. Each piece holds whole lines, each line one event.
    fn heard(&self, piece: &Bytes) -> Bytes {
        let arrives = |line: &&[u8]| event(line).is_none_or(|event| self.arrives(event));
        let lines = piece.split_inclusive(|byte| *byte == b'\n');
        Bytes::from(lines.filter(arrives).collect::<Vec<_>>().concat())
    }
}

/// An event of a watch in words; anything else is none.
fn event(line: &[u8]) -> Option<String> {
    let event: Value = serde_json::from_slice(line).ok()?;
    let type_ = event["type"].as_str()?;
    if !["ADDED", "MODIFIED", "DELETED"].contains(&type_) {
        return None;
    }
    let object = &event["object"];
    let word = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let name = word("/metadata/name").unwrap_or_default();
    let kind = word("/kind").unwrap_or_default();
    let version = word("/metadata/resourceVersion").unwrap_or_default();
    Some(format!("api: {type_} {kind} {name} at {version}"))
}
