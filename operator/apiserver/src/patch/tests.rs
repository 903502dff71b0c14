//! The patches as Kubernetes makes them.

use serde_json::{Value, json};

use super::{PatchError, json as json_patch, merge, strategic};

#[test]
fn a_json_patch_does_its_operations_in_order() {
    let document = json!({"metadata": {"labels": {"a/b": "1"}}, "list": [1, 2]});
    let patch = json!([
        {"op": "test", "path": "/metadata/labels/a~1b", "value": "1"},
        {"op": "replace", "path": "/metadata/labels/a~1b", "value": "2"},
        {"op": "add", "path": "/list/-", "value": 3},
        {"op": "remove", "path": "/list/0"},
        {"op": "copy", "from": "/list", "path": "/copy"},
        {"op": "move", "from": "/copy", "path": "/moved"},
        {"op": "test", "path": "/absent", "value": null},
    ]);
    let wanted = json!({"metadata": {"labels": {"a/b": "2"}}, "list": [2, 3], "moved": [2, 3]});
    assert_eq!(json_patch(&document, &patch), Ok(wanted));
}

#[test]
fn a_json_patch_that_fails_says_where() {
    let document = json!({"a": 1});
    let cases = [
        (
            json!([{"op": "test", "path": "/a", "value": 2}]),
            "testing value /a failed: test failed",
        ),
        (
            json!([{"op": "test", "path": "/b", "value": 2}]),
            "testing value /b failed: test failed",
        ),
        (
            json!([{"op": "remove", "path": "/b"}]),
            "remove operation does not apply: doc is missing path: /b: missing value",
        ),
        (
            json!([{"op": "replace", "path": "/b/c", "value": 1}]),
            "replace operation does not apply: doc is missing path: /b/c: missing value",
        ),
    ];
    for (patch, message) in cases {
        assert_eq!(
            json_patch(&document, &patch),
            Err(PatchError::DoesNotApply(message.to_owned()))
        );
    }
    for malformed in [
        json!({}),
        json!([{"op": "nonsense", "path": "/a"}]),
        json!([{"op": "add"}]),
    ] {
        assert!(
            matches!(
                json_patch(&document, &malformed),
                Err(PatchError::Malformed(_))
            ),
            "{malformed}"
        );
    }
}

#[test]
fn a_json_patch_is_bounded() {
    let many = vec![json!({"op": "add", "path": "/a", "value": 1}); 10_001];
    let error = json_patch(&json!({}), &Value::Array(many)).expect_err("too many");
    assert_eq!(
        error,
        PatchError::TooLarge(
            "The allowed maximum operations in a JSON patch is 10000, got 10001".to_owned()
        )
    );
    // Each copy doubles the document; without the limit a hundred of them would not fit any memory.
    let doubling: Vec<Value> = (0..100)
        .map(|n| json!({"op": "copy", "from": "", "path": format!("/{n}")}))
        .collect();
    let error = json_patch(&json!({"seed": "x".repeat(100)}), &Value::Array(doubling))
        .expect_err("too large");
    assert!(matches!(error, PatchError::TooLarge(_)), "{error}");
}

#[test]
fn a_merge_patch_removes_by_null() {
    let document = json!({"a": {"b": 1, "c": [1]}, "d": 1});
    let patch = json!({"a": {"b": null, "c": [2], "n": {"x": null, "y": 1}}, "e": {}});
    assert_eq!(
        merge(&document, &patch),
        json!({"a": {"c": [2], "n": {"y": 1}}, "d": 1, "e": {}})
    );
}

/// The fixture was written by a small program over `k8s.io/apimachinery` 0.36.3: random pairs of documents, the patch that
/// kubectl makes of them, what Kubernetes answers. Left out are patches that both delete and add items of one list, for which
/// Kubernetes' answer depends on a slice being overwritten while it is read.
#[test]
fn strategic_does_what_kubernetes_does() {
    let fixture: Value =
        serde_json::from_str(include_str!("fixtures/strategic.json")).expect("a fixture is JSON");
    let cases = fixture["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 73);
    for case in cases {
        let got = strategic(&fixture["schema"], &case["document"], &case["patch"]);
        assert_eq!(got.as_ref().ok(), case.get("result"), "{case:#}\n{got:#?}");
    }
}

/// A kind with one list of each sort.
fn schema() -> Value {
    json!({"type": "object", "properties": {
        "items": {"type": "array", "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "name",
            "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
        "tags": {"type": "array", "x-kubernetes-patch-strategy": "merge", "items": {"type": "string"}},
        "plain": {"type": "array", "items": {"type": "string"}},
    }})
}

#[test]
fn directives_never_end_up_in_the_result() {
    let document = json!({"tags": ["a", "b"], "items": [{"name": "x", "v": 1}, {"name": "y"}]});
    let patch = json!({
        "$setElementOrder/tags": ["c", "a"],
        "tags": ["c"],
        "$deleteFromPrimitiveList/tags": ["b"],
        "$setElementOrder/items": [{"name": "z"}, {"name": "x"}],
        "items": [{"name": "z"}, {"name": "x", "$retainKeys": ["name", "w"], "w": 2}, {"$patch": "delete", "name": "y"}],
        "new": {"$setElementOrder/q": [], "$patch": "replace"},
        "other": {"$retainKeys": ["k"], "k": 1},
    });
    let wanted = json!({
        "tags": ["c", "a"],
        "items": [{"name": "z"}, {"name": "x", "w": 2}],
        "other": {"k": 1},
    });
    assert_eq!(strategic(&schema(), &document, &patch), Ok(wanted));
}

#[test]
fn a_strategic_patch_that_cannot_be_merged_is_refused() {
    let document = json!({"items": [{"name": "x"}], "tags": ["a"]});
    let cases = [
        (
            json!({"items": [{"v": 1}]}),
            "map does not contain declared merge key: name",
        ),
        (
            json!({"items": [{"$patch": "bogus", "name": "x"}]}),
            "unknown patch type: bogus",
        ),
        (
            json!({"items": ["x"]}),
            "list element types are not identical",
        ),
        (json!({"tags": [["x"]]}), "lists of lists are not supported"),
        (json!({"$patch": 1}), "unknown patch type: not a string"),
        (
            json!({"$setElementOrder/tags": ["a"], "tags": ["b"]}),
            "The order in patch list doesn't match $setElementOrder list",
        ),
    ];
    for (patch, message) in cases {
        assert_eq!(
            strategic(&schema(), &document, &patch),
            Err(PatchError::DoesNotApply(message.to_owned()))
        );
    }
    for malformed in [
        json!([]),
        json!({"$retainKeys": 1}),
        json!({"$deleteFromPrimitiveList/tags": 1}),
    ] {
        assert!(
            matches!(
                strategic(&schema(), &document, &malformed),
                Err(PatchError::Malformed(_))
            ),
            "{malformed}"
        );
    }
}

#[test]
fn a_strategic_patch_is_bounded() {
    let many: Vec<String> = (0..5_001).map(|n| n.to_string()).collect();
    for patch in [
        json!({"tags": many}),
        json!({"$deleteFromPrimitiveList/tags": many}),
        json!({"$setElementOrder/tags": many, "tags": ["a"]}),
    ] {
        let error = strategic(&schema(), &json!({"tags": ["a"]}), &patch).expect_err("too large");
        assert!(matches!(error, PatchError::TooLarge(_)), "{error}");
    }
}
