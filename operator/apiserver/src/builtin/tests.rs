//! The built-in kinds: schemas, merge rules, defaults, validation.

use serde_json::{Value, json};

use super::{BuiltIn, all, dns_label, dns_subdomain, normalize, qualified_name, validate};
use crate::apply::TypeSchema;

fn kind(group: &str, kind: &str) -> &'static BuiltIn {
    all()
        .iter()
        .find(|b| b.group == group && b.kind == kind)
        .expect("a built-in kind")
}

/// Every error of a normalized object as `path: detail`.
fn errors(b: &BuiltIn, object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut object = object.clone();
    normalize(b, &mut object);
    validate(b, &object, old)
        .into_iter()
        .map(|e| format!("{}: {}", e.path, e.detail))
        .collect()
}

fn walk(schema: &Value, path: &str, visit: &mut dyn FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(property, &format!("{path}.{name}"), visit);
    }
    for below in ["items", "additionalProperties"] {
        if schema[below].is_object() {
            walk(&schema[below], &format!("{path}[]"), visit);
        }
    }
}

#[test]
fn kinds_have_the_names_that_kubectl_knows() {
    let names: Vec<String> = all()
        .iter()
        .map(|b| format!("{} {} {}", b.api_version(), b.kind, b.plural))
        .collect();
    assert_eq!(
        names,
        [
            "v1 Namespace namespaces",
            "v1 Secret secrets",
            "v1 ConfigMap configmaps",
            "v1 Event events",
            "v1 ServiceAccount serviceaccounts",
            "events.k8s.io/v1 Event events",
            "coordination.k8s.io/v1 Lease leases",
            "apiextensions.k8s.io/v1 CustomResourceDefinition customresourcedefinitions",
        ]
    );
    for b in all() {
        assert_eq!(b.list_kind, format!("{}List", b.kind));
        assert_eq!(b.singular, b.kind.to_lowercase());
    }
}

#[test]
fn schemas_have_no_references_and_every_field_a_type_and_a_merge_rule() {
    for b in all() {
        assert!(!b.schema.to_string().contains("$ref"), "{}", b.kind);
        walk(&b.schema, "", &mut |path, field| {
            let place = format!("{} {path}", b.kind);
            assert!(field["type"].is_string(), "{place} has no type");
            if field["type"] == "array" {
                assert!(
                    field["x-kubernetes-list-type"].is_string(),
                    "{place} has no list type"
                );
                if field["x-kubernetes-list-type"] == "map" {
                    let key = field["x-kubernetes-list-map-keys"][0]
                        .as_str()
                        .expect("a key");
                    assert!(
                        field["items"]["properties"][key].is_object(),
                        "{place} has no key {key}"
                    );
                }
            }
        });
    }
}

#[test]
fn schemas_merge_as_in_kubernetes() {
    let at =
        |b: &'static BuiltIn, pointer: &str| b.schema.pointer(pointer).cloned().unwrap_or_default();
    let namespace = kind("", "Namespace");
    let owners = at(namespace, "/properties/metadata/properties/ownerReferences");
    assert_eq!(owners["x-kubernetes-list-map-keys"], json!(["uid"]));
    assert_eq!(owners["x-kubernetes-patch-merge-key"], "uid");
    assert_eq!(owners["items"]["x-kubernetes-map-type"], "atomic");
    assert_eq!(
        at(
            namespace,
            "/properties/spec/properties/finalizers/x-kubernetes-list-type"
        ),
        "atomic"
    );
    assert_eq!(
        at(
            namespace,
            "/properties/status/properties/conditions/x-kubernetes-list-map-keys"
        ),
        json!(["type"])
    );
    assert_eq!(
        at(
            kind("", "Event"),
            "/properties/involvedObject/x-kubernetes-map-type"
        ),
        "atomic"
    );
    assert_eq!(
        at(kind("", "Event"), "/required"),
        json!(["involvedObject"])
    );
    assert_eq!(at(kind("", "Secret"), "/required"), Value::Null);
    let definition = kind("apiextensions.k8s.io", "CustomResourceDefinition");
    let version = "/properties/spec/properties/versions/items/properties";
    let schema = at(
        definition,
        &format!("{version}/schema/properties/openAPIV3Schema"),
    );
    assert_eq!(schema["x-kubernetes-preserve-unknown-fields"], true);
    assert_eq!(
        at(
            kind("coordination.k8s.io", "Lease"),
            "/properties/spec/properties/renewTime/nullable"
        ),
        true
    );
    for b in all() {
        let _ = TypeSchema::from_openapi(&b.schema).with_status(b.status);
    }
}

#[test]
fn a_secret_is_stored_as_data() {
    let mut secret = json!({"metadata": {"creationTimestamp": null}, "data": {"a": "MQ==", "b": "Mg=="}, "stringData": {"b": "3", "c": "4"}});
    let secrets = kind("", "Secret");
    normalize(secrets, &mut secret);
    let wanted =
        json!({"metadata": {}, "type": "Opaque", "data": {"a": "MQ==", "b": "Mw==", "c": "NA=="}});
    assert_eq!(secret, wanted);
    normalize(secrets, &mut secret);
    assert_eq!(secret, wanted);
    let mut odd = json!({"stringData": {"a": 1}, "type": "Opaque"});
    normalize(secrets, &mut odd);
    assert_eq!(
        odd["stringData"],
        json!({"a": 1}),
        "what cannot be folded is left for validation"
    );
}

#[test]
fn a_namespace_has_its_label_phase_and_finalizer() {
    let mut namespace = json!({"metadata": {"name": "n"}});
    normalize(kind("", "Namespace"), &mut namespace);
    assert_eq!(
        namespace,
        json!({"metadata": {"name": "n", "labels": {"kubernetes.io/metadata.name": "n"}},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}})
    );
    let mut going = json!({"metadata": {"name": "n", "deletionTimestamp": "x"}, "spec": {}, "status": {"phase": "Terminating"}});
    normalize(kind("", "Namespace"), &mut going);
    assert_eq!(
        going["spec"],
        json!({}),
        "a finalizer that is done does not come back"
    );
    assert_eq!(going["status"]["phase"], "Terminating");
}

#[test]
fn a_definition_gets_its_names_and_keeps_the_nulls_of_its_schema() {
    let mut definition = json!({"spec": {"names": {"kind": "Foo", "plural": "foos", "shortNames": null},
        "versions": [{"schema": {"openAPIV3Schema": {"properties": {"x": {"default": null}}}}}]}});
    normalize(
        kind("apiextensions.k8s.io", "CustomResourceDefinition"),
        &mut definition,
    );
    assert_eq!(
        definition,
        json!({"spec": {"names": {"kind": "Foo", "plural": "foos", "singular": "foo", "listKind": "FooList"},
            "conversion": {"strategy": "None"},
            "versions": [{"schema": {"openAPIV3Schema": {"properties": {"x": {"default": null}}}}}]}})
    );
}

#[test]
fn secrets_are_judged_without_being_shown() {
    let secrets = kind("", "Secret");
    let cases = [
        (json!({"data": {"a": "MQ=="}}), vec![]),
        (
            json!({"data": {"a": "no base64 here"}}),
            vec!["data[a]: illegal base64 data"],
        ),
        (
            json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}),
            vec!["data[tls.key]: "],
        ),
        (
            json!({"type": "kubernetes.io/basic-auth"}),
            vec!["data[username]: ", "data[password]: "],
        ),
        (
            json!({"type": "kubernetes.io/basic-auth", "stringData": {"password": "p"}}),
            vec![],
        ),
        (
            json!({"type": "kubernetes.io/ssh-auth", "data": {"ssh-privatekey": ""}}),
            vec!["data[ssh-privatekey]: "],
        ),
        (
            json!({"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": "[]"}}),
            vec!["data[.dockerconfigjson]: must be a JSON object"],
        ),
        (
            json!({"type": "kubernetes.io/service-account-token"}),
            vec!["metadata.annotations[kubernetes.io/service-account.name]: "],
        ),
    ];
    for (secret, wanted) in cases {
        assert_eq!(errors(secrets, &secret, None), wanted, "{secret}");
    }
    let wrong = validate(secrets, &json!({"data": {"a": "secret!", "b": 5}}), None);
    assert!(!format!("{wrong:?}").contains("secret!"), "{wrong:?}");
}

#[test]
fn immutable_content_stays() {
    const DETAIL: &str = "field is immutable when `immutable` is set";
    let old = json!({"type": "Opaque", "immutable": true, "data": {"a": "MQ=="}});
    let secrets = kind("", "Secret");
    assert_eq!(errors(secrets, &old, Some(&old)), Vec::<String>::new());
    let changed = json!({"type": "other", "data": {"a": "Mg=="}});
    assert_eq!(
        errors(secrets, &changed, Some(&old)),
        [
            "type: field is immutable".to_owned(),
            format!("immutable: {DETAIL}"),
            format!("data: {DETAIL}")
        ]
    );
    let old = json!({"immutable": true, "data": {"a": "1"}, "binaryData": {"b": "MQ=="}});
    let changed = json!({"immutable": true, "data": {"a": "1"}});
    assert_eq!(
        errors(kind("", "ConfigMap"), &changed, Some(&old)),
        [format!("binaryData: {DETAIL}")]
    );
}

#[test]
fn config_maps_are_judged() {
    let maps = kind("", "ConfigMap");
    let cases = [
        (json!({"data": {"a.b-c_D": "x"}}), 0),
        (json!({"data": {"a": "x"}, "binaryData": {"a": "MQ=="}}), 1),
        (json!({"data": {"a/b": "x", "..": "x", "": "x"}}), 3),
        (json!({"data": {"a": "x".repeat(1024 * 1024 + 1)}}), 1),
        (json!({"data": {"a": 1}}), 1),
    ];
    for (map, count) in cases {
        assert_eq!(
            errors(maps, &map, None).len(),
            count,
            "{:.80}",
            map.to_string()
        );
    }
}

#[test]
fn names_are_judged_on_create() {
    let wrong = errors(
        kind("", "Namespace"),
        &json!({"metadata": {"name": "a.b"}}),
        None,
    );
    assert_eq!(wrong.len(), 1);
    assert!(
        wrong[0].starts_with("metadata.name: a lowercase RFC 1123 label must consist of"),
        "{wrong:?}"
    );
    assert_eq!(
        errors(
            kind("", "ConfigMap"),
            &json!({"metadata": {"name": "a.b"}}),
            None
        ),
        Vec::<String>::new()
    );
    assert_eq!(
        dns_label(&"a".repeat(64)),
        ["must be no more than 63 bytes"]
    );
    assert_eq!(
        dns_subdomain(&"a".repeat(254)),
        ["must be no more than 253 bytes"]
    );
    for bad in ["", "A", "-a", "a-", "a..b", "a_b", ".a"] {
        assert_eq!(dns_subdomain(bad).len(), 1, "{bad}");
    }
    for good in ["a", "a-b", "0", "a.b-c.0"] {
        assert_eq!(dns_subdomain(good), Vec::<String>::new(), "{good}");
    }
    for good in ["a", "A_b.c", "example.com/Name"] {
        assert_eq!(qualified_name(good), Vec::<String>::new(), "{good}");
    }
    for bad in ["", "-a", "/a", "a/", "a/b/c", "Ex.com/a", "a b"] {
        assert!(!qualified_name(bad).is_empty(), "{bad}");
    }
}

#[test]
fn leases_are_judged() {
    let leases = kind("coordination.k8s.io", "Lease");
    let wrong = errors(
        leases,
        &json!({"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1, "preferredHolder": "x"}}),
        None,
    );
    assert_eq!(
        wrong,
        [
            "spec.leaseDurationSeconds: must be greater than 0",
            "spec.leaseTransitions: must be greater than or equal to 0",
            "spec.preferredHolder: may only be specified if `strategy` is defined",
        ]
    );
}

#[test]
fn events_are_judged_by_the_form_they_come_in() {
    let good = json!({"metadata": {"name": "e", "namespace": "n"}, "eventTime": "2024-01-01T00:00:00.000000Z",
        "reportingController": "mooring.dev/operator", "reportingInstance": "i", "action": "a", "reason": "r",
        "regarding": {"namespace": "n", "name": "x"}, "type": "Normal", "note": "text"});
    let events = kind("events.k8s.io", "Event");
    assert_eq!(errors(events, &good, None), Vec::<String>::new());
    let mut bad = good.clone();
    bad["type"] = json!("Strange");
    bad["action"] = json!("");
    bad["note"] = json!("x".repeat(1025));
    bad["deprecatedCount"] = json!(1);
    bad["series"] = json!({"count": 1});
    assert_eq!(
        errors(events, &bad, None),
        [
            "action: ",
            "note: can have at most 1024 characters",
            "type: has invalid value: Strange",
            "deprecatedCount: needs to be unset",
            "series.count: should be at least 2",
            "series.lastObservedTime: ",
        ]
    );
    let mut changed = good.clone();
    changed["note"] = json!("other");
    assert_eq!(
        errors(events, &changed, Some(&good)),
        ["note: field is immutable"]
    );
    let old_form = json!({"metadata": {"name": "e", "namespace": "n"}, "involvedObject": {"namespace": "other"}, "message": "m"});
    assert_eq!(
        errors(kind("", "Event"), &old_form, None),
        ["involvedObject.namespace: does not match event.namespace"]
    );
    let cluster = json!({"metadata": {"name": "e", "namespace": "default"}, "involvedObject": {"kind": "Node"}});
    assert_eq!(
        errors(kind("", "Event"), &cluster, None),
        Vec::<String>::new()
    );
}

#[test]
fn a_definition_is_named_by_what_it_defines() {
    let definitions = kind("apiextensions.k8s.io", "CustomResourceDefinition");
    let object = json!({"metadata": {"name": "foos.other"}, "spec": {"group": "x.io", "names": {"plural": "foos", "kind": "Foo"}}});
    assert_eq!(
        errors(definitions, &object, None),
        ["metadata.name: must be spec.names.plural+\".\"+spec.group"]
    );
}
