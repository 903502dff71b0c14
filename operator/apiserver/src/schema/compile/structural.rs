//! What makes a schema structural.
//!
//! Owns the invariants of Kubernetes' structural schemas: every value is described once, and what stands under `allOf`
//! and its like only validates. Must not know the dialect beyond them. Invariant: a schema that passes gives pruning,
//! defaulting and CEL one answer for each value.

use serde_json::Value;

use crate::schema::{Additional, FieldError, Node, Path, Type};

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq)]
pub enum Level {
    /// At the root.
    Root,
    /// As the items of a list.
    Item,
    /// As a field.
    Field,
}

/// The invariants of a structural schema, of this node and all below it.
pub fn structure(
    node: &Node,
    document: &Value,
    level: Level,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    if node.type_ == Some(Type::Array) && node.items.is_none() {
        errors.push(FieldError::required(
            path.child("items"),
            "must be specified",
        ));
    }
    typed(node, level, path, errors);
    extensions(node, path, errors);
    if level == Level::Root || node.embedded {
        type_meta(node, path, errors);
    }
    if level == Level::Root
        && let Some(metadata) = node.properties.get("metadata")
    {
        root_metadata(metadata, document, path, errors);
    }
    let (skip_any_of, skip_first_all_of) = int_or_string_patterns(document);
    nested_all(node, document, path, skip_any_of, skip_first_all_of, errors);
    let at = path.child("properties");
    for (name, child) in &node.properties {
        structure(
            child,
            &document["properties"][name],
            Level::Field,
            &at.key(name),
            errors,
        );
    }
    if let Some(items) = &node.items {
        structure(
            items,
            &document["items"],
            Level::Item,
            &path.child("items"),
            errors,
        );
    }
    if let Additional::Schema(values) = &node.additional {
        let at = path.child("additionalProperties");
        structure(
            values,
            &document["additionalProperties"],
            Level::Field,
            &at,
            errors,
        );
    }
}

fn typed(node: &Node, level: Level, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let at = path.child("type");
    match node.type_ {
        None if node.embedded => errors.push(FieldError::required(
            at,
            "must be object if x-kubernetes-embedded-resource is true",
        )),
        Some(type_) if node.embedded && type_ != Type::Object => errors.push(FieldError::invalid(
            at,
            type_.name(),
            "must be object if x-kubernetes-embedded-resource is true",
        )),
        None if !node.int_or_string && !node.preserve_unknown => errors.push(FieldError::required(
            at,
            match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            },
        )),
        Some(type_) if level == Level::Root && type_ != Type::Object => {
            errors.push(FieldError::invalid(
                at,
                type_.name(),
                "must be object at the root",
            ));
        }
        None | Some(_) => {}
    }
}

fn extensions(node: &Node, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let has_additional = !matches!(node.additional, Additional::Absent);
    if node.int_or_string && node.preserve_unknown {
        errors.push(FieldError::invalid(
            path.child("x-kubernetes-preserve-unknown-fields"),
            true,
            "must be false if x-kubernetes-int-or-string is true",
        ));
    }
    if node.int_or_string && node.embedded {
        errors.push(FieldError::invalid(
            path.child("x-kubernetes-embedded-resource"),
            true,
            "must be false if x-kubernetes-int-or-string is true",
        ));
    }
    if node.embedded && has_additional {
        errors.push(FieldError::forbidden(
            path.child("additionalProperties"),
            "must not be used if x-kubernetes-embedded-resource is set",
        ));
    }
    if node.embedded && !node.preserve_unknown && node.properties.is_empty() {
        errors.push(FieldError::required(
            path.child("properties"),
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        ));
    }
}

fn type_meta(node: &Node, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let properties = path.child("properties");
    for (name, wanted) in [
        ("kind", Type::String),
        ("apiVersion", Type::String),
        ("metadata", Type::Object),
    ] {
        if let Some(child) = node.properties.get(name)
            && child.type_ != Some(wanted)
        {
            errors.push(FieldError::invalid(
                properties.key(name).child("type"),
                child.type_.map_or("", Type::name),
                format!("must be {}", wanted.name()),
            ));
        }
    }
}

/// At the root, `metadata` may restrict names and nothing else.
fn root_metadata(metadata: &Node, document: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let only_names = metadata
        .properties
        .keys()
        .all(|name| name == "name" || name == "generateName");
    let plain = document["properties"]["metadata"]
        .as_object()
        .is_none_or(|map| {
            map.iter().all(|(key, value)| {
                matches!(
                    key.as_str(),
                    "type" | "properties" | "description" | "default"
                ) || value.is_null()
                    || *value == Value::Bool(false)
            })
        });
    if !only_names || !plain {
        let properties = path.child("properties");
        errors.push(FieldError::forbidden(
            properties.key("metadata"),
            "must not specify anything other than name and generateName, but metadata is implicitly specified",
        ));
    }
}

/// Whether `anyOf`, or the `anyOf` of the first `allOf`, is the idiom for int-or-string and may therefore name types.
fn int_or_string_patterns(document: &Value) -> (bool, bool) {
    let idiom = |any_of: Option<&Value>| {
        any_of.is_some_and(|any_of| {
            *any_of == serde_json::json!([{"type": "integer"}, {"type": "string"}])
        })
    };
    (
        idiom(document.get("anyOf")),
        idiom(document.pointer("/allOf/0/anyOf")),
    )
}

/// The schemas under `allOf` and its like may validate but not describe.
fn nested_all(
    node: &Node,
    document: &Value,
    path: &Path<'_>,
    skip_any_of: bool,
    skip_first_all_of: bool,
    errors: &mut Vec<FieldError>,
) {
    let checks = &node.checks;
    let lists = [
        ("anyOf", &checks.any_of),
        ("allOf", &checks.all_of),
        ("oneOf", &checks.one_of),
    ];
    for (key, schemas) in lists {
        if key == "anyOf" && skip_any_of {
            continue;
        }
        let at = path.child(key);
        for (index, schema) in schemas.iter().enumerate() {
            let skip = key == "allOf" && index == 0 && skip_first_all_of;
            nested(
                schema,
                &document[key][index],
                &at.index(index),
                skip,
                errors,
            );
        }
    }
    if let Some(schema) = &checks.not {
        nested(schema, &document["not"], &path.child("not"), false, errors);
    }
}

fn nested(
    node: &Node,
    document: &Value,
    path: &Path<'_>,
    skip_any_of: bool,
    errors: &mut Vec<FieldError>,
) {
    nested_all(node, document, path, skip_any_of, false, errors);
    if let Some(items) = &node.items {
        nested(
            items,
            &document["items"],
            &path.child("items"),
            false,
            errors,
        );
    }
    let at = path.child("properties");
    for (name, child) in &node.properties {
        nested(
            child,
            &document["properties"][name],
            &at.key(name),
            false,
            errors,
        );
    }
    const FORBIDDEN: [(&str, &str); 13] = [
        ("type", "must be empty to be structural"),
        ("additionalProperties", "must be undefined to be structural"),
        ("default", "must be undefined to be structural"),
        ("title", "must be empty to be structural"),
        ("description", "must be empty to be structural"),
        ("nullable", "must be false to be structural"),
        (
            "x-kubernetes-preserve-unknown-fields",
            "must be false to be structural",
        ),
        (
            "x-kubernetes-embedded-resource",
            "must be false to be structural",
        ),
        (
            "x-kubernetes-int-or-string",
            "must be false to be structural",
        ),
        (
            "x-kubernetes-list-map-keys",
            "must be empty to be structural",
        ),
        (
            "x-kubernetes-list-type",
            "must be undefined to be structural",
        ),
        (
            "x-kubernetes-map-type",
            "must be undefined to be structural",
        ),
        ("x-kubernetes-validations", "must be empty to be structural"),
    ];
    for (key, detail) in FORBIDDEN {
        if document.get(key).is_some_and(is_set) {
            errors.push(FieldError::forbidden(path.child(key), detail));
        }
    }
    if node.properties.contains_key("metadata") {
        errors.push(FieldError::forbidden(
            at.key("metadata"),
            "must not be specified in a nested context",
        ));
    }
}

/// Whether a keyword says more than its absence.
pub fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::Object(_) => true,
    }
}

/// Whatever is validated must also be described.
pub fn complete(node: &Node, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    complete_all(node, node, path, path, errors);
}

fn complete_all(
    checked: &Node,
    node: &Node,
    at: &Path<'_>,
    from: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let checks = &checked.checks;
    if let Some(schema) = &checks.not {
        complete_one(schema, Some(node), at, &from.child("not"), errors);
    }
    for (key, schemas) in [
        ("allOf", &checks.all_of),
        ("anyOf", &checks.any_of),
        ("oneOf", &checks.one_of),
    ] {
        let list = from.child(key);
        for (index, schema) in schemas.iter().enumerate() {
            complete_one(schema, Some(node), at, &list.index(index), errors);
        }
    }
}

fn complete_one(
    checked: &Node,
    node: Option<&Node>,
    at: &Path<'_>,
    from: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let Some(node) = node else {
        errors.push(FieldError::required(
            at,
            format!("because it is defined in {from}"),
        ));
        return;
    };
    complete_all(checked, node, at, from, errors);
    if let Some(items) = &checked.items {
        complete_one(
            items,
            node.items.as_deref(),
            &at.child("items"),
            &from.child("items"),
            errors,
        );
    }
    let (at, from) = (at.child("properties"), from.child("properties"));
    for (name, child) in &checked.properties {
        complete_one(
            child,
            node.properties.get(name),
            &at.key(name),
            &from.key(name),
            errors,
        );
    }
}
