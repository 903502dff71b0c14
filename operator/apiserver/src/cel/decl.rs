//! What a schema is in CEL: which fields a rule sees, of which type and how large at most.
//!
//! Owns the translation from [`Node`] and the escaping of field names. Must not know expressions. Invariant: types and
//! sizes are those of kube-apiserver, because its cost estimate is made of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::schema::{Additional, Node, Type};

/// The largest request that kube-apiserver assumes when a schema gives no bound, in bytes.
pub const MAX_REQUEST_BYTES: u64 = 3 * 1024 * 1024;

/// The type of a value that a rule sees.
#[derive(Debug)]
pub struct Decl {
    /// The type and what is inside.
    pub kind: DeclKind,
    /// How many elements, entries or bytes at most; 0 for what has no size.
    pub max_elements: u64,
    /// The fewest bytes of JSON.
    pub min_size: u64,
}

/// See [`Decl`].
#[derive(Debug)]
pub enum DeclKind {
    /// int-or-string
    Dyn,
    /// `boolean`
    Bool,
    /// `integer`
    Int,
    /// `number`
    Double,
    /// `string`
    String,
    /// `string` with format `byte`
    Bytes,
    /// `string` with format `duration`
    Duration,
    /// `string` with format `date` or `date-time`
    Timestamp,
    /// `array`
    List(Arc<Decl>),
    /// `object` with `additionalProperties`; keys are strings.
    Map(Arc<Decl>),
    /// Any other `object`; fields by their escaped names.
    Object(BTreeMap<String, Arc<Decl>>),
}

impl Decl {
    /// The type of a schema; `None` when rules cannot see such a value. `root`: the value is a resource, whose kind and
    /// name are always there.
    pub fn of(node: &Node, root: bool) -> Option<Arc<Self>> {
        let make = |kind, max_elements, min_size| {
            Some(Arc::new(Self {
                kind,
                max_elements,
                min_size,
            }))
        };
        if node.int_or_string {
            let max = node
                .checks
                .max_length
                .map_or(MAX_REQUEST_BYTES - 2, in_bytes);
            return make(DeclKind::Dyn, max, 1);
        }
        match node.type_? {
            Type::Array => {
                let items = node.items.as_deref()?;
                let items = Self::of(items, items.embedded)?;
                let max = node
                    .checks
                    .max_items
                    .unwrap_or((MAX_REQUEST_BYTES - 2) / (items.min_size + 1));
                make(DeclKind::List(items), max, 2)
            }
            Type::Object => Self::object(node, root),
            Type::String => Self::string(node),
            Type::Boolean => make(DeclKind::Bool, 0, 4),
            Type::Number => make(DeclKind::Double, 0, 1),
            Type::Integer => make(DeclKind::Int, 0, 1),
        }
    }

    fn object(node: &Node, root: bool) -> Option<Arc<Self>> {
        if let Additional::Schema(values) = &node.additional {
            let values = Self::of(values, values.embedded)?;
            let max = node
                .checks
                .max_properties
                .unwrap_or((MAX_REQUEST_BYTES - 2) / (values.min_size + 6));
            return Some(Arc::new(Self {
                kind: DeclKind::Map(values),
                max_elements: max,
                min_size: 2,
            }));
        }
        let mut fields = BTreeMap::new();
        let mut min_size = 2;
        for (name, property) in &node.properties {
            let Some(decl) = Self::of(property, property.embedded) else {
                continue;
            };
            if property.default.is_none() && node.checks.required.contains(name) {
                min_size += name.len() as u64 + decl.min_size + 4;
            }
            if let Some(name) = escape(name) {
                fields.insert(name, decl);
            }
        }
        if root {
            for name in ["apiVersion", "kind"] {
                fields.insert(name.to_owned(), Self::unbounded_string());
            }
            let name = |key: &str| match node
                .properties
                .get("metadata")
                .and_then(|node| node.properties.get(key))
            {
                Some(node) => Self::of(node, false),
                None => None,
            };
            let names = ["name", "generateName"]
                .into_iter()
                .map(|key| {
                    (
                        key.to_owned(),
                        name(key).unwrap_or_else(Self::unbounded_string),
                    )
                })
                .collect();
            let metadata = Self {
                kind: DeclKind::Object(names),
                max_elements: 0,
                min_size: 2,
            };
            fields.insert("metadata".to_owned(), Arc::new(metadata));
        }
        Some(Arc::new(Self {
            kind: DeclKind::Object(fields),
            max_elements: 0,
            min_size,
        }))
    }

    fn unbounded_string() -> Arc<Self> {
        Arc::new(Self {
            kind: DeclKind::String,
            max_elements: MAX_REQUEST_BYTES - 2,
            min_size: 2,
        })
    }

    fn string(node: &Node) -> Option<Arc<Self>> {
        let length = node.checks.max_length;
        let (kind, max_elements, min_size) = match node.checks.format_name.as_str() {
            "byte" => (DeclKind::Bytes, length.unwrap_or(MAX_REQUEST_BYTES - 2), 2),
            "duration" => (DeclKind::Duration, 32, 3),
            "date" => (DeclKind::Timestamp, 12, 12),
            "date-time" => (DeclKind::Timestamp, 32, 21),
            _ => {
                let longest = node
                    .checks
                    .enumeration
                    .iter()
                    .filter_map(Value::as_str)
                    .map(str::len)
                    .max();
                let max = match (length, longest) {
                    (Some(length), _) => in_bytes(length),
                    (None, Some(longest)) => longest as u64,
                    (None, None) => MAX_REQUEST_BYTES - 2,
                };
                (DeclKind::String, max, 2)
            }
        };
        Some(Arc::new(Self {
            kind,
            max_elements,
            min_size,
        }))
    }

    /// The type of an element of this list or of a value of this map.
    pub fn element(&self) -> Option<&Arc<Self>> {
        match &self.kind {
            DeclKind::List(element) | DeclKind::Map(element) => Some(element),
            DeclKind::Dyn
            | DeclKind::Bool
            | DeclKind::Int
            | DeclKind::Double
            | DeclKind::String
            | DeclKind::Bytes
            | DeclKind::Duration
            | DeclKind::Timestamp
            | DeclKind::Object(_) => None,
        }
    }
}

/// A length in characters is at most four times as many bytes.
fn in_bytes(characters: u64) -> u64 {
    characters.saturating_mul(4)
}

/// The words of CEL that a field name must not be.
const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// The name under which rules see a field; `None` when they cannot.
pub fn escape(name: &str) -> Option<String> {
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        let (text, length) = match c {
            '_' if rest.starts_with("__") => ("__underscores__", 2),
            '.' => ("__dot__", 1),
            '-' => ("__dash__", 1),
            '/' => ("__slash__", 1),
            c if c.is_ascii_alphanumeric() || c == '_' => {
                out.push(c);
                rest = &rest[1..];
                continue;
            }
            _ => return None,
        };
        out.push_str(text);
        rest = &rest[length..];
    }
    Some(out)
}

/// The field that an escaped name means.
pub fn unescape(name: &str) -> String {
    if let Some(word) = name
        .strip_prefix("__")
        .and_then(|rest| rest.strip_suffix("__"))
        && RESERVED.contains(&word)
    {
        return word.to_owned();
    }
    // Sequences do not overlap and none is a part of another, so their order does not matter.
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    'next: while !rest.is_empty() {
        for (escaped, plain) in [
            ("__underscores__", "__"),
            ("__dot__", "."),
            ("__dash__", "-"),
            ("__slash__", "/"),
        ] {
            if let Some(after) = rest.strip_prefix(escaped) {
                out.push_str(plain);
                rest = after;
                continue 'next;
            }
        }
        let mut chars = rest.chars();
        out.extend(chars.next());
        rest = chars.as_str();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_kubernetes_does() {
        for (name, escaped) in [
            ("replicas", Some("replicas")),
            ("my_field", Some("my_field")),
            ("a__b", Some("a__underscores__b")),
            ("foo-bar", Some("foo__dash__bar")),
            ("a.b/c", Some("a__dot__b__slash__c")),
            ("namespace", Some("__namespace__")),
            ("default", Some("default")),
            ("1a", None),
            ("a b", None),
            ("", None),
        ] {
            assert_eq!(escape(name).as_deref(), escaped, "{name}");
            if let Some(escaped) = escaped {
                assert_eq!(unescape(escaped), name);
            }
        }
    }
}
