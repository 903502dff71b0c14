//! What may stand in the schema of a CustomResourceDefinition.
//!
//! Owns the rules that make a schema structural, those of the OpenAPI dialect of CRDs, and the judgement of defaults.
//! Must not know resources. Invariant: a schema that is accepted here describes every value it validates, so that
//! pruning, defaulting and CEL have one answer.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::cel;

use super::keyword::Reader;
use super::{Additional, FieldError, Node, Path, Subresource, Type, prune, validate};

/// Compiles a schema, or says everything that is wrong with it.
pub fn compile(
    path: &str,
    document: &Value,
    subresource: Subresource,
) -> Result<Node, Vec<FieldError>> {
    let path = Path::Text(path);
    let mut reader = Reader::new();
    let mut root = reader.node(document, &path, 0);
    let mut errors = reader.errors;
    if errors.is_empty() {
        structure(&root, document, Level::Root, &path, &mut errors);
        complete(&root, &path, &mut errors);
        Dialect {
            errors: &mut errors,
        }
        .schema(&root, document, &path, Place::ROOT);
        root_rules(document, subresource, &path, &mut errors);
    }
    if errors.is_empty() {
        defaults(&root, &path, &mut errors);
    }
    if errors.is_empty() {
        errors = cel::compile(&mut root, &path);
    }
    if errors.is_empty() {
        errors = cel::validate_defaults(&root, &path);
    }
    if errors.is_empty() {
        Ok(root)
    } else {
        errors.sort_by_key(ToString::to_string);
        errors.dedup();
        Err(errors)
    }
}

/// Reads a schema that is ours; keywords that cannot be read are left out.
pub fn trusted(document: &Value) -> Node {
    Reader::new().node(document, &Path::Root, 0)
}

#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Item,
    Field,
}

/// The invariants of a structural schema, of this node and all below it.
fn structure(
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
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::Object(_) => true,
    }
}

/// Whatever is validated must also be described.
fn complete(node: &Node, path: &Path<'_>, errors: &mut Vec<FieldError>) {
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

/// Where in the schema a node stands, as far as the dialect cares.
#[derive(Clone, Copy)]
struct Place {
    root: bool,
    /// Inside `metadata`, `kind` or `apiVersion` of a resource.
    inside_meta: bool,
    /// Why a default may not stand here; empty where it may.
    no_default: &'static str,
    no_default_at_all: bool,
}

impl Place {
    const ROOT: Self = Self {
        root: true,
        inside_meta: false,
        no_default: "",
        no_default_at_all: false,
    };

    fn below(self) -> Self {
        Self {
            root: false,
            ..self
        }
    }

    fn without_default(self, reason: &'static str) -> Self {
        Self {
            no_default: reason,
            no_default_at_all: true,
            ..self
        }
    }
}

/// The rules of the OpenAPI dialect of CRDs.
struct Dialect<'e> {
    errors: &'e mut Vec<FieldError>,
}

impl Dialect<'_> {
    fn schema(&mut self, node: &Node, document: &Value, path: &Path<'_>, place: Place) {
        let Some(map) = document.as_object() else {
            return;
        };
        self.unsupported(map, path);
        self.extensions(node, map, path);
        self.list(node, map, path);
        if node.default.is_some() && place.no_default_at_all {
            self.errors.push(FieldError::forbidden(
                path.child("default"),
                format!("must not be set {}", place.no_default),
            ));
        }
        if place.inside_meta && node.embedded {
            self.errors.push(FieldError::forbidden(
                path.child("x-kubernetes-embedded-resource"),
                "must not be used inside of resource meta",
            ));
        }
        self.additional(node, document, path, place);
        let at = path.child("properties");
        for (name, child) in &node.properties {
            let meta = (place.root || node.embedded)
                && matches!(name.as_str(), "metadata" | "kind" | "apiVersion");
            let mut below = place.below();
            if meta {
                below.inside_meta = true;
                if place.root {
                    below = below.without_default(match name.as_str() {
                        "metadata" => "in top-level metadata",
                        "kind" => "in top-level kind",
                        _ => "in top-level apiVersion",
                    });
                }
            }
            self.schema(child, &document["properties"][name], &at.key(name), below);
        }
        if let Some(items) = &node.items {
            self.schema(
                items,
                &document["items"],
                &path.child("items"),
                place.below(),
            );
        }
        self.junctors(node, document, path, place.below());
    }

    fn junctors(&mut self, node: &Node, document: &Value, path: &Path<'_>, place: Place) {
        let checks = &node.checks;
        for (key, schemas) in [
            ("allOf", &checks.all_of),
            ("anyOf", &checks.any_of),
            ("oneOf", &checks.one_of),
        ] {
            let at = path.child(key);
            for (index, schema) in schemas.iter().enumerate() {
                self.schema(schema, &document[key][index], &at.index(index), place);
            }
        }
        if let Some(schema) = &checks.not {
            self.schema(schema, &document["not"], &path.child("not"), place);
        }
    }

    fn unsupported(&mut self, map: &Map<String, Value>, path: &Path<'_>) {
        for key in [
            "id",
            "additionalItems",
            "patternProperties",
            "definitions",
            "dependencies",
            "$ref",
        ] {
            if map.get(key).is_some_and(is_set) {
                self.errors.push(FieldError::forbidden(
                    path.child(key),
                    format!("{key} is not supported"),
                ));
            }
        }
        if map.get("uniqueItems") == Some(&Value::Bool(true)) {
            self.errors.push(FieldError::forbidden(
                path.child("uniqueItems"),
                "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
            ));
        }
        if map.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
            self.errors.push(FieldError::invalid(
                path.child("x-kubernetes-preserve-unknown-fields"),
                false,
                "must be true or undefined",
            ));
        }
    }

    fn additional(&mut self, node: &Node, document: &Value, path: &Path<'_>, place: Place) {
        let at = path.child("additionalProperties");
        if !node.properties.is_empty()
            && matches!(
                node.additional,
                Additional::Forbidden | Additional::Schema(_)
            )
        {
            self.errors.push(FieldError::forbidden(
                at,
                "additionalProperties and properties are mutual exclusive",
            ));
        }
        if place.root && !matches!(node.additional, Additional::Absent) {
            self.errors
                .push(FieldError::forbidden(at, "must not be used at the root"));
        }
        if let Additional::Schema(values) = &node.additional {
            let mut below = place.below();
            if place.inside_meta {
                below = below
                    .without_default("inside additionalProperties applying to object metadata");
            }
            self.schema(values, &document["additionalProperties"], &at, below);
        }
    }

    fn extensions(&mut self, node: &Node, map: &Map<String, Value>, path: &Path<'_>) {
        for (key, wanted, allowed) in [
            (
                "x-kubernetes-map-type",
                Type::Object,
                &["atomic", "granular"][..],
            ),
            (
                "x-kubernetes-list-type",
                Type::Array,
                &["atomic", "set", "map"][..],
            ),
        ] {
            let Some(value) = map.get(key).and_then(Value::as_str) else {
                continue;
            };
            let detail = format!("must be {} if {key} is specified", wanted.name());
            match node.type_ {
                Some(type_) if type_ == wanted => {}
                Some(type_) => self.errors.push(FieldError::invalid(
                    path.child("type"),
                    type_.name(),
                    detail,
                )),
                None => self
                    .errors
                    .push(FieldError::required(path.child("type"), detail)),
            }
            if !allowed.contains(&value) {
                self.errors
                    .push(FieldError::not_supported(path.child(key), value, allowed));
            }
        }
    }

    fn list(&mut self, node: &Node, map: &Map<String, Value>, path: &Path<'_>) {
        let list_type = map.get("x-kubernetes-list-type").and_then(Value::as_str);
        let keys: Vec<&str> = map
            .get("x-kubernetes-list-map-keys")
            .and_then(Value::as_array)
            .map(|keys| keys.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let type_path = path.child("x-kubernetes-list-type");
        const NEEDS_MAP: &str = "must be map if x-kubernetes-list-map-keys is non-empty";
        match list_type {
            None if !keys.is_empty() => {
                self.errors.push(FieldError::required(type_path, NEEDS_MAP));
            }
            Some(other) if !keys.is_empty() && other != "map" => {
                self.errors
                    .push(FieldError::invalid(type_path, other, NEEDS_MAP));
            }
            Some("map") => self.list_map(node, map, &keys, path),
            Some("set") => self.set(node, map, path),
            None | Some(_) => {}
        }
        if let (Some(name @ ("set" | "map")), Some(items)) = (list_type, &node.items)
            && items.nullable
        {
            self.errors.push(FieldError::forbidden(
                path.child("items").child("nullable"),
                format!("cannot be nullable when x-kubernetes-list-type is {name}"),
            ));
        }
    }

    fn set(&mut self, node: &Node, map: &Map<String, Value>, path: &Path<'_>) {
        const DETAIL: &str = "must be atomic as item of a list with x-kubernetes-list-type=set";
        let items = path.child("items");
        let of = |key: &str| map.get("items").and_then(|items| items.get(key)).cloned();
        match node.items.as_ref().and_then(|items| items.type_) {
            Some(Type::Array) => {
                if let Some(other) = of("x-kubernetes-list-type").filter(|value| value != "atomic")
                {
                    self.errors.push(FieldError::invalid(
                        items.child("x-kubernetes-list-type"),
                        other,
                        DETAIL,
                    ));
                }
            }
            Some(Type::Object) => {
                let found = of("x-kubernetes-map-type").unwrap_or_default();
                if found != "atomic" {
                    self.errors.push(FieldError::invalid(
                        items.child("x-kubernetes-map-type"),
                        found,
                        DETAIL,
                    ));
                }
            }
            Some(Type::Boolean | Type::Integer | Type::Number | Type::String) | None => {}
        }
    }

    fn list_map(&mut self, node: &Node, map: &Map<String, Value>, keys: &[&str], path: &Path<'_>) {
        let keys_path = path.child("x-kubernetes-list-map-keys");
        if keys.is_empty() {
            self.errors.push(FieldError::required(
                keys_path,
                "must not be empty if x-kubernetes-list-type is map",
            ));
        }
        let items_path = path.child("items");
        let Some(items) = &node.items else {
            self.errors.push(FieldError::required(
                items_path,
                "must have a schema if x-kubernetes-list-type is map",
            ));
            return;
        };
        if items.type_ != Some(Type::Object) {
            self.errors.push(FieldError::invalid(
                items_path.child("type"),
                items.type_.map_or("", Type::name),
                "must be object if parent array's x-kubernetes-list-type is map",
            ));
            return;
        }
        let all = map
            .get("x-kubernetes-list-map-keys")
            .cloned()
            .unwrap_or_default();
        let mut seen = BTreeSet::new();
        let properties = items_path.child("properties");
        for key in keys {
            if !seen.insert(*key) {
                self.errors.push(FieldError::invalid(
                    keys_path,
                    all.clone(),
                    "must not contain duplicate entries",
                ));
            }
            let Some(property) = items.properties.get(*key) else {
                self.errors.push(FieldError::invalid(
                    keys_path,
                    all.clone(),
                    "entries must all be names of item properties",
                ));
                continue;
            };
            self.list_map_key(items, property, key, &properties.key(key));
        }
    }

    fn list_map_key(&mut self, items: &Node, property: &Node, key: &str, path: &Path<'_>) {
        if let Some(type_ @ (Type::Array | Type::Object)) = property.type_ {
            self.errors.push(FieldError::invalid(
                path.child("type"),
                type_.name(),
                "must be a scalar type if parent array's x-kubernetes-list-type is map",
            ));
        }
        if property.default.is_none() && !items.checks.required.iter().any(|name| name == key) {
            self.errors.push(FieldError::required(
                path.child("default"),
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
            ));
        }
        if property.nullable {
            self.errors.push(FieldError::forbidden(
                path.child("nullable"),
                "this property is in x-kubernetes-list-map-keys, so it cannot be nullable",
            ));
        }
    }
}

/// What the root may say when status is validated apart from the rest: Kubernetes' list, in its spelling and order.
const AT_ROOT: [(&str, &str); 22] = [
    ("description", "Description"),
    ("type", "Type"),
    ("format", "Format"),
    ("title", "Title"),
    ("maximum", "Maximum"),
    ("exclusiveMaximum", "ExclusiveMaximum"),
    ("minimum", "Minimum"),
    ("exclusiveMinimum", "ExclusiveMinimum"),
    ("maxLength", "MaxLength"),
    ("minLength", "MinLength"),
    ("pattern", "Pattern"),
    ("maxItems", "MaxItems"),
    ("minItems", "MinItems"),
    ("uniqueItems", "UniqueItems"),
    ("multipleOf", "MultipleOf"),
    ("required", "Required"),
    ("items", "Items"),
    ("properties", "Properties"),
    ("externalDocs", "ExternalDocs"),
    ("example", "Example"),
    (
        "x-kubernetes-preserve-unknown-fields",
        "XPreserveUnknownFields",
    ),
    ("x-kubernetes-validations", "XValidations"),
];

fn root_rules(
    document: &Value,
    subresource: Subresource,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let Some(map) = document.as_object() else {
        return;
    };
    if map.get("nullable") == Some(&Value::Bool(true)) {
        errors.push(FieldError::forbidden(
            path.child("nullable"),
            "nullable cannot be true at the root",
        ));
    }
    let alien = |key: &str| {
        !AT_ROOT.iter().any(|(name, _)| *name == key)
            && (key.starts_with("x-kubernetes-") || !key.starts_with("x-"))
    };
    if subresource == Subresource::Status
        && map.iter().any(|(key, value)| is_set(value) && alien(key))
    {
        let names: Vec<&str> = AT_ROOT.iter().map(|(_, name)| *name).collect();
        errors.push(FieldError::invalid(
            path,
            document.clone(),
            format!(
                "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
                names.join(" ")
            ),
        ));
    }
}

/// A default must be an object that the schema accepts as it is.
fn defaults(node: &Node, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if let Some(value) = &node.default {
        let at = path.child("default");
        if !prune::is_pruned(node, value) {
            errors.push(FieldError::invalid(
                at,
                value.clone(),
                "must not have unknown fields",
            ));
        }
        for mut error in validate::validate(node, value, None) {
            error.path = if error.path == "<nil>" {
                at.to_string()
            } else {
                format!("{at}.{}", error.path)
            };
            errors.push(error);
        }
    }
    let properties = path.child("properties");
    for (name, child) in &node.properties {
        defaults(child, &properties.key(name), errors);
    }
    if let Some(items) = &node.items {
        defaults(items, &path.child("items"), errors);
    }
    if let Additional::Schema(values) = &node.additional {
        defaults(values, &path.child("additionalProperties"), errors);
    }
}
