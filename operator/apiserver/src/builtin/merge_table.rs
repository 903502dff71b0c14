//! One table of (kind, path) to how the field there merges.
//!
//! Owns what k8s-openapi's schemas leave out: list types and keys for server-side apply, merge keys for strategic merge
//! patches, atomic maps. It must not know how merging works. Invariant: a path of the table exists in its schema.

use serde_json::{Value, json};

/// How a field merges.
#[derive(Clone, Copy, Debug)]
enum Merge {
    /// A list of maps told apart by these keys; strategic merge patches use the same key.
    Keyed(&'static str),
    /// As [`Merge::Keyed`] in server-side apply, while a strategic merge patch replaces the list.
    KeyedApply(&'static str),
    /// A list of distinct scalars, merged by both.
    Set,
    /// A map that is owned and replaced as a whole.
    AtomicMap,
}

/// Every kind.
const ANY: &str = "*";

/// The table. A path is property names; `[]` descends into the items of a list. Lists that are not here are atomic.
const TABLE: &[(&str, &str, Merge)] = &[
    (ANY, "metadata.finalizers", Merge::Set),
    (ANY, "metadata.ownerReferences", Merge::Keyed("uid")),
    (ANY, "metadata.ownerReferences[]", Merge::AtomicMap),
    ("Namespace", "status.conditions", Merge::Keyed("type")),
    ("ServiceAccount", "secrets", Merge::Keyed("name")),
    ("ServiceAccount", "secrets[]", Merge::AtomicMap),
    ("ServiceAccount", "imagePullSecrets[]", Merge::AtomicMap),
    ("Event", "involvedObject", Merge::AtomicMap),
    ("Event", "related", Merge::AtomicMap),
    ("Event.events.k8s.io", "regarding", Merge::AtomicMap),
    ("Event.events.k8s.io", "related", Merge::AtomicMap),
    (
        "CustomResourceDefinition",
        "status.conditions",
        Merge::KeyedApply("type"),
    ),
];

/// Writes the extensions for a kind into its schema.
pub(super) fn annotate(kind: &str, schema: &mut Value) {
    mark_lists(schema);
    for (of, path, merge) in TABLE {
        if *of == ANY || *of == kind {
            let field =
                field_at(schema, path).expect("invariant: the merge table names fields that exist");
            set(field, *merge);
        }
    }
}

fn set(field: &mut Value, merge: Merge) {
    let keyed = |key: &str, field: &mut Value| {
        field["x-kubernetes-list-type"] = json!("map");
        field["x-kubernetes-list-map-keys"] = json!([key]);
    };
    match merge {
        Merge::Keyed(key) => {
            keyed(key, field);
            field["x-kubernetes-patch-strategy"] = json!("merge");
            field["x-kubernetes-patch-merge-key"] = json!(key);
        }
        Merge::KeyedApply(key) => keyed(key, field),
        Merge::Set => {
            field["x-kubernetes-list-type"] = json!("set");
            field["x-kubernetes-patch-strategy"] = json!("merge");
        }
        Merge::AtomicMap => field["x-kubernetes-map-type"] = json!("atomic"),
    }
}

/// Says of every list that it is atomic, which the table then changes where it is not.
fn mark_lists(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    if object.get("type").and_then(Value::as_str) == Some("array") {
        object.insert("x-kubernetes-list-type".to_owned(), json!("atomic"));
    }
    for property in object
        .get_mut("properties")
        .and_then(Value::as_object_mut)
        .into_iter()
        .flatten()
    {
        mark_lists(property.1);
    }
    for below in ["items", "additionalProperties"] {
        if let Some(below) = object.get_mut(below) {
            mark_lists(below);
        }
    }
}

fn field_at<'s>(schema: &'s mut Value, path: &str) -> Option<&'s mut Value> {
    let mut at = schema;
    for step in path.split('.') {
        let (name, is_item) = step
            .strip_suffix("[]")
            .map_or((step, false), |name| (name, true));
        at = at.get_mut("properties")?.get_mut(name)?;
        if is_item {
            at = at.get_mut("items")?;
        }
    }
    Some(at)
}
