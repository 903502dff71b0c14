//! Entries that are there twice in a set or a list map.
//!
//! Owns uniqueness by `x-kubernetes-list-type`. Must not know the other keywords. Invariant: cost grows with the size of
//! the list, never with its square.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{Additional, FieldError, ListType, Node, Path};

/// The duplicates in an object.
pub fn validate(root: &Node, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(root, object, &Path::Root, &mut errors);
    errors
}

fn walk(node: &Node, value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(map) => {
            for (key, field) in map {
                if let Some(schema) = node.properties.get(key) {
                    walk(schema, field, &path.child(key), errors);
                } else if let Additional::Schema(schema) = &node.additional {
                    walk(schema, field, &path.key(key), errors);
                }
            }
        }
        Value::Array(items) => {
            match &node.list_type {
                ListType::Atomic => {}
                ListType::Set => {
                    for index in repeated(items.iter().map(Value::to_string)) {
                        errors.push(FieldError::duplicate(
                            path.index(index),
                            items[index].clone(),
                        ));
                    }
                }
                ListType::Map(keys) => list_map(keys, items, path, errors),
            }
            if let Some(schema) = &node.items {
                for (index, item) in items.iter().enumerate() {
                    walk(schema, item, &path.index(index), errors);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn list_map(keys: &[String], items: &[Value], path: &Path<'_>, errors: &mut Vec<FieldError>) {
    for (index, item) in items.iter().enumerate() {
        if !item.is_object() && !item.is_null() {
            errors.push(FieldError::invalid(
                path.index(index),
                item.clone(),
                "must be an object for an array of list-type map",
            ));
            return;
        }
    }
    let identities: Vec<Value> = items.iter().map(|item| identity(keys, item)).collect();
    for index in repeated(identities.iter().map(Value::to_string)) {
        errors.push(FieldError::duplicate(
            path.index(index),
            identities[index].clone(),
        ));
    }
}

/// The key fields of an element of a list map, with their values.
fn identity(keys: &[String], item: &Value) -> Value {
    let mut fields = Map::new();
    for key in keys {
        if let Some(value) = item.get(key) {
            fields.insert(key.clone(), value.clone());
        }
    }
    Value::Object(fields)
}

/// The elements of a list map by their key; empty for other lists, whose elements have no identity.
pub fn index<'v>(keys: &[String], items: &'v [Value]) -> HashMap<String, &'v Value> {
    if keys.is_empty() {
        return HashMap::new();
    }
    items.iter().map(|item| (key(keys, item), item)).collect()
}

/// The key of an element of a list map, as text to look it up by.
pub fn key(keys: &[String], item: &Value) -> String {
    if keys.is_empty() {
        return String::new();
    }
    identity(keys, item).to_string()
}

/// The places of second occurrences; further ones are not repeated, as in Kubernetes.
fn repeated(values: impl Iterator<Item = String>) -> Vec<usize> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut places = Vec::new();
    for (index, value) in values.enumerate() {
        let times = seen.entry(value).or_insert(0);
        *times += 1;
        if *times == 2 {
            places.push(index);
        }
    }
    places
}
