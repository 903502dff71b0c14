//! `metadata`: known without a schema, the same in every resource.
//!
//! Owns which fields ObjectMeta has and what Kubernetes demands of labels, annotations, owners and finalizers. Must not
//! know who sets the fields of the server. Invariant: what passes here can be sent to any Kubernetes client.

use serde_json::{Map, Value};

use crate::builtin::qualified_name;

use super::{Additional, FieldError, Node, Path};

/// The fields of ObjectMeta.
const OBJECT_META: [(&str, Shape); 15] = [
    ("annotations", Shape::Strings),
    ("creationTimestamp", Shape::String),
    ("deletionGracePeriodSeconds", Shape::Integer),
    ("deletionTimestamp", Shape::String),
    ("finalizers", Shape::List),
    ("generateName", Shape::String),
    ("generation", Shape::Integer),
    ("labels", Shape::Strings),
    ("managedFields", Shape::Objects(&MANAGED_FIELDS)),
    ("name", Shape::String),
    ("namespace", Shape::String),
    ("ownerReferences", Shape::Objects(&OWNER_REFERENCE)),
    ("resourceVersion", Shape::String),
    ("selfLink", Shape::String),
    ("uid", Shape::String),
];

const OWNER_REFERENCE: [&str; 6] = [
    "apiVersion",
    "blockOwnerDeletion",
    "controller",
    "kind",
    "name",
    "uid",
];

const MANAGED_FIELDS: [&str; 7] = [
    "apiVersion",
    "fieldsType",
    "fieldsV1",
    "manager",
    "operation",
    "subresource",
    "time",
];

/// All annotations of an object together: Kubernetes' own limit, in bytes.
const MAX_ANNOTATIONS_BYTES: u64 = 256 * 1024;

/// A label's value: Kubernetes' own limit, in bytes.
const MAX_LABEL_VALUE_BYTES: usize = 63;

#[derive(Clone, Copy)]
enum Shape {
    String,
    Integer,
    Strings,
    List,
    Objects(&'static [&'static str]),
}

impl Shape {
    fn go_type(self) -> &'static str {
        match self {
            Shape::String => "string",
            Shape::Integer => "int64",
            Shape::Strings => "map[string]string",
            Shape::List => "[]string",
            Shape::Objects(_) => "[]object",
        }
    }

    fn fits(self, value: &Value) -> bool {
        match (self, value) {
            (Shape::String, Value::String(_)) => true,
            (Shape::Integer, Value::Number(number)) => number.is_i64(),
            (Shape::Strings, Value::Object(map)) => map.values().all(Value::is_string),
            (Shape::List, Value::Array(items)) => items.iter().all(Value::is_string),
            (Shape::Objects(_), Value::Array(items)) => items.iter().all(Value::is_object),
            _ => false,
        }
    }
}

/// Removes what ObjectMeta does not have, and nulls, and returns the paths of the unknown fields below `metadata`.
pub(super) fn prune(metadata: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    let Value::Object(map) = metadata else {
        return unknown;
    };
    map.retain(|key, value| {
        let known = OBJECT_META.iter().any(|(name, _)| name == key);
        if !known {
            unknown.push(key.clone());
        }
        known && !value.is_null()
    });
    for (name, shape) in OBJECT_META {
        let Some(value) = map.get_mut(name) else {
            continue;
        };
        match (shape, value) {
            (Shape::Strings, Value::Object(entries)) => {
                // A null in a Go map of strings is the empty string.
                for entry in entries.values_mut().filter(|entry| entry.is_null()) {
                    *entry = Value::String(String::new());
                }
            }
            (Shape::Objects(fields), Value::Array(items)) => {
                for (index, item) in items.iter_mut().enumerate() {
                    prune_element(name, index, fields, item, &mut unknown);
                }
            }
            _ => {}
        }
    }
    unknown
}

fn prune_element(
    list: &str,
    index: usize,
    fields: &[&str],
    item: &mut Value,
    unknown: &mut Vec<String>,
) {
    if let Value::Object(entries) = item {
        entries.retain(|key, value| {
            let known = fields.contains(&key.as_str());
            if !known {
                unknown.push(format!("{list}[{index}].{key}"));
            }
            known && !value.is_null()
        });
    }
}

/// Everything that is wrong with an object's `metadata` but its name, which each kind judges for itself; `old` is the
/// stored object of an update.
pub fn validate_metadata(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let root = Path::Root;
    let path = root.child("metadata");
    let Some(metadata) = new.get("metadata").and_then(Value::as_object) else {
        errors.push(FieldError::type_invalid(
            path,
            new.get("metadata").cloned().unwrap_or_default(),
            "must be an object",
        ));
        return errors;
    };
    let text = |key: &str| metadata.get(key).and_then(Value::as_str).unwrap_or("");
    if text("name").is_empty() && text("generateName").is_empty() {
        errors.push(FieldError::required(
            path.child("name"),
            "name or generateName is required",
        ));
    }
    object_meta(metadata, &path, &mut errors);
    if let Some(old) = old.and_then(|old| old.get("metadata"))
        && old.get("deletionTimestamp").is_some_and(Value::is_string)
    {
        new_finalizers(metadata, old, &path, &mut errors);
    }
    errors
}

fn object_meta(metadata: &Map<String, Value>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    for (name, shape) in OBJECT_META {
        if let Some(value) = metadata.get(name)
            && !value.is_null()
            && !shape.fits(value)
        {
            errors.push(FieldError::type_invalid(
                path.child(name),
                value.clone(),
                format!("must be of type {}", shape.go_type()),
            ));
        }
    }
    labels(metadata.get("labels"), &path.child("labels"), errors);
    annotations(
        metadata.get("annotations"),
        &path.child("annotations"),
        errors,
    );
    owners(
        metadata.get("ownerReferences"),
        &path.child("ownerReferences"),
        errors,
    );
    for finalizer in strings(metadata.get("finalizers")) {
        for message in qualified_name(finalizer) {
            errors.push(FieldError::invalid(
                path.child("finalizers"),
                finalizer,
                message,
            ));
        }
    }
}

fn strings(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

fn entries(map: Option<&Value>) -> impl Iterator<Item = (&str, &str)> {
    map.and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
}

fn labels(labels: Option<&Value>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    for (key, value) in entries(labels) {
        for message in qualified_name(key) {
            errors.push(FieldError::invalid(path, key, message));
        }
        for message in label_value(value) {
            errors.push(FieldError::invalid(path, value, message));
        }
    }
}

fn annotations(annotations: Option<&Value>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let mut size = 0u64;
    for (key, value) in entries(annotations) {
        size += (key.len() + value.len()) as u64;
        for message in qualified_name(&key.to_lowercase()) {
            errors.push(FieldError::invalid(path, key, message));
        }
    }
    if size > MAX_ANNOTATIONS_BYTES {
        errors.push(FieldError::too_long(path, MAX_ANNOTATIONS_BYTES));
    }
}

fn owners(owners: Option<&Value>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let Some(owners) = owners.and_then(Value::as_array) else {
        return;
    };
    let mut controller: Option<String> = None;
    for owner in owners {
        let text = |key: &str| owner.get(key).and_then(Value::as_str).unwrap_or("");
        for key in ["apiVersion", "kind", "name", "uid"] {
            if text(key).is_empty() {
                let detail = if key == "apiVersion" {
                    "version must not be empty"
                } else {
                    "must not be empty"
                };
                errors.push(FieldError::invalid(path.child(key), "", detail));
            }
        }
        if owner.get("controller") == Some(&Value::Bool(true)) {
            let current = format!("{}/{}", text("kind"), text("name"));
            match &controller {
                Some(first) => errors.push(FieldError::invalid(
                    path,
                    Value::Array(owners.clone()),
                    format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {current}"
                    ),
                )),
                None => controller = Some(current),
            }
        }
    }
}

fn new_finalizers(
    metadata: &Map<String, Value>,
    old: &Value,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let before: Vec<&str> = strings(old.get("finalizers")).collect();
    let added: Vec<String> = strings(metadata.get("finalizers"))
        .filter(|finalizer| !before.contains(finalizer))
        .map(super::quote)
        .collect();
    if !added.is_empty() {
        errors.push(FieldError::forbidden(
            path.child("finalizers"),
            format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.join(", ")
            ),
        ));
    }
}

/// What is wrong with the resources that are embedded in an object.
pub(super) fn validate_embedded(root: &Node, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Value::Object(map) = object {
        below(root, map, &Path::Root, &mut errors);
    }
    errors
}

fn below(node: &Node, map: &Map<String, Value>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    for (key, value) in map {
        if let Some(schema) = node.properties.get(key) {
            embedded(schema, value, &path.child(key), errors);
        } else if let Additional::Schema(schema) = &node.additional {
            embedded(schema, value, &path.key(key), errors);
        }
    }
}

fn embedded(node: &Node, value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(map) => {
            if node.embedded {
                resource(map, path, errors);
            }
            below(node, map, path, errors);
        }
        Value::Array(items) => {
            if let Some(schema) = &node.items {
                for (index, item) in items.iter().enumerate() {
                    embedded(schema, item, &path.index(index), errors);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn resource(map: &Map<String, Value>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    for key in ["apiVersion", "kind"] {
        match map.get(key) {
            None => errors.push(FieldError::required(path.child(key), "")),
            Some(Value::String(text)) if text.is_empty() => {
                errors.push(FieldError::invalid(
                    path.child(key),
                    "",
                    "must not be empty",
                ));
            }
            Some(Value::String(text)) if key == "kind" => {
                for message in dns_1035_label(&text.to_lowercase()) {
                    errors.push(FieldError::invalid(
                        path.child(key),
                        text.as_str(),
                        format!("may have mixed case, but should otherwise match: {message}"),
                    ));
                }
            }
            Some(Value::String(text)) if text.matches('/').count() > 1 => {
                errors.push(FieldError::invalid(
                    path.child(key),
                    text.as_str(),
                    format!("unexpected GroupVersion string: {text}"),
                ));
            }
            Some(Value::String(_)) => {}
            Some(other) => errors.push(FieldError::invalid(
                path.child(key),
                other.clone(),
                "must be a string",
            )),
        }
    }
    if let Some(metadata) = map.get("metadata") {
        let path = path.child("metadata");
        match metadata {
            Value::Object(metadata) => object_meta(metadata, &path, errors),
            other => errors.push(FieldError::invalid(
                path,
                other.clone(),
                "must be an object",
            )),
        }
    }
}

/// What is wrong with the value of a label; empty if nothing is.
pub fn label_value(value: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if value.len() > MAX_LABEL_VALUE_BYTES {
        wrong.push(format!(
            "must be no more than {MAX_LABEL_VALUE_BYTES} bytes"
        ));
    }
    let edge = |c: char| c.is_ascii_alphanumeric();
    let inner = |c: char| edge(c) || matches!(c, '-' | '_' | '.');
    if !(value.is_empty()
        || (value.starts_with(edge) && value.ends_with(edge) && value.chars().all(inner)))
    {
        wrong.push(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
             start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for \
             validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
                .to_owned(),
        );
    }
    wrong
}

/// What is wrong with a DNS-1035 label, as names of versions, plurals and kinds are; empty if nothing is.
pub fn dns_1035_label(name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if name.len() > 63 {
        wrong.push("must be no more than 63 bytes".to_owned());
    }
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !(name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.ends_with(edge)
        && name.chars().all(|c| edge(c) || c == '-'))
    {
        wrong.push(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
             character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation \
             is '[a-z]([-a-z0-9]*[a-z0-9])?')"
                .to_owned(),
        );
    }
    wrong
}
