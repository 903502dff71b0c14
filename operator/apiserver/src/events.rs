//! Owns Events: their two names for the same fields, and that they are kept for an hour.
//!
//! It must not know who writes Events or why. Invariants: an Event written under one group reads under the other with
//! nothing lost; Events do not pile up, whatever a client does.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::sync::broadcast::error::RecvError;

use crate::hub::Hub;
use crate::registry::EVENTS;
use crate::store::{Effect, Expect, Key, Stored, Write};

/// How long an Event is kept after it was last seen, as kube-apiserver does by default.
pub const KEPT_FOR: Duration = Duration::from_secs(3_600);

/// Events kept in all; the oldest go first.
pub const EVENTS_MAX: usize = 20_000;

/// Expired Events are looked for this often at most; one may be shown for so much longer.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// (core group, events.k8s.io) names of the fields that differ.
const NAMES: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// Turns the core form into that of events.k8s.io/v1.
pub fn to_events_v1(event: &mut Value) {
    if let Some(fields) = event.as_object_mut() {
        for (core, renamed) in NAMES {
            rename(fields, core, renamed);
        }
    }
}

/// Turns the form of events.k8s.io/v1 into the core form.
pub fn to_core(event: &mut Value) {
    if let Some(fields) = event.as_object_mut() {
        for (core, renamed) in NAMES {
            rename(fields, renamed, core);
        }
    }
}

fn rename(fields: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = fields.remove(from) {
        fields.insert(to.to_owned(), value);
    }
}

/// Removes Events an hour after they were last seen. Runs until the server stops.
pub async fn expire(hub: Arc<Hub>) {
    let mut changes = hub.store.all_changes();
    let resource: Arc<str> = Arc::from(EVENTS);
    loop {
        let next = sweep(&hub, &resource).await;
        let Some(next) = next else {
            // Nothing can expire before an Event is written.
            loop {
                match changes.recv().await {
                    Ok(change) if change.key.resource == resource && !change.deleted => break,
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => break,
                    Err(RecvError::Closed) => return,
                }
            }
            continue;
        };
        tokio::time::sleep(next.max(SWEEP_EVERY)).await;
    }
}

/// Removes what has expired; answers how long it is until the next Event does.
async fn sweep(hub: &Hub, resource: &Arc<str>) -> Option<Duration> {
    let now = hub.now();
    let listing = hub.store.list(resource, None, None).ok()?;
    let mut seen: Vec<(Timestamp, Key, Arc<Stored>)> = listing
        .items
        .into_iter()
        .map(|(key, stored)| (last_seen(&stored.value()).unwrap_or(now), key, stored))
        .collect();
    seen.sort_by_key(|(at, _, _)| *at);
    let surplus = seen.len().saturating_sub(EVENTS_MAX);
    let mut next = None;
    for (index, (at, key, stored)) in seen.into_iter().enumerate() {
        let age = Duration::try_from(now.duration_since(at)).unwrap_or_default();
        match KEPT_FOR.checked_sub(age) {
            Some(left) if !left.is_zero() && index >= surplus => {
                next = Some(left);
                break;
            }
            Some(_) | None => {
                let write = Write {
                    key,
                    expect: Expect::Version(stored.version),
                    effect: Effect::Remove(stored.value()),
                    under: None,
                };
                // One that was updated in the meantime is judged again by the next sweep.
                let _changed = hub.store.commit(write).await;
            }
        }
    }
    next
}

/// When an Event in core form was last seen.
fn last_seen(event: &Value) -> Option<Timestamp> {
    [
        "/series/lastObservedTime",
        "/lastTimestamp",
        "/eventTime",
        "/firstTimestamp",
        "/metadata/creationTimestamp",
    ]
    .iter()
    .filter_map(|pointer| event.pointer(pointer)?.as_str()?.parse().ok())
    .max()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let new = json!({
            "metadata": {"name": "a"}, "regarding": {"kind": "Widget"}, "note": "hello", "reason": "R",
            "reportingController": "c", "deprecatedCount": 3, "eventTime": "2026-01-01T00:00:00.000000Z"
        });
        let mut event = new.clone();
        to_core(&mut event);
        assert_eq!(event["involvedObject"]["kind"], "Widget");
        assert_eq!(event["message"], "hello");
        assert_eq!(event["count"], 3);
        assert!(last_seen(&event).is_some());
        to_events_v1(&mut event);
        assert_eq!(event, new);
    }
}
