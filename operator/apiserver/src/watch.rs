//! Owns a watch: from the history of a resource to the stream of events that one client sees.
//!
//! It must not know how objects are written. States of a watch, each entered once and in this order:
//!
//! | State | Sends | Leaves when |
//! |---|---|---|
//! | Initial | ADDED for each object, if the client asked for the present state, and the bookmark that ends it | all sent |
//! | Following | each change after that, a bookmark now and then | deadline, shutdown, a new schema, or history lost |
//! | Ended | nothing | - |
//!
//! Invariants: every change that concerns the client is sent once and in order, or the watch ends with 410 and the client
//! lists again; nothing is queued for a client but what it has not read of one batch, so a slow one costs no memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::codec::Shape;
use crate::error::ApiError;
use crate::hub::Hub;
use crate::limits::Watching;
use crate::object;
use crate::selector::{FieldSelector, LabelSelector};
use crate::served::Served;
use crate::store::{Event, Expired, Stored};
use crate::table::{self, IncludeObject};

/// Bookmarks come this often, as with kube-apiserver.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// A watch without timeoutSeconds ends by itself, so that load spreads after a restart; kube-apiserver's lower bound.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1_800);

/// A client may not ask for a longer one.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Changes or objects that are turned into one piece of the answer.
const BATCH: usize = 64;

/// Which objects a list or watch is about.
pub struct Filter {
    /// Only this namespace.
    pub namespace: Option<String>,
    /// Only objects with such labels.
    pub labels: Option<LabelSelector>,
    /// Only objects with such fields.
    pub fields: Option<FieldSelector>,
}

impl Filter {
    /// Whether an object, in the served version, is meant. The namespace is not looked at.
    pub fn selects(&self, served: &Served, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels").unwrap_or(&Value::Null);
        self.labels
            .as_ref()
            .is_none_or(|selector| selector.matches(labels))
            && self
                .fields
                .as_ref()
                .is_none_or(|selector| selector.matches(&served.resource, object))
    }

    /// Whether every object of the namespace is meant.
    pub fn selects_all(&self) -> bool {
        self.labels.is_none() && self.fields.is_none()
    }

    fn has(&self, served: &Served, stored: &Stored) -> bool {
        self.selects_all() || self.selects(served, &served.value(stored))
    }
}

/// How a watch begins.
pub struct Start {
    /// The objects to send first.
    pub initial: Vec<Arc<Stored>>,
    /// The resourceVersion that they, or the client's own state, are true at.
    pub version: u64,
    /// Whether a bookmark ends the initial objects.
    pub mark_initial: bool,
}

/// What a client asked for.
pub struct Asked {
    /// The resource and version.
    pub served: Arc<Served>,
    /// Which objects.
    pub filter: Filter,
    /// As what each object is sent.
    pub shape: Shape,
    /// What a Table carries of each object.
    pub include: IncludeObject,
    /// Whether bookmarks are wanted.
    pub bookmarks: bool,
    /// When it ends.
    pub timeout_seconds: Option<u64>,
}

/// A watch in progress.
pub struct Watch {
    hub: Arc<Hub>,
    asked: Asked,
    initial: std::vec::IntoIter<Arc<Stored>>,
    mark_initial: bool,
    cursor: u64,
    changed: watch::Receiver<u64>,
    deadline: Instant,
    next_bookmark: Instant,
    columns_sent: bool,
    ended: bool,
    _counted: Watching,
}

impl Watch {
    /// Begins a watch.
    pub fn new(hub: Arc<Hub>, asked: Asked, start: Start, counted: Watching) -> Self {
        let timeout = asked
            .timeout_seconds
            .filter(|seconds| *seconds > 0)
            .map_or(DEFAULT_TIMEOUT, Duration::from_secs)
            .min(TIMEOUT_MAX);
        let now = Instant::now();
        Self {
            changed: hub.store.subscribe(&asked.served.storage),
            hub,
            asked,
            initial: start.initial.into_iter(),
            mark_initial: start.mark_initial,
            cursor: start.version,
            deadline: now + timeout,
            next_bookmark: now + BOOKMARK_EVERY,
            columns_sent: false,
            ended: false,
            _counted: counted,
        }
    }

    /// The next piece of the answer: whole events, one per line. `None` ends it.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.ended {
                return None;
            }
            let mut out = Vec::new();
            self.send_initial(&mut out);
            if out.is_empty() {
                self.send_changes(&mut out);
            }
            if out.is_empty() && self.asked.bookmarks && Instant::now() >= self.next_bookmark {
                // Only here is everything up to the cursor sent.
                self.bookmark(&mut out, false);
            }
            if !out.is_empty() {
                return Some(Bytes::from(out));
            }
            if !self.ended {
                self.wait().await;
            }
        }
    }

    fn send_initial(&mut self, out: &mut Vec<u8>) {
        for stored in self.initial.by_ref().take(BATCH).collect::<Vec<_>>() {
            let bytes = self.asked.served.bytes(&stored);
            self.write(out, "ADDED", bytes);
        }
        if self.initial.len() == 0 && std::mem::take(&mut self.mark_initial) {
            self.bookmark(out, true);
        }
    }

    fn send_changes(&mut self, out: &mut Vec<u8>) {
        // Seen before the history is read: a change in between wakes the next wait at once.
        self.changed.borrow_and_update();
        loop {
            let storage = &self.asked.served.storage;
            match self.hub.store.changes_after(storage, self.cursor, BATCH) {
                Err(expired) => {
                    self.expire(out, expired);
                    return;
                }
                Ok((events, through)) => {
                    let full = events.len() == BATCH;
                    for event in events {
                        self.send_change(out, &event);
                    }
                    self.cursor = through;
                    if !full || !out.is_empty() {
                        return;
                    }
                }
            }
        }
    }

    fn send_change(&mut self, out: &mut Vec<u8>, event: &Event) {
        let Asked { served, filter, .. } = &self.asked;
        if filter
            .namespace
            .as_ref()
            .is_some_and(|namespace| *namespace != event.key.namespace)
        {
            return;
        }
        let before = event
            .previous
            .as_ref()
            .is_some_and(|old| filter.has(served, old));
        let after = !event.deleted && filter.has(served, &event.object);
        let (kind, bytes) = match (before, after) {
            (false, false) => return,
            (false, true) => ("ADDED", served.bytes(&event.object)),
            (true, true) => ("MODIFIED", served.bytes(&event.object)),
            (true, false) if event.deleted => ("DELETED", served.bytes(&event.object)),
            (true, false) => ("DELETED", self.left_behind(event)),
        };
        self.write(out, kind, bytes);
    }

    /// An object that is selected no more is told as it was, at the version at which it left.
    fn left_behind(&self, event: &Event) -> Bytes {
        let stored = event.previous.as_ref().unwrap_or(&event.object);
        let mut value = self.asked.served.value(stored);
        let version = event.object.version.to_string();
        object::set_meta(&mut value, "resourceVersion", Value::String(version));
        Bytes::from(value.to_string())
    }

    fn write(&mut self, out: &mut Vec<u8>, kind: &str, object: Bytes) {
        let object = match self.asked.shape {
            Shape::Object | Shape::Discovery(_) => object,
            Shape::Metadata(version) => {
                let value: Value = serde_json::from_slice(&object).unwrap_or_default();
                Bytes::from(table::partial_metadata(&value, version).to_string())
            }
            Shape::Table(version) => {
                let value: Value = serde_json::from_slice(&object).unwrap_or_default();
                Bytes::from(self.row(&value, version).to_string())
            }
        };
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\",\"object\":");
        out.extend_from_slice(&object);
        out.extend_from_slice(b"}\n");
    }

    /// Columns are told once per watch.
    fn row(&mut self, value: &Value, version: &str) -> Value {
        let meta = json!({"resourceVersion": object::version(value)});
        let mut table = table::table(
            &self.asked.served.resource,
            &[value],
            meta,
            self.asked.include,
            self.hub.exactly_now(),
        );
        table["apiVersion"] = json!(format!("meta.k8s.io/{version}"));
        if std::mem::replace(&mut self.columns_sent, true) {
            table["columnDefinitions"] = Value::Null;
        }
        table
    }

    fn bookmark(&mut self, out: &mut Vec<u8>, ends_initial: bool) {
        let resource = &self.asked.served.resource;
        let mut mark = json!({
            "kind": resource.kind,
            "apiVersion": self.asked.served.api_version(),
            "metadata": {"resourceVersion": self.cursor.to_string(), "creationTimestamp": null},
        });
        if ends_initial {
            mark["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        self.write(out, "BOOKMARK", Bytes::from(mark.to_string()));
        self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
    }

    fn expire(&mut self, out: &mut Vec<u8>, expired: Expired) {
        let status = ApiError::expired(expired.to_string()).status();
        let event = json!({"type": "ERROR", "object": status});
        out.extend_from_slice(event.to_string().as_bytes());
        out.push(b'\n');
        self.ended = true;
    }

    async fn wait(&mut self) {
        let closed = self.asked.served.closed.clone();
        let stopping = self.hub.stopping.clone();
        tokio::select! {
            changed = self.changed.changed() => {
                // The store outlives its watches; without it there is nothing more to say.
                self.ended = changed.is_err();
            }
            () = tokio::time::sleep_until(self.next_bookmark), if self.asked.bookmarks => {}
            () = tokio::time::sleep_until(self.deadline) => self.ended = true,
            () = closed.cancelled() => self.ended = true,
            () = stopping.cancelled() => self.ended = true,
        }
    }
}
