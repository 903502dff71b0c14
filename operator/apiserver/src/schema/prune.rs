//! Pruning: fields that the schema does not know are removed.
//!
//! Owns the walk and what is known of `metadata` without a schema. Must not know defaults or validation. Invariant:
//! pruning is idempotent and never adds anything.

use serde_json::{Map, Value};

use super::{Additional, Node, metadata};

/// The fields that every resource has, embedded ones too.
const RESOURCE_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Removes unknown fields of a whole object and returns their paths, unsorted.
pub fn prune(root: &Node, object: &mut Value) -> Vec<String> {
    let mut walk = Walk::default();
    walk.resource(root, object);
    walk.unknown
}

/// Whether a value inside an object, for example a default, has fields that the schema of its place does not know.
pub fn is_pruned(node: &Node, value: &Value) -> bool {
    let mut pruned = value.clone();
    Walk::default().value(Some(node), &mut pruned);
    pruned == *value
}

#[derive(Default)]
struct Walk {
    path: String,
    unknown: Vec<String>,
}

impl Walk {
    /// An object that is a resource: the root, or an embedded one.
    fn resource(&mut self, node: &Node, value: &mut Value) {
        if let Value::Object(map) = value {
            if let Some(metadata) = map.get_mut("metadata") {
                let unknown = metadata::prune(metadata);
                self.at_key("metadata", |walk| {
                    unknown.iter().for_each(|key| walk.note(key))
                });
            }
            self.fields(node, map, true);
        }
    }

    fn value(&mut self, node: Option<&Node>, value: &mut Value) {
        match (value, node) {
            (value @ Value::Object(_), Some(node)) if node.embedded => self.resource(node, value),
            (Value::Object(map), Some(node)) => self.fields(node, map, false),
            // Nothing is said about this value: none of its fields is known.
            (Value::Object(map), None) => {
                for key in map.keys() {
                    self.note(key);
                }
                map.clear();
            }
            (Value::Array(items), node) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.at_index(index, |walk| match node {
                        Some(list) if list.preserve_unknown && list.items.is_none() => {}
                        Some(list) => walk.value(list.items.as_deref(), item),
                        None => walk.value(None, item),
                    });
                }
            }
            (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_), _) => {}
        }
    }

    fn fields(&mut self, node: &Node, map: &mut Map<String, Value>, resource: bool) {
        let mut unknown = Vec::new();
        for (key, value) in map.iter_mut() {
            if resource && RESOURCE_FIELDS.contains(&key.as_str()) {
                continue;
            }
            if let Some(property) = node.properties.get(key) {
                self.at_key(key, |walk| walk.value(Some(property), value));
                continue;
            }
            match &node.additional {
                Additional::Schema(schema) => {
                    self.at_key(key, |walk| walk.value(Some(schema), value));
                }
                Additional::Any | Additional::Forbidden if !node.preserve_unknown => {
                    self.at_key(key, |walk| walk.value(None, value));
                }
                Additional::Absent if !node.preserve_unknown => unknown.push(key.clone()),
                Additional::Any | Additional::Forbidden | Additional::Absent => {}
            }
        }
        for key in unknown {
            self.note(&key);
            map.remove(&key);
        }
    }

    fn at_key(&mut self, key: &str, walk: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(key);
        walk(self);
        self.path.truncate(length);
    }

    fn at_index(&mut self, index: usize, walk: impl FnOnce(&mut Self)) {
        use std::fmt::Write as _;
        let length = self.path.len();
        // Writing to a String cannot fail.
        let _ = write!(self.path, "[{index}]");
        walk(self);
        self.path.truncate(length);
    }

    fn note(&mut self, key: &str) {
        self.unknown.push(if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        });
    }
}
