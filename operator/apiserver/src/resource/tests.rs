//! What definitions are accepted, what they make, and what objects of them are refused.

// Tables of cases are longer than functions may be.
#![allow(clippy::too_many_lines)]

use serde_json::{Value, json};

use super::Resource;
use crate::builtin;

fn texts(errors: &[crate::schema::FieldError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

/// A complete definition, to be broken by each test.
fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "categories": ["factory"]},
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "deprecated": true,
                "subresources": {
                    "status": {},
                    "scale": {
                        "specReplicasPath": ".spec.replicas",
                        "statusReplicasPath": ".status.replicas",
                        "labelSelectorPath": ".status.selector"
                    }
                },
                "selectableFields": [{"jsonPath": ".spec.color"}],
                "additionalPrinterColumns": [
                    {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
                    {"name": "Since", "type": "date", "jsonPath": ".status.since", "priority": 1}
                ],
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "properties": {
                        "spec": {
                            "type": "object",
                            "properties": {
                                "color": {"type": "string", "enum": ["red", "green"]},
                                "replicas": {"type": "integer"}
                            },
                            "x-kubernetes-validations": [{"rule": "self.replicas < 5", "message": "too many"}]
                        },
                        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}
                    }
                }}
            }]
        }
    })
}

fn changed(pointer: &str, value: Value) -> Value {
    let mut definition = definition();
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer has a slash");
    let parent = definition.pointer_mut(parent).expect("the parent is there");
    parent[key] = value;
    definition
}

fn refused(definition: &Value) -> Vec<String> {
    texts(&Resource::from_crd(definition).expect_err("the definition is refused"))
}

#[test]
fn a_definition_makes_a_resource_for_each_version() {
    let resources =
        Resource::from_crd(&definition()).unwrap_or_else(|errors| panic!("{:?}", texts(&errors)));
    let [widget] = resources.as_slice() else {
        panic!("one version makes one resource");
    };
    assert_eq!(widget.gvk(), ("example.com/v1".to_owned(), "Widget"));
    assert_eq!(widget.gvr(), ("example.com/v1".to_owned(), "widgets"));
    assert_eq!(
        (widget.singular.as_str(), widget.list_kind.as_str()),
        ("widget", "WidgetList")
    );
    assert!(
        widget.namespaced && widget.served && widget.storage && widget.status && !widget.builtin
    );
    assert_eq!(
        widget.deprecation_warning.as_deref(),
        Some("example.com/v1 Widget is deprecated")
    );
    assert_eq!(widget.columns.len(), 2);
    assert_eq!(widget.selectable_fields[0].name, "spec.color");
    assert_eq!(
        widget
            .scale
            .as_ref()
            .expect("scale is there")
            .spec_replicas_path
            .to_string(),
        ".spec.replicas"
    );
}

#[test]
fn what_is_wrong_with_a_definition_is_said_where_it_is() {
    let version = "/spec/versions/0";
    let at = |key: &str| format!("{version}/{key}");
    let cases: Vec<(Value, &str)> = vec![
        (
            changed("/spec/group", json!("")),
            "spec.group: Required value",
        ),
        (
            changed("/spec/group", json!("example")),
            "spec.group: Invalid value: \"example\": should be a domain with at least one dot",
        ),
        (
            changed("/spec/scope", json!("World")),
            "spec.scope: Unsupported value: \"World\": supported values: \"Cluster\", \"Namespaced\"",
        ),
        (
            changed("/spec/names/plural", json!("Widgets")),
            "spec.names.plural: Invalid value: \"Widgets\": a DNS-1035 label must consist of",
        ),
        (
            changed("/spec/names/listKind", json!("Widget")),
            "spec.names.listKind: Invalid value: \"Widget\": kind and listKind may not be the same",
        ),
        (
            changed("/spec/names/shortNames", json!(["A"])),
            "spec.names.shortNames[0]: Invalid value: \"A\"",
        ),
        (
            changed("/spec/preserveUnknownFields", json!(true)),
            "spec.preserveUnknownFields: Invalid value: true",
        ),
        (
            changed("/spec/conversion", json!({"strategy": "Webhook"})),
            "spec.conversion.strategy: Forbidden: conversion webhooks are not supported",
        ),
        (
            changed(&at("storage"), json!(false)),
            "must have exactly one version marked as storage version",
        ),
        (
            changed(&at("name"), json!("1")),
            "spec.versions[0].name: Invalid value: \"1\"",
        ),
        (
            changed(&at("schema"), json!({})),
            "spec.validation.openAPIV3Schema: Required value",
        ),
        (
            changed(
                &at("schema"),
                json!({"openAPIV3Schema": {"type": "string"}}),
            ),
            "spec.validation.openAPIV3Schema.type: Invalid value: \"string\": must be object at the root",
        ),
        (
            changed(
                &at("subresources/scale/specReplicasPath"),
                json!(".status.x"),
            ),
            "spec.subresources.scale.specReplicasPath: Invalid value: \".status.x\": should be a json path under .spec",
        ),
        (
            changed(&at("subresources/scale/statusReplicasPath"), json!("")),
            "spec.subresources.scale.statusReplicasPath: Required value",
        ),
        (
            changed(
                &at("additionalPrinterColumns"),
                json!([{"name": "X", "type": "frob", "jsonPath": ".x"}]),
            ),
            "spec.additionalPrinterColumns[0].type: Invalid value: \"frob\": must be one of boolean,date,integer,number,string",
        ),
        (
            changed(
                &at("additionalPrinterColumns"),
                json!([{"name": "X", "type": "string", "jsonPath": "x"}]),
            ),
            "spec.additionalPrinterColumns[0].JSONPath: Invalid value: \"x\": must be a simple json path starting with .",
        ),
        (
            changed(
                &at("selectableFields"),
                json!([{"jsonPath": ".spec.nothing"}]),
            ),
            "spec.selectableFields[0].jsonPath: Invalid value: \".spec.nothing\": is an invalid path: does not refer to a valid field",
        ),
        (
            changed(&at("selectableFields"), json!([{"jsonPath": ".spec"}])),
            "must point to a field of type string, boolean or integer",
        ),
        (
            changed(&at("deprecationWarning"), json!("")),
            "spec.versions[0].deprecationWarning: Invalid value: \"\": must not be an empty string",
        ),
    ];
    for (definition, expected) in cases {
        let errors = refused(&definition);
        assert!(
            errors.iter().any(|error| error.contains(expected)),
            "wanted {expected:?}, found {errors:#?}"
        );
    }
}

#[test]
fn the_spec_of_hostile_definitions_is_refused_without_panic() {
    for spec in [
        json!(null),
        json!([]),
        json!("x"),
        json!({"versions": 3}),
        json!({"versions": [null, 3, {}]}),
        json!({"names": []}),
    ] {
        assert!(!refused(&json!({"spec": spec})).is_empty());
    }
}

#[test]
fn an_established_definition_keeps_what_its_objects_are_stored_by() {
    let mut old = definition();
    old["status"] = json!({"conditions": [{"type": "Established", "status": "True"}], "storedVersions": ["v1"]});
    let mut new = old.clone();
    assert_eq!(super::crd::validate(&new, Some(&old)), []);
    new["spec"]["names"]["kind"] = json!("Gadget");
    new["spec"]["versions"][0]["name"] = json!("v2");
    let errors = texts(&super::crd::validate(&new, Some(&old)));
    assert_eq!(
        errors[0],
        "spec.names.kind: Invalid value: \"Gadget\": field is immutable"
    );
    assert!(
        errors[1].starts_with(
            "status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions"
        ),
        "{errors:?}"
    );
}

#[test]
fn objects_are_judged_in_kubernetes_order() {
    let resources = Resource::from_crd(&definition()).expect("the definition is right");
    let widget = &resources[0];
    let object = |name: &str, spec: Value| json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec});
    assert_eq!(
        widget.validate(&object("a", json!({"replicas": 1})), None),
        []
    );
    assert_eq!(
        texts(&widget.validate(&object("a", json!({"replicas": 7})), None)),
        ["spec: Invalid value: too many"]
    );
    // Rules could mislead about an object of the wrong shape.
    assert_eq!(
        texts(&widget.validate(&object("a", json!({"replicas": 7, "color": "blue"})), None)),
        [
            "spec.color: Unsupported value: \"blue\": supported values: \"red\", \"green\"",
            "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
        ]
    );
    assert_eq!(
        texts(&widget.validate(&object("a", json!({"replicas": -1})), None)),
        [".spec.replicas: Invalid value: -1: should be a non-negative integer"]
    );
    let errors = texts(&widget.validate(&object("A_b", json!({"replicas": 1})), None));
    assert!(
        errors[0]
            .starts_with("metadata.name: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain"),
        "{errors:?}"
    );
}

#[test]
fn built_in_kinds_know_their_fields() {
    let kind = builtin::all()
        .iter()
        .find(|kind| kind.kind == "ConfigMap")
        .expect("ConfigMap is built in");
    let resource = Resource::from_builtin(kind);
    assert_eq!(resource.gvr(), ("v1".to_owned(), "configmaps"));
    let mut object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "foo": 1}, "data": {"a": "b"}, "dato": {}
    });
    let unknown = resource
        .structural
        .as_ref()
        .expect("it has a schema")
        .prune(&mut object);
    assert_eq!(unknown, ["dato", "metadata.foo"]);
    assert_eq!(resource.validate(&object, None), []);
    let wrong = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": 1}});
    assert_eq!(
        texts(&resource.validate(&wrong, None))[0],
        "data.a: Invalid value: \"integer\": data.a in body must be of type string: \"integer\""
    );
}

/// A resource of [`definition`], for the tests of other modules.
pub fn widget() -> Resource {
    let mut resources = Resource::from_crd(&definition()).expect("the definition is right");
    resources.remove(0)
}
