//! Reading the keywords of one schema out of its document.
//!
//! Owns the conversion from JSON to [`Node`], and the faults that the reading itself finds: wrong types of keywords and
//! malformed patterns. Must not know what Kubernetes allows where. Invariant: a keyword that cannot be read is reported
//! or, for a built-in schema, left out; it never changes the meaning of another.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::cel;

use super::{Additional, Checks, FieldError, Format, ListType, Node, Path, Type, pattern};

/// How deeply schemas may nest: an object that deep is refused by JSON parsers, and every walk here recurses.
pub const MAX_DEPTH: usize = 64;

/// How many schemas a document may hold: the largest published CRDs have some 20,000, each kept for as long as its CRD.
pub const MAX_NODES: usize = 100_000;

/// Reads documents into nodes.
pub struct Reader {
    /// What could not be read.
    pub errors: Vec<FieldError>,
    nodes: usize,
}

impl Reader {
    /// A reader that has found nothing yet.
    pub fn new() -> Self {
        Self {
            errors: Vec::new(),
            nodes: 0,
        }
    }

    /// Reads one schema and everything below it.
    pub fn node(&mut self, document: &Value, path: &Path<'_>, depth: usize) -> Node {
        let mut node = empty();
        self.nodes += 1;
        let Some(map) = document.as_object() else {
            self.wrong(path, document, "object");
            return node;
        };
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            self.errors.push(FieldError::forbidden(
                path,
                format!(
                    "schemas may nest at most {MAX_DEPTH} deep and be at most {MAX_NODES} in number"
                ),
            ));
            return node;
        }
        self.typing(map, path, &mut node);
        self.numbers(map, path, &mut node.checks);
        self.structure(map, path, depth, &mut node);
        self.junctors(map, path, depth, &mut node.checks);
        self.rest(map, path, &mut node);
        node.has_rules = has_rules(&node);
        node
    }

    fn typing(&mut self, map: &Map<String, Value>, path: &Path<'_>, node: &mut Node) {
        let name = match map.get("type") {
            // Generated schemas of built-in kinds say `[type, "null"]`.
            Some(Value::Array(names)) => {
                node.nullable = names.iter().any(|name| name == "null");
                names
                    .iter()
                    .filter_map(Value::as_str)
                    .find(|name| *name != "null")
            }
            Some(Value::String(name)) => Some(name.as_str()),
            Some(Value::Null) | None => None,
            Some(other) => {
                self.wrong(&path.child("type"), other, "string");
                None
            }
        };
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            node.type_ = Type::parse(name);
            match node.type_ {
                Some(_) => {}
                None if name == "null" => self.errors.push(FieldError::forbidden(
                    path.child("type"),
                    "type cannot be set to null, use nullable as an alternative",
                )),
                None => self.errors.push(FieldError::not_supported(
                    path.child("type"),
                    name,
                    &Type::NAMES,
                )),
            }
        }
        node.nullable |= self.flag(map, path, "nullable");
        node.int_or_string = self.flag(map, path, "x-kubernetes-int-or-string");
        node.preserve_unknown = self.flag(map, path, "x-kubernetes-preserve-unknown-fields");
        node.embedded = self.flag(map, path, "x-kubernetes-embedded-resource");
    }

    fn numbers(&mut self, map: &Map<String, Value>, path: &Path<'_>, checks: &mut Checks) {
        checks.minimum = self
            .number(map, path, "minimum")
            .map(|bound| (bound, self.flag(map, path, "exclusiveMinimum")));
        checks.maximum = self
            .number(map, path, "maximum")
            .map(|bound| (bound, self.flag(map, path, "exclusiveMaximum")));
        checks.multiple_of = self.number(map, path, "multipleOf");
        checks.min_length = self.count(map, path, "minLength");
        checks.max_length = self.count(map, path, "maxLength");
        checks.min_items = self.count(map, path, "minItems");
        checks.max_items = self.count(map, path, "maxItems");
        checks.min_properties = self.count(map, path, "minProperties");
        checks.max_properties = self.count(map, path, "maxProperties");
    }

    fn structure(
        &mut self,
        map: &Map<String, Value>,
        path: &Path<'_>,
        depth: usize,
        node: &mut Node,
    ) {
        let at = path.child("properties");
        match map.get("properties") {
            Some(Value::Object(properties)) => {
                for (name, schema) in properties {
                    let child = self.node(schema, &at.key(name), depth + 1);
                    node.properties.insert(name.clone(), child);
                }
            }
            Some(Value::Null) | None => {}
            Some(other) => self.wrong(&at, other, "object"),
        }
        node.additional = match map.get("additionalProperties") {
            None | Some(Value::Null) => Additional::Absent,
            Some(Value::Bool(true)) => Additional::Any,
            Some(Value::Bool(false)) => Additional::Forbidden,
            Some(schema) => Additional::Schema(Box::new(self.node(
                schema,
                &path.child("additionalProperties"),
                depth + 1,
            ))),
        };
        let at = path.child("items");
        match map.get("items") {
            None | Some(Value::Null) => {}
            Some(Value::Array(_)) => self.errors.push(FieldError::forbidden(
                at,
                "items must be a schema object and not an array",
            )),
            Some(schema) => node.items = Some(Box::new(self.node(schema, &at, depth + 1))),
        }
    }

    fn junctors(
        &mut self,
        map: &Map<String, Value>,
        path: &Path<'_>,
        depth: usize,
        checks: &mut Checks,
    ) {
        checks.all_of = self.schemas(map, path, "allOf", depth);
        checks.any_of = self.schemas(map, path, "anyOf", depth);
        checks.one_of = self.schemas(map, path, "oneOf", depth);
        checks.not = map
            .get("not")
            .filter(|schema| !schema.is_null())
            .map(|schema| Box::new(self.node(schema, &path.child("not"), depth + 1)));
    }

    fn rest(&mut self, map: &Map<String, Value>, path: &Path<'_>, node: &mut Node) {
        node.checks.format_name = self.text(map, path, "format").unwrap_or_default();
        node.checks.format = Format::parse(&node.checks.format_name);
        node.checks.required = self.texts(map, path, "required");
        node.default = map.get("default").filter(|value| !value.is_null()).cloned();
        if let Some(values) = map.get("enum").and_then(Value::as_array) {
            node.checks.enumeration = values.clone();
        }
        if let Some(text) = self
            .text(map, path, "pattern")
            .filter(|text| !text.is_empty())
        {
            match pattern::compile(&text) {
                Ok(regex) => node.checks.pattern = Some(regex),
                Err(error) => self.errors.push(FieldError::invalid(
                    path.child("pattern"),
                    text.as_str(),
                    format!("must be a valid regular expression, but isn't: {error}"),
                )),
            }
            node.checks.pattern_text = text;
        }
        let keys = self.texts(map, path, "x-kubernetes-list-map-keys");
        node.list_type = match map.get("x-kubernetes-list-type").and_then(Value::as_str) {
            Some("set") => ListType::Set,
            Some("map") => ListType::Map(keys),
            _ => ListType::Atomic,
        };
        node.rules = cel::read_rules(map, path, &mut self.errors);
    }

    fn schemas(
        &mut self,
        map: &Map<String, Value>,
        path: &Path<'_>,
        key: &str,
        depth: usize,
    ) -> Vec<Node> {
        let at = path.child(key);
        match map.get(key) {
            Some(Value::Array(schemas)) => schemas
                .iter()
                .enumerate()
                .map(|(index, schema)| self.node(schema, &at.index(index), depth + 1))
                .collect(),
            Some(Value::Null) | None => Vec::new(),
            Some(other) => {
                self.wrong(&at, other, "array");
                Vec::new()
            }
        }
    }

    fn flag(&mut self, map: &Map<String, Value>, path: &Path<'_>, key: &str) -> bool {
        match map.get(key) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::Null) | None => false,
            // In the dialect of generated schemas an exclusive bound is the bound itself.
            Some(Value::Number(_)) if key.starts_with("exclusive") => false,
            Some(other) => {
                self.wrong(&path.child(key), other, "boolean");
                false
            }
        }
    }

    fn number(&mut self, map: &Map<String, Value>, path: &Path<'_>, key: &str) -> Option<f64> {
        match map.get(key) {
            Some(Value::Number(number)) => number.as_f64(),
            Some(Value::Null) | None => None,
            Some(other) => {
                self.wrong(&path.child(key), other, "number");
                None
            }
        }
    }

    fn count(&mut self, map: &Map<String, Value>, path: &Path<'_>, key: &str) -> Option<u64> {
        match map.get(key) {
            Some(Value::Number(number)) if number.is_u64() => number.as_u64(),
            Some(Value::Null) | None => None,
            Some(other) => {
                self.wrong(&path.child(key), other, "integer");
                None
            }
        }
    }

    fn text(&mut self, map: &Map<String, Value>, path: &Path<'_>, key: &str) -> Option<String> {
        match map.get(key) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Null) | None => None,
            Some(other) => {
                self.wrong(&path.child(key), other, "string");
                None
            }
        }
    }

    fn texts(&mut self, map: &Map<String, Value>, path: &Path<'_>, key: &str) -> Vec<String> {
        match map.get(key) {
            Some(Value::Array(items)) => items
                .iter()
                .filter_map(|item| item.as_str().map(str::to_owned))
                .collect(),
            Some(Value::Null) | None => Vec::new(),
            Some(other) => {
                self.wrong(&path.child(key), other, "array");
                Vec::new()
            }
        }
    }

    fn wrong(&mut self, path: &Path<'_>, value: &Value, wanted: &str) {
        self.errors.push(FieldError::type_invalid(
            path,
            value.clone(),
            format!("must be of type {wanted}"),
        ));
    }
}

fn empty() -> Node {
    Node {
        type_: None,
        nullable: false,
        int_or_string: false,
        preserve_unknown: false,
        embedded: false,
        properties: BTreeMap::new(),
        additional: Additional::Absent,
        items: None,
        default: None,
        list_type: ListType::Atomic,
        rules: Vec::new(),
        checks: Checks::default(),
        has_rules: false,
    }
}

fn has_rules(node: &Node) -> bool {
    !node.rules.is_empty()
        || node.properties.values().any(|child| child.has_rules)
        || node.items.as_ref().is_some_and(|items| items.has_rules)
        || matches!(&node.additional, Additional::Schema(values) if values.has_rules)
}
