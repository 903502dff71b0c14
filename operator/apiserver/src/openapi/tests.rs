//! OpenAPI documents: what kubectl looks for is there, and every reference leads somewhere.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{v2, v2_proto, v3, v3_index};
use crate::builtin;
use crate::resource::{Resource, tests::widget};

fn resources() -> Vec<Arc<Resource>> {
    builtin::all()
        .iter()
        .map(Resource::from_builtin)
        .chain([widget()])
        .map(Arc::new)
        .collect()
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|child| references(child, found));
        }
        Value::Array(items) => items.iter().for_each(|child| references(child, found)),
        _ => {}
    }
}

fn assert_closed(document: &Value) {
    let mut found = BTreeSet::new();
    references(document, &mut found);
    for reference in found {
        let pointer = reference
            .strip_prefix('#')
            .unwrap_or_else(|| panic!("{reference} is local"));
        assert!(
            document.pointer(pointer).is_some(),
            "{reference} leads somewhere"
        );
    }
}

#[test]
fn the_index_lists_every_version_with_a_hash() {
    let index = v3_index(&resources());
    let paths = index["paths"].as_object().unwrap();
    assert!(paths.keys().any(|path| path == "api/v1"));
    let url = paths["apis/example.com/v1"]["serverRelativeURL"]
        .as_str()
        .unwrap();
    let (path, hash) = url.split_once("?hash=").unwrap();
    assert_eq!((path, hash.len()), ("/openapi/v3/apis/example.com/v1", 64));
}

#[test]
fn version_3_has_what_explain_and_validation_look_for() {
    let resources = resources();
    let document = v3(&resources, "apis/example.com/v1").unwrap();
    assert_closed(&document);
    let object = &document["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"];
    let patch = &object["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "example.com", "version": "v1", "kind": "Widget"})
    );
    let parameters = patch["parameters"].as_array().unwrap();
    assert!(
        parameters
            .iter()
            .any(|parameter| parameter["name"] == "fieldValidation" && parameter["in"] == "query")
    );
    let body = patch["requestBody"]["content"].as_object().unwrap();
    assert!(
        body.contains_key("application/merge-patch+json")
            && !body.contains_key("application/strategic-merge-patch+json")
    );
    let schema = &document["components"]["schemas"]["com.example.v1.Widget"];
    assert_eq!(
        schema["x-kubernetes-group-version-kind"][0]["kind"],
        "Widget"
    );
    assert_eq!(
        schema["properties"]["spec"]["properties"]["color"]["enum"],
        json!(["red", "green"])
    );
    for path in [
        "widgets",
        "namespaces/{namespace}/widgets",
        "namespaces/{namespace}/widgets/{name}/status",
        "namespaces/{namespace}/widgets/{name}/scale",
    ] {
        assert!(
            document["paths"]
                .get(format!("/apis/example.com/v1/{path}"))
                .is_some(),
            "{path}"
        );
    }
    let core = v3(&resources, "api/v1").unwrap();
    assert_closed(&core);
    let patch = &core["paths"]["/api/v1/namespaces/{namespace}/configmaps/{name}"]["patch"];
    assert!(
        patch["requestBody"]["content"]
            .get("application/strategic-merge-patch+json")
            .is_some()
    );
    assert!(v3(&resources, "apis/none/v1").is_none());
}

#[test]
fn operation_ids_are_unique() {
    for path in [
        "api/v1",
        "apis/example.com/v1",
        "apis/apiextensions.k8s.io/v1",
    ] {
        let document = v3(&resources(), path).unwrap();
        let mut seen = BTreeSet::new();
        for item in document["paths"].as_object().unwrap().values() {
            for operation in item
                .as_object()
                .unwrap()
                .values()
                .filter(|operation| operation.is_object())
            {
                let id = operation["operationId"].as_str().unwrap();
                assert!(seen.insert(id.to_owned()), "{id} is there once");
            }
        }
    }
}

#[test]
fn version_2_is_closed_and_never_says_too_much() {
    let document = v2(&resources());
    assert_closed(&document);
    assert_eq!(document["swagger"], "2.0");
    let simple = super::v2::simplified(&json!({
        "type": "object",
        "properties": {
            "a": {"type": "string", "nullable": true},
            "b": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}]},
            "c": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"d": {"type": "string"}}},
            "e": {"type": "string", "oneOf": [], "default": "x"}
        }
    }));
    assert_eq!(
        simple["properties"],
        json!({
            "a": {},
            "b": {"x-kubernetes-int-or-string": true},
            "c": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "e": {"type": "string"}
        })
    );
}

/// The fields of one protobuf message: number and, for those with a length, the bytes.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let (first, rest) = bytes.split_first().expect("a number ends");
            *bytes = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = match key & 7 {
            0 => {
                varint(&mut bytes);
                0
            }
            1 => 8,
            2 => varint(&mut bytes) as usize,
            wire => panic!("wire type {wire}"),
        };
        let (content, rest) = bytes.split_at(length);
        found.push((key >> 3, content.to_vec()));
        bytes = rest;
    }
    found
}

#[test]
fn the_protobuf_form_has_the_published_field_numbers() {
    let bytes = v2_proto(&resources());
    let document = fields(&bytes);
    let one = |fields: &[(u64, Vec<u8>)], number: u64| -> Vec<u8> {
        fields
            .iter()
            .find(|(found, _)| *found == number)
            .map(|(_, content)| content.clone())
            .expect("the field is there")
    };
    assert_eq!(one(&document, 1), b"2.0");
    let definitions = fields(&one(&document, 9));
    let names: Vec<String> = definitions
        .iter()
        .map(|(_, named)| String::from_utf8(one(&fields(named), 1)).unwrap())
        .collect();
    assert!(
        names.contains(&"com.example.v1.Widget".to_owned()),
        "{names:?}"
    );
    let paths = fields(&one(&document, 8));
    assert!(paths.iter().all(|(number, _)| *number == 2));
    let item = paths
        .iter()
        .map(|(_, named)| fields(named))
        .find(|named| {
            one(named, 1) == b"/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"
        })
        .expect("the path is there");
    // patch is field 8 of a path item; its parameters are field 8, its extensions field 13.
    let patch = fields(&one(&fields(&one(&item, 2)), 8));
    let extensions: Vec<String> = patch
        .iter()
        .filter(|(number, _)| *number == 13)
        .map(|(_, named)| String::from_utf8(one(&fields(named), 1)).unwrap())
        .collect();
    assert!(extensions.contains(&"x-kubernetes-group-version-kind".to_owned()));
    // parameter (1), non_body_parameter (2), query_parameter_sub_schema (3), name (4)
    let queries = patch
        .iter()
        .filter(|(number, _)| *number == 8)
        .filter_map(|(_, item)| {
            let parameter = fields(&one(&fields(item), 1));
            let (_, other) = parameter.iter().find(|(number, _)| *number == 2)?.clone();
            let query = fields(&one(&fields(&other), 3));
            String::from_utf8(one(&query, 4)).ok()
        });
    assert!(queries.into_iter().any(|name| name == "fieldValidation"));
}
