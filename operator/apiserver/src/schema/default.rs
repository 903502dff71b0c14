//! Defaulting: what a schema fills in.
//!
//! Owns the two walks in the order Kubernetes has them: nulls that mean nothing are dropped, then defaults are filled
//! in. Must not know validation. Invariant: defaulting twice is defaulting once, and a default is itself complete.

use serde_json::Value;

use super::{Additional, Node};

/// Removes nulls from fields that are neither nullable nor have a default.
pub fn drop_nulls(node: &Node, value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, field| {
                !(field.is_null()
                    && node
                        .field(key)
                        .is_some_and(|schema| !schema.nullable && schema.default.is_none()))
            });
            for (key, field) in map.iter_mut() {
                if let Some(schema) = node.field(key) {
                    drop_nulls(schema, field);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = &node.items {
                for item in items {
                    drop_nulls(schema, item);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Fills in the defaults of absent fields, and of nulls that are not allowed.
pub fn default(node: &Node, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, schema) in &node.properties {
                if let Some(filling) = &schema.default
                    && map
                        .get(key)
                        .is_none_or(|field| field.is_null() && !schema.nullable)
                {
                    map.insert(key.clone(), filling.clone());
                }
            }
            for (key, field) in map.iter_mut() {
                if let Some(schema) = node.properties.get(key) {
                    default(schema, field);
                } else if let Additional::Schema(schema) = &node.additional {
                    fill(schema, field);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = &node.items {
                for item in items {
                    fill(schema, item);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn fill(schema: &Node, value: &mut Value) {
    if value.is_null()
        && !schema.nullable
        && let Some(filling) = &schema.default
    {
        *value = filling.clone();
    }
    default(schema, value);
}
