//! The events of the fake Engine: the last 256, as on a real one (F10), and those who listen.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use http::Response;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::Shared;
use super::reply::{Asked, Body, Filters, Refusal, stream_reply};
use super::world::{Container, World};

/// How many a real Engine keeps.
const KEPT: usize = 256;

/// One event.
#[derive(Debug, Clone)]
pub(super) struct Event {
    kind: &'static str,
    action: String,
    id: String,
    attributes: BTreeMap<String, String>,
    time: Timestamp,
}

impl Event {
    fn line(&self) -> Bytes {
        let Event {
            kind,
            action,
            id,
            attributes,
            time,
        } = self;
        let mut event = json!({
            "Type": kind, "Action": action, "Actor": { "ID": id, "Attributes": attributes }, "scope": "local",
            "time": time.as_second(),
            "timeNano": i64::try_from(time.as_nanosecond()).expect("until the year 2262"),
        });
        if *kind == "container" {
            event["status"] = json!(action);
            event["id"] = json!(id);
            event["from"] = json!(attributes.get("image"));
        }
        Bytes::from(format!("{event}\n"))
    }

    /// What happened to what.
    fn words(&self) -> String {
        let name = self.attributes.get("name").unwrap_or(&self.id);
        format!("{} {} {name}", self.kind, self.action)
    }

    fn matches(&self, filters: &Filters) -> bool {
        filters.match_one("type", self.kind)
            && filters.match_one("event", &self.action)
            && filters.match_labels(&self.attributes)
            && (self.kind != "container"
                || filters.match_one("container", &self.id)
                || self
                    .attributes
                    .get("name")
                    .is_some_and(|name| filters.match_one("container", name)))
    }
}

/// The ring and its listeners.
#[derive(Debug)]
pub(super) struct Events {
    ring: VecDeque<Event>,
    sender: broadcast::Sender<Event>,
}

impl Default for Events {
    fn default() -> Events {
        Events {
            ring: VecDeque::with_capacity(KEPT),
            sender: broadcast::channel(KEPT).0,
        }
    }
}

impl World {
    /// Tells of something that happened to any object.
    pub(super) fn tell(
        &mut self,
        kind: &'static str,
        action: &str,
        id: &str,
        attributes: &[(&str, &str)],
    ) {
        let attributes = attributes
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let event = Event {
            kind,
            action: action.to_owned(),
            id: id.to_owned(),
            attributes,
            time: self.clock.now(),
        };
        if self.events.ring.len() == KEPT {
            self.events.ring.pop_front();
        }
        self.events.ring.push_back(event.clone());
        // Nobody listening is no error.
        let _ = self.events.sender.send(event);
    }

    /// Tells of something that happened to a container: its labels, image and name go with it.
    pub(super) fn tell_of(&mut self, id: &str, action: &str, more: &[(&str, &str)]) {
        let Some(container) = self.containers.get(id) else {
            return;
        };
        let owned = attributes(container);
        let mut pairs: Vec<(&str, &str)> = owned
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        pairs.extend_from_slice(more);
        self.tell("container", action, id, &pairs);
    }

    /// Forgets all events, as a daemon that is started anew.
    pub(super) fn forget_events(&mut self) {
        self.events.ring.clear();
    }
}

fn attributes(container: &Container) -> BTreeMap<String, String> {
    let mut attributes = container.labels();
    attributes.insert(
        "image".to_owned(),
        container.config["Image"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    );
    attributes.insert("name".to_owned(), container.name.clone());
    attributes
}

/// `GET /events`.
pub(super) fn watch(shared: &Arc<Shared>, asked: &Asked) -> Result<Response<Body>, Refusal> {
    let filters = asked.filters(
        shared.options.generation,
        &[
            "type",
            "event",
            "label",
            "container",
            "image",
            "network",
            "volume",
            "scope",
        ],
    )?;
    let since = seconds(asked.parameter("since"));
    let until = seconds(asked.parameter("until"));
    let world = shared.world();
    let past: VecDeque<Event> = match since {
        None => VecDeque::new(),
        Some(since) => world
            .events
            .ring
            .iter()
            .filter(|event| event.time >= since)
            .cloned()
            .collect(),
    };
    let now = world.clock.now();
    let live = until
        .is_none_or(|until| until > now)
        .then(|| world.events.sender.subscribe());
    drop(world);
    let down = shared.down_token();
    let shared = Arc::clone(shared);
    let chunks = stream::unfold(
        (past, live, filters),
        move |(mut past, mut live, filters)| {
            let (down, shared) = (down.clone(), Arc::clone(&shared));
            async move {
                loop {
                    let event = match (past.pop_front(), &mut live) {
                        (Some(event), _) => event,
                        (None, None) => return None,
                        (None, Some(receiver)) => tokio::select! {
                            () = down.cancelled() => return None,
                            received = receiver.recv() => match received {
                                Ok(event) => event,
                                // A slow reader loses events, as with a real Engine: they are hints.
                                Err(RecvError::Lagged(_)) => continue,
                                Err(RecvError::Closed) => return None,
                            },
                        },
                    };
                    if until.is_some_and(|until| event.time > until) {
                        return None;
                    }
                    if event.matches(&filters) && shared.delivers(&event.words()) {
                        return Some((event.line(), (past, live, filters)));
                    }
                }
            }
        },
    );
    Ok(stream_reply("application/json", chunks))
}

/// `1795267049` or `1795267049.000000001`.
fn seconds(text: &str) -> Option<Timestamp> {
    let (whole, nanos) = text.split_once('.').unwrap_or((text, "0"));
    Timestamp::new(whole.parse().ok()?, nanos.parse().ok()?).ok()
}

/// The value of an attribute for a JSON null.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
