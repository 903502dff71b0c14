//! The OpenAPI document of version 2.
//!
//! Owns its layout and what version 2 cannot say of a schema. Must not know protobuf. Invariant: a schema never says more
//! than the truth: what cannot be said is left out, so that a client that validates refuses nothing that is right.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::resource::Resource;

use super::operations::{Address, Operation, addresses};
use super::{API_VERSION, Dialect, definition_name, list_schema, object_schema, shared_schemas};

/// The whole document.
pub fn document(resources: &[Arc<Resource>]) -> Value {
    let mut paths = Map::new();
    let mut definitions = Map::new();
    for resource in resources.iter().filter(|resource| resource.served) {
        let name = definition_name(resource);
        definitions.insert(format!("{name}List"), list_schema(resource, Dialect::V2));
        definitions.insert(name, object_schema(resource, Dialect::V2));
        for address in addresses(resource) {
            paths.insert(address.path.clone(), path_item(&address));
        }
    }
    shared_schemas(resources, Dialect::V2, &mut definitions);
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": API_VERSION},
        "paths": paths,
        "definitions": definitions,
    })
}

/// A schema as version 2 can say it.
pub fn simplified(schema: &Value) -> Value {
    let Some(map) = schema.as_object() else {
        return json!({});
    };
    let is_true = |key: &str| map.get(key) == Some(&Value::Bool(true));
    let mut out = Map::new();
    for (key, value) in map {
        match key.as_str() {
            "properties" => {
                let properties = value.as_object().into_iter().flatten();
                let properties =
                    properties.map(|(name, schema)| (name.clone(), simplified(schema)));
                out.insert(key.clone(), Value::Object(properties.collect()));
            }
            "items" => {
                out.insert(key.clone(), simplified(value));
            }
            "additionalProperties" if value.is_object() => {
                out.insert(key.clone(), simplified(value));
            }
            // Version 2 has none of these; and `enum` would refuse a null that is allowed.
            "nullable"
            | "oneOf"
            | "anyOf"
            | "allOf"
            | "not"
            | "enum"
            | "default"
            | "x-kubernetes-validations" => {}
            _ => {
                out.insert(key.clone(), value.clone());
            }
        }
    }
    if is_true("nullable") || is_true("x-kubernetes-int-or-string") {
        // A type would refuse the null, or the other of the two types.
        for key in [
            "type",
            "items",
            "properties",
            "additionalProperties",
            "format",
        ] {
            out.remove(key);
        }
    }
    if is_true("x-kubernetes-preserve-unknown-fields") {
        for key in ["items", "properties", "additionalProperties"] {
            out.remove(key);
        }
    }
    if matches!(map.get("type"), Some(Value::Array(_))) {
        out.remove("type");
    }
    Value::Object(out)
}

fn path_item(address: &Address) -> Value {
    let mut item = Map::new();
    for operation in &address.operations {
        item.insert(operation.method.to_owned(), render(address, operation));
    }
    let variables: Vec<Value> = address
        .variables
        .iter()
        .map(|(name, about)| {
            json!({"name": name, "in": "path", "required": true, "type": "string", "description": about, "uniqueItems": true})
        })
        .collect();
    if !variables.is_empty() {
        item.insert("parameters".to_owned(), Value::Array(variables));
    }
    Value::Object(item)
}

fn render(address: &Address, operation: &Operation) -> Value {
    let mut parameters = Vec::new();
    if !operation.consumes.is_empty() {
        let schema = if operation.body.is_empty() {
            json!({"type": "object"})
        } else {
            Dialect::V2.reference(&operation.body)
        };
        parameters.push(json!({"name": "body", "in": "body", "required": true, "schema": schema}));
    }
    parameters.extend(operation.parameters.iter().map(|parameter| {
        json!({
            "name": parameter.name,
            "in": "query",
            "type": parameter.type_,
            "description": parameter.about,
            "uniqueItems": true,
        })
    }));
    let consumes = if operation.consumes.is_empty() {
        vec!["application/json"]
    } else {
        operation.consumes.clone()
    };
    json!({
        "tags": [address.tag],
        "operationId": operation.id,
        "consumes": consumes,
        "produces": ["application/json"],
        "parameters": parameters,
        "responses": {
            "200": {"description": "OK", "schema": Dialect::V2.reference(&operation.answer)},
            "401": {"description": "Unauthorized"},
        },
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": address.gvk,
    })
}
