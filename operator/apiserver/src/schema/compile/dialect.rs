//! The OpenAPI dialect of CustomResourceDefinitions.
//!
//! Owns which keywords are there, how they go together, and where a default may stand. Must not know structurality.
//! Invariant: a keyword that would be ignored is refused.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::schema::{Additional, FieldError, Node, Path, Type};

use super::structural::is_set;

/// Where in the schema a node stands, as far as the dialect cares.
#[derive(Clone, Copy)]
pub struct Place {
    root: bool,
    /// Inside `metadata`, `kind` or `apiVersion` of a resource.
    inside_meta: bool,
    /// Why a default may not stand here; empty where it may.
    no_default: &'static str,
    no_default_at_all: bool,
}

impl Place {
    /// At the root.
    pub const ROOT: Self = Self {
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
pub struct Dialect<'e> {
    /// What is wrong.
    pub errors: &'e mut Vec<FieldError>,
}

impl Dialect<'_> {
    /// Checks a schema and all below it.
    pub fn schema(&mut self, node: &Node, document: &Value, path: &Path<'_>, place: Place) {
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
