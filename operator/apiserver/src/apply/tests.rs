//! Server-side apply against recorded behaviour of Kubernetes' own field manager, and as properties.

mod fixtures;
mod properties;
mod scenarios;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Apply, ApplyError, TypeSchema, apply};

/// The time of the nth step of a scenario.
fn time(step: i64) -> Timestamp {
    Timestamp::from_second(1_000_000_000 + step).expect("in range")
}

/// A configuration applied to `live` by `manager`, at second `step`.
fn apply_at(
    schema: &TypeSchema,
    live: Option<&Value>,
    config: &Value,
    manager: &str,
    force: bool,
    step: i64,
) -> Result<Value, ApplyError> {
    let api_version = config["apiVersion"].as_str().unwrap_or_default();
    apply(Apply {
        schema,
        live,
        config,
        manager,
        force,
        api_version,
        subresource: "",
        now: time(step),
    })
}

/// The fields that a manager owns, if it has an entry.
fn owned(object: &Value, manager: &str) -> Option<Value> {
    let entries = object.pointer("/metadata/managedFields")?.as_array()?;
    entries
        .iter()
        .find(|entry| entry["manager"] == manager)
        .map(|entry| entry["fieldsV1"].clone())
}

/// A workload as Kubernetes has them: list-maps of containers and ports, a set, an atomic map.
fn workload() -> TypeSchema {
    let string = json!({"type": "string"});
    TypeSchema::from_openapi(&json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "replicas": {"type": "integer"},
            "hosts": {"type": "array", "x-kubernetes-list-type": "set", "items": string},
            "selector": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": string},
            "containers": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "properties": {
                    "name": string, "image": string, "args": {"type": "array", "items": string},
                    "ports": {"type": "array", "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["port", "protocol"],
                        "items": {"type": "object", "properties": {
                            "port": {"type": "integer"},
                            "protocol": {"type": "string", "default": "TCP"},
                            "note": string,
                        }}},
                }}},
            "values": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        }},
        "status": {"type": "object", "properties": {"ready": {"type": "integer"}}},
    }}))
    .with_status(true)
}

/// An object of kind Workload with this spec.
fn with_spec(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Workload", "metadata": {"name": "w", "namespace": "default"}, "spec": spec})
}
