//! Owns the reading and writing of metadata in an object that is a JSON value.
//!
//! It must not know kinds, requests or storage. Invariant: absent and empty are the same to a reader, as in Go.

use serde_json::{Map, Value, json};

/// The text at a metadata field; empty when it is absent or no text.
pub fn meta<'a>(object: &'a Value, field: &str) -> &'a str {
    object
        .get("metadata")
        .and_then(|metadata| metadata.get(field))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// `metadata.name`.
pub fn name(object: &Value) -> &str {
    meta(object, "name")
}

/// `metadata.namespace`.
pub fn namespace(object: &Value) -> &str {
    meta(object, "namespace")
}

/// `metadata.uid`.
pub fn uid(object: &Value) -> &str {
    meta(object, "uid")
}

/// `metadata.resourceVersion`.
pub fn version(object: &Value) -> &str {
    meta(object, "resourceVersion")
}

/// Whether deletion was asked for.
pub fn is_terminating(object: &Value) -> bool {
    !meta(object, "deletionTimestamp").is_empty()
}

/// `metadata.finalizers`.
pub fn finalizers(object: &Value) -> Vec<&str> {
    object
        .pointer("/metadata/finalizers")
        .and_then(Value::as_array)
        .map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

/// The metadata, made when it is absent or no object.
pub fn meta_mut(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = json!({});
    }
    let metadata = &mut object["metadata"];
    if !metadata.is_object() {
        *metadata = json!({});
    }
    metadata
        .as_object_mut()
        .expect("invariant: it was made an object just above")
}

/// Sets a metadata field, or removes it when the value is null.
pub fn set_meta(object: &mut Value, field: &str, value: Value) {
    let metadata = meta_mut(object);
    if value.is_null() {
        metadata.remove(field);
    } else {
        metadata.insert(field.to_owned(), value);
    }
}

/// Takes a metadata field over from another object; absent there is absent here.
pub fn copy_meta(from: &Value, to: &mut Value, field: &str) {
    let value = from
        .get("metadata")
        .and_then(|metadata| metadata.get(field))
        .cloned()
        .unwrap_or(Value::Null);
    set_meta(to, field, value);
}

/// Sets or, with `None`, removes a top-level field.
pub fn set_field(object: &mut Value, field: &str, value: Option<Value>) {
    if let Some(map) = object.as_object_mut() {
        match value {
            Some(value) => {
                map.insert(field.to_owned(), value);
            }
            None => {
                map.remove(field);
            }
        }
    }
}

/// Adds a finalizer unless it is there.
pub fn add_finalizer(object: &mut Value, finalizer: &str) {
    let mut list: Vec<String> = finalizers(object).into_iter().map(str::to_owned).collect();
    if !list.iter().any(|known| known == finalizer) {
        list.push(finalizer.to_owned());
        set_meta(object, "finalizers", json!(list));
    }
}

/// Removes a finalizer.
pub fn remove_finalizer(object: &mut Value, finalizer: &str) {
    let list: Vec<String> = finalizers(object)
        .into_iter()
        .filter(|known| *known != finalizer)
        .map(str::to_owned)
        .collect();
    let value = if list.is_empty() {
        Value::Null
    } else {
        json!(list)
    };
    set_meta(object, "finalizers", value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finalizers_come_and_go() {
        let mut object = json!({"metadata": {"name": "a"}});
        add_finalizer(&mut object, "x");
        add_finalizer(&mut object, "x");
        add_finalizer(&mut object, "y");
        assert_eq!(finalizers(&object), ["x", "y"]);
        remove_finalizer(&mut object, "x");
        remove_finalizer(&mut object, "y");
        assert_eq!(object, json!({"metadata": {"name": "a"}}));
    }
}
