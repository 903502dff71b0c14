//! The OpenAPI schemas of the built-in kinds, generated from k8s-openapi.
//!
//! Owns the generation: references are inlined, merge extensions added from the table beside this file. It must not know what
//! the kinds mean. Invariant: no `$ref` is left.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Event as CoreEvent, Namespace, Secret, ServiceAccount,
};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::merge_table;

pub(super) fn namespace() -> Value {
    schema_of::<Namespace>("Namespace")
}

pub(super) fn secret() -> Value {
    schema_of::<Secret>("Secret")
}

pub(super) fn config_map() -> Value {
    schema_of::<ConfigMap>("ConfigMap")
}

pub(super) fn core_event() -> Value {
    schema_of::<CoreEvent>("Event")
}

pub(super) fn event() -> Value {
    schema_of::<Event>("Event.events.k8s.io")
}

pub(super) fn service_account() -> Value {
    schema_of::<ServiceAccount>("ServiceAccount")
}

pub(super) fn lease() -> Value {
    schema_of::<Lease>("Lease")
}

pub(super) fn custom_resource_definition() -> Value {
    schema_of::<CustomResourceDefinition>("CustomResourceDefinition")
}

fn schema_of<T: JsonSchema>(kind: &str) -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let reference = generator.subschema_for::<T>().to_value();
    let definitions = generator.take_definitions(true);
    let mut schema = inline(&reference, &definitions);
    if let Some(schema) = schema.as_object_mut() {
        // The client library marks metadata as required; Kubernetes does not.
        if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
            required.retain(|name| name != "metadata");
        }
        if schema
            .get("required")
            .and_then(Value::as_array)
            .is_some_and(Vec::is_empty)
        {
            schema.remove("required");
        }
    }
    merge_table::annotate(kind, &mut schema);
    schema
}

/// Definitions that contain themselves; their content is kept as it is.
const RECURSIVE: &[&str] = &["JSONSchemaProps"];
/// Definitions whose value may also be null: Go clients write an unset time so.
const NULLABLE: &[&str] = &["Time", "MicroTime"];
/// Free-form JSON.
const FREE_FORM: &[&str] = &["FieldsV1", "JSON"];

/// Replaces every reference by what it refers to; what stands beside the reference wins.
fn inline(schema: &Value, definitions: &Map<String, Value>) -> Value {
    match schema {
        Value::Array(items) => items.iter().map(|item| inline(item, definitions)).collect(),
        Value::Object(object) => {
            let mut out = Map::new();
            if let Some(name) = object
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|path| path.rsplit('/').next())
            {
                out.extend(resolve(name, definitions));
            }
            for (key, value) in object.iter().filter(|(key, _)| *key != "$ref") {
                out.insert(key.clone(), inline(value, definitions));
            }
            Value::Object(out)
        }
        other => other.clone(),
    }
}

fn resolve(name: &str, definitions: &Map<String, Value>) -> Map<String, Value> {
    let definition = definitions
        .get(name)
        .expect("invariant: the generator defines what it refers to");
    let short = name.rsplit('.').next().unwrap_or(name);
    let mut content = if RECURSIVE.contains(&short) || FREE_FORM.contains(&short) {
        let mut content = Map::new();
        content.extend(
            definition
                .get("description")
                .map(|text| ("description".to_owned(), text.clone())),
        );
        content.insert("type".to_owned(), json!("object"));
        content.insert(
            "x-kubernetes-preserve-unknown-fields".to_owned(),
            json!(true),
        );
        content
    } else {
        match inline(definition, definitions) {
            Value::Object(content) => content,
            _ => Map::new(),
        }
    };
    if NULLABLE.contains(&short) {
        content.insert("nullable".to_owned(), json!(true));
    }
    content
}
