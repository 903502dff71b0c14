//! The stored form of an object of a built-in kind.
//!
//! Owns the defaults and conversions that kube-apiserver makes when it decodes. It must not refuse anything. Invariant:
//! normalizing twice is normalizing once.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::BuiltIn;

/// Brings a received object into the form that is validated and stored: nulls dropped, defaults set, a Secret's `stringData`
/// folded into `data`. To be called on every create and update, before validation; a namespace named by `generateName` needs
/// it once more when it has its name.
pub fn normalize(builtin: &BuiltIn, object: &mut Value) {
    // A schema may say `default: null`, so the content of definitions is left alone.
    drop_nulls(object, builtin.kind == "CustomResourceDefinition");
    match builtin.kind {
        "Secret" => normalize_secret(object),
        "Namespace" => normalize_namespace(object),
        "CustomResourceDefinition" => normalize_definition(object),
        _ => {}
    }
}

fn drop_nulls(value: &mut Value, keep_versions: bool) {
    match value {
        Value::Object(object) => {
            object.retain(|_, item| !item.is_null());
            for (key, item) in object.iter_mut() {
                if !(keep_versions && key == "versions") {
                    drop_nulls(item, keep_versions);
                }
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| drop_nulls(item, keep_versions)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The map at a key, made if it is absent; `None` if something else is there, which validation then refuses.
fn map_at<'v>(object: &'v mut Value, key: &str) -> Option<&'v mut Map<String, Value>> {
    object
        .as_object_mut()?
        .entry(key)
        .or_insert_with(|| Value::Object(Map::new()))
        .as_object_mut()
}

fn set_default(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        let unset = object
            .get(key)
            .is_none_or(|set| set.is_null() || set.as_str() == Some(""));
        if unset {
            object.insert(key.to_owned(), value);
        }
    }
}

fn normalize_secret(object: &mut Value) {
    let folds = object
        .get("stringData")
        .and_then(Value::as_object)
        .is_some_and(|text| text.values().all(Value::is_string));
    if folds {
        let text = object
            .as_object_mut()
            .and_then(|secret| secret.remove("stringData"));
        if let (Some(Value::Object(text)), Some(data)) = (text, map_at(object, "data")) {
            for (key, value) in text {
                data.insert(
                    key,
                    json!(STANDARD.encode(value.as_str().unwrap_or_default())),
                );
            }
        }
        if object
            .get("data")
            .and_then(Value::as_object)
            .is_some_and(Map::is_empty)
        {
            object
                .as_object_mut()
                .and_then(|secret| secret.remove("data"));
        }
    }
    set_default(object, "type", json!("Opaque"));
}

fn normalize_namespace(object: &mut Value) {
    let name = object
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    if !name.is_empty()
        && let Some(labels) = object
            .get_mut("metadata")
            .and_then(|metadata| map_at(metadata, "labels"))
    {
        labels.insert("kubernetes.io/metadata.name".to_owned(), json!(name));
    }
    if map_at(object, "status").is_some() {
        set_default(&mut object["status"], "phase", json!("Active"));
    }
    if map_at(object, "spec").is_some() && object.pointer("/metadata/deletionTimestamp").is_none() {
        set_default(&mut object["spec"], "finalizers", json!(["kubernetes"]));
    }
}

fn normalize_definition(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else {
        return;
    };
    set_default(spec, "conversion", json!({"strategy": "None"}));
    if let Some(names) = spec.get_mut("names").filter(|names| names.is_object()) {
        let kind = names
            .get("kind")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        if !kind.is_empty() {
            set_default(names, "singular", json!(kind.to_lowercase()));
            set_default(names, "listKind", json!(format!("{kind}List")));
        }
    }
}
