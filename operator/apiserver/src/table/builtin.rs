//! The columns of built-in kinds, as kube-apiserver prints them.
//!
//! Owns the headings and cells of each kind, and how Events in their two forms become one row. Must not know custom
//! resources. Invariant: headings and cells of a kind are as many and in the same order.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::resource::Resource;

use super::{CREATED, Definition, human_age};

const UNKNOWN: &str = "<unknown>";

/// A heading: its name, its priority and what it means. All are strings.
type Heading = (&'static str, i64, &'static str);

/// The headings between name and age.
const HEADINGS: &[(&str, &[Heading])] = &[
    ("Namespace", &[("Status", 0, "The status of the namespace")]),
    (
        "Secret",
        &[
            (
                "Type",
                0,
                "Used to facilitate programmatic handling of secret data.",
            ),
            ("Data", 0, "Data contains the secret data."),
        ],
    ),
    (
        "ConfigMap",
        &[("Data", 0, "Data contains the configuration data.")],
    ),
    (
        "ServiceAccount",
        &[(
            "Secrets",
            0,
            "Secrets is a list of the secrets that Pods of this service account may use.",
        )],
    ),
    (
        "Lease",
        &[("Holder", 0, "The identity of the holder of the lease.")],
    ),
];

/// The headings of events, which begin with their time.
const EVENT: &[Heading] = &[
    (
        "Last Seen",
        0,
        "The time at which the most recent occurrence was recorded.",
    ),
    ("Type", 0, "Type of this event (Normal, Warning)."),
    (
        "Reason",
        0,
        "Why the transition into the object's current status was made.",
    ),
    ("Object", 0, "The object that this event is about."),
    (
        "Subobject",
        1,
        "The part of the object that this event is about.",
    ),
    ("Source", 1, "The component reporting this event."),
    (
        "Message",
        0,
        "A description of the status of this operation.",
    ),
    (
        "First Seen",
        1,
        "The time at which the event was first recorded.",
    ),
    ("Count", 1, "The number of times this event has occurred."),
];

/// The headings of a kind.
pub fn definitions(resource: &Resource) -> Vec<Definition> {
    let kind = resource.kind.as_str();
    let render = |headings: &[Heading]| -> Vec<Definition> {
        headings
            .iter()
            .map(|(name, priority, about)| Definition::new(name, "string", *priority, about))
            .collect()
    };
    if kind == "Event" {
        let name = Definition {
            priority: 1,
            ..Definition::name()
        };
        return render(EVENT).into_iter().chain([name]).collect();
    }
    let mut definitions = vec![Definition::name()];
    match HEADINGS.iter().find(|(known, _)| *known == kind) {
        Some((_, headings)) => {
            definitions.extend(render(headings));
            definitions.push(Definition::age());
        }
        None => definitions.push(Definition::new("Created At", "date", 0, CREATED)),
    }
    definitions
}

/// The cells of one object.
pub fn cells(resource: &Resource, item: &Value, now: Timestamp) -> Vec<Value> {
    let name = item.pointer("/metadata/name").cloned().unwrap_or_default();
    let created = item.pointer("/metadata/creationTimestamp");
    let age = json!(age(created, now));
    let entries = |key: &str| match item.get(key) {
        Some(Value::Object(map)) => map.len(),
        Some(Value::Array(list)) => list.len(),
        _ => 0,
    };
    match resource.kind.as_str() {
        "Namespace" => vec![name, json!(text(item, "/status/phase")), age],
        "Secret" => vec![
            name,
            json!(text(item, "/type")),
            json!(entries("data")),
            age,
        ],
        "ConfigMap" => vec![name, json!(entries("data") + entries("binaryData")), age],
        "ServiceAccount" => vec![name, json!(entries("secrets")), age],
        "Lease" => vec![name, json!(text(item, "/spec/holderIdentity")), age],
        "Event" => event(item, now),
        _ => vec![name, created.cloned().unwrap_or_default()],
    }
}

fn text<'v>(item: &'v Value, pointer: &str) -> &'v str {
    item.pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn age(time: Option<&Value>, now: Timestamp) -> String {
    time.and_then(Value::as_str)
        .and_then(|time| time.parse::<Timestamp>().ok())
        .map_or_else(|| UNKNOWN.to_owned(), |time| human_age(now, time))
}

/// An event in the form of `v1` or of `events.k8s.io/v1`, whose fields have other names.
fn event(item: &Value, now: Timestamp) -> Vec<Value> {
    let one_of = |pointers: [&str; 2]| {
        pointers
            .into_iter()
            .filter_map(|pointer| item.pointer(pointer))
            .find(|value| !value.is_null() && value.as_str() != Some(""))
    };
    let words = |pointers| one_of(pointers).and_then(Value::as_str).unwrap_or_default();
    let event_time = item.get("eventTime").filter(|time| !time.is_null());
    let first = age(
        one_of(["/firstTimestamp", "/deprecatedFirstTimestamp"]).or(event_time),
        now,
    );
    let mut last = match one_of(["/lastTimestamp", "/deprecatedLastTimestamp"]) {
        Some(time) => age(Some(time), now),
        None => first.clone(),
    };
    let mut count = one_of(["/count", "/deprecatedCount"])
        .and_then(Value::as_i64)
        .filter(|count| *count != 0)
        .unwrap_or(1);
    if let Some(series) = item.get("series").filter(|series| series.is_object()) {
        last = age(series.get("lastObservedTime"), now);
        count = series.get("count").and_then(Value::as_i64).unwrap_or(0);
    }
    let kind = words(["/involvedObject/kind", "/regarding/kind"]).to_lowercase();
    let object = match words(["/involvedObject/name", "/regarding/name"]) {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    let component = match words(["/source/component", "/deprecatedSource/component"]) {
        "" => words(["/reportingComponent", "/reportingController"]),
        component => component,
    };
    let instance = match words(["/source/host", "/deprecatedSource/host"]) {
        "" => words(["/reportingInstance", "/reportingInstance"]),
        host => host,
    };
    let source = if instance.is_empty() {
        component.to_owned()
    } else {
        format!("{component}, {instance}")
    };
    vec![
        json!(last),
        json!(text(item, "/type")),
        json!(text(item, "/reason")),
        json!(object),
        json!(words(["/involvedObject/fieldPath", "/regarding/fieldPath"])),
        json!(source),
        json!(words(["/message", "/note"]).trim()),
        json!(first),
        json!(count),
        json!(text(item, "/metadata/name")),
    ]
}
