//! The last touches on a derived definition, so that Kubernetes takes it as it is.
//!
//! The derive speaks JSON Schema; a structural schema knows neither `nullable` optionals that are
//! simply left out, nor unsigned integer formats. Nothing here knows a kind.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

/// Rewrites the schemas of a definition into the form that is published.
pub fn finish(crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let mut document = serde_json::to_value(crd).expect("a definition is plain data");
    if let Some(versions) = document
        .pointer_mut("/spec/versions")
        .and_then(Value::as_array_mut)
    {
        for version in versions {
            if let Some(schema) = version.pointer_mut("/schema/openAPIV3Schema") {
                walk(schema);
            }
        }
    }
    serde_json::from_value(document).expect("rewriting keeps the shape")
}

/// Kubernetes knows `int32` and `int64`; an optional field is left out, never null.
fn walk(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("nullable") == Some(&Value::Bool(true)) {
                fields.remove("nullable");
            }
            if let Some(Value::String(format)) = fields.get_mut("format") {
                match format.as_str() {
                    "uint8" | "uint16" | "int8" | "int16" => *format = "int32".to_owned(),
                    "uint32" | "uint64" | "uint" | "int" => *format = "int64".to_owned(),
                    _ => {}
                }
            }
            fields.values_mut().for_each(walk);
        }
        Value::Array(items) => items.iter_mut().for_each(walk),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
