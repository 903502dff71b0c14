//! Kubernetes Events: what a user must know, beside the object that it is about.
//!
//! Owns the writing of `events.k8s.io/v1` and the counting of repeated ones. It must not decide what is worth an
//! Event. Invariants: an Event that cannot be written is logged and holds nothing up; Events are no effects, so the
//! world is the same without them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event as Document, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Resource;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use plan::EventKind;
use serde_json::json;
use tracing::warn;

use crate::clock::Clock;

/// Who reports, as `kubectl describe` shows it.
const CONTROLLER: &str = "mooring.dev/operator";
/// The longest note that Kubernetes takes, in bytes.
const MAX_NOTE: usize = 1024;
/// The same Event within this time is counted up, not written again.
const SERIES: Duration = Duration::from_secs(600);
/// Events remembered for counting up; beyond this the oldest is forgotten and would be written anew.
const MAX_REMEMBERED: usize = 1024;
/// The namespace of Events about objects that have none, as Kubernetes has it.
const CLUSTER_NAMESPACE: &str = "default";

/// Writes Events. Cloning shares the memory.
#[derive(Clone)]
pub struct Events {
    client: kube::Client,
    clock: Arc<dyn Clock>,
    instance: String,
    written: Arc<Mutex<BTreeMap<Same, Written>>>,
}

/// What makes two Events the same: uid, reason and note.
type Same = (String, &'static str, String);

#[derive(Clone)]
struct Written {
    name: String,
    count: i32,
    last: Timestamp,
}

impl Events {
    /// Writes in the name of `instance`, for example the host's name.
    pub fn new(client: kube::Client, clock: Arc<dyn Clock>, instance: &str) -> Events {
        Events {
            client,
            clock,
            instance: instance.to_owned(),
            written: Arc::default(),
        }
    }

    /// Writes one Event about `object`. Failures are logged.
    pub async fn publish<K>(&self, object: &K, event: &plan::Event)
    where
        K: Resource<DynamicType = ()>,
    {
        let about = object.object_ref(&());
        let namespace = about
            .namespace
            .clone()
            .unwrap_or_else(|| CLUSTER_NAMESPACE.to_owned());
        let api: Api<Document> = Api::namespaced(self.client.clone(), &namespace);
        let note = event.message[..event.message.floor_char_boundary(MAX_NOTE)].to_owned();
        let uid = about.uid.clone().unwrap_or_default();
        let same = (uid, event.reason, note.clone());
        let now = self.clock.now();
        let result = match self.repeated(&same, now) {
            Some(Written { name, count, .. }) => {
                let series = EventSeries {
                    count,
                    last_observed_time: MicroTime(now),
                };
                let patch = json!({ "series": series });
                let params = PatchParams::default();
                api.patch(&name, &params, &Patch::Merge(&patch))
                    .await
                    .map(drop)
            }
            None => {
                let document = self.document(&about, &namespace, event, note, now);
                let name = document.metadata.name.clone().unwrap_or_default();
                self.remember(same, name, now);
                api.create(&PostParams::default(), &document)
                    .await
                    .map(drop)
            }
        };
        if let Err(error) = result {
            warn!(
                error = crate::api::words(&error),
                reason = event.reason,
                object = about.name,
                "cannot write an Event"
            );
        }
    }

    fn document(
        &self,
        about: &ObjectReference,
        namespace: &str,
        event: &plan::Event,
        note: String,
        now: Timestamp,
    ) -> Document {
        let name = about.name.clone().unwrap_or_default();
        // kubectl describe shows Events of this form in the order of their names, so time comes first in them.
        let random = crate::hex::encode(&crate::install::random_16()[..4]);
        let suffix = format!("{:x}{random}", now.as_nanosecond());
        Document {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{suffix}")),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            action: Some("Reconcile".to_owned()),
            event_time: Some(MicroTime(now)),
            note: Some(note),
            reason: Some(event.reason.to_owned()),
            regarding: Some(about.clone()),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(
                match event.kind {
                    EventKind::Normal => "Normal",
                    EventKind::Warning => "Warning",
                }
                .to_owned(),
            ),
            ..Document::default()
        }
    }

    /// The Event that says the same already, with its new count.
    fn repeated(&self, same: &Same, now: Timestamp) -> Option<Written> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let known = written.get_mut(same)?;
        if crate::clock::until(known.last, now) > SERIES {
            written.remove(same);
            return None;
        }
        known.count = known.count.saturating_add(1);
        known.last = now;
        Some(known.clone())
    }

    fn remember(&self, same: Same, name: String, now: Timestamp) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.len() >= MAX_REMEMBERED {
            let oldest = written
                .iter()
                .min_by_key(|(_, written)| written.last)
                .map(|(same, _)| same.clone());
            if let Some(oldest) = oldest {
                written.remove(&oldest);
            }
        }
        let first = Written {
            name,
            count: 1,
            last: now,
        };
        written.insert(same, first);
    }
}
