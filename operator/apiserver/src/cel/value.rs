//! Values while a rule is evaluated.
//!
//! Owns [`Val`], which looks into the object in place and copies only what an expression makes, and what equality and
//! order mean. Must not know functions. Invariant: a value is never larger than the object and the budget that the
//! evaluation has spent.

use std::cmp::Ordering;
use std::rc::Rc;

use jiff::Timestamp;
use serde_json::{Map, Number, Value};

use crate::schema::{Additional, Format, ListType, Node, Type, go_duration_nanos};

use super::decl::unescape;

/// A value; `'v` is the object and the rule.
#[derive(Clone, Debug)]
pub enum Val<'v> {
    /// null
    Null,
    /// bool
    Bool(bool),
    /// int
    Int(i64),
    /// uint
    Uint(u64),
    /// double
    Double(f64),
    /// A string of the object or the rule.
    Str(&'v str),
    /// A string that was made.
    Made(Rc<str>),
    /// bytes
    Bytes(Rc<[u8]>),
    /// duration, in nanoseconds
    Duration(i64),
    /// timestamp
    Timestamp(Timestamp),
    /// A list of the object.
    Array(&'v [Value], Option<&'v Node>),
    /// A map or object of the object.
    Object(&'v Map<String, Value>, Option<&'v Node>),
    /// A list that was made.
    List(Rc<Vec<Val<'v>>>),
    /// A map that was made.
    Map(Rc<Vec<(Val<'v>, Val<'v>)>>),
    /// optional
    Optional(Option<Rc<Val<'v>>>),
    /// A type.
    Type(&'static str),
    /// A value of one of Kubernetes' libraries, such as a quantity.
    Foreign(kube_cel::cel::Value),
}

impl<'v> Val<'v> {
    /// The value of a field, as its schema types it.
    pub fn of(value: &'v Value, node: Option<&'v Node>) -> Self {
        match value {
            Value::Null => Val::Null,
            Value::Bool(flag) => Val::Bool(*flag),
            Value::Number(number) => number_of(number, node),
            Value::String(text) => string_of(text, node),
            Value::Array(items) => Val::Array(items, node),
            Value::Object(map) => Val::Object(map, node),
        }
    }

    /// A string that an expression made.
    pub fn made(text: impl Into<Rc<str>>) -> Self {
        Val::Made(text.into())
    }

    /// The text of a string.
    pub fn text(&self) -> Option<&str> {
        match self {
            Val::Str(text) => Some(text),
            Val::Made(text) => Some(text),
            _ => None,
        }
    }

    /// The name of the type, as `type(x)` shows it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Val::Null => "null_type",
            Val::Bool(_) => "bool",
            Val::Int(_) => "int",
            Val::Uint(_) => "uint",
            Val::Double(_) => "double",
            Val::Str(_) | Val::Made(_) => "string",
            Val::Bytes(_) => "bytes",
            Val::Duration(_) => "google.protobuf.Duration",
            Val::Timestamp(_) => "google.protobuf.Timestamp",
            Val::Array(..) | Val::List(_) => "list",
            Val::Object(_, node) if is_map(*node) => "map",
            Val::Object(..) => "object",
            Val::Map(_) => "map",
            Val::Optional(_) => "optional_type",
            Val::Type(_) => "type",
            Val::Foreign(_) => "kubernetes",
        }
    }

    /// How many elements, entries, characters or bytes; `None` for what has no size.
    pub fn size(&self) -> Option<usize> {
        match self {
            Val::Str(_) | Val::Made(_) => self.text().map(|text| text.chars().count()),
            Val::Bytes(bytes) => Some(bytes.len()),
            Val::Array(items, _) => Some(items.len()),
            Val::List(items) => Some(items.len()),
            Val::Object(map, _) => Some(map.len()),
            Val::Map(entries) => Some(entries.len()),
            _ => None,
        }
    }

    /// What comparing or copying the value costs, about.
    pub fn weight(&self) -> u64 {
        match self {
            Val::Str(_) | Val::Made(_) => self.text().map_or(1, |text| text.len() as u64 / 10 + 1),
            Val::Bytes(bytes) => bytes.len() as u64 / 10 + 1,
            other => other.size().map_or(1, |size| size as u64 + 1),
        }
    }

    /// The elements of a list; `None` for anything else.
    pub fn elements(&self) -> Option<Elements<'_, 'v>> {
        match self {
            Val::Array(items, node) => Some(Elements::Json(
                items.iter(),
                node.and_then(|node| node.items.as_deref()),
            )),
            Val::List(items) => Some(Elements::Made(items.iter())),
            _ => None,
        }
    }

    /// The keys and values of a map; `None` for anything else.
    pub fn entries(&self) -> Option<Vec<(Val<'v>, Val<'v>)>> {
        match self {
            Val::Object(map, node) => Some(
                map.iter()
                    .filter(|(_, value)| is_map(*node) || !value.is_null())
                    .map(|(key, value)| {
                        (
                            Val::Str(key),
                            Val::of(value, node.and_then(|node| node.field(key))),
                        )
                    })
                    .collect(),
            ),
            Val::Map(entries) => Some(entries.to_vec()),
            _ => None,
        }
    }

    /// The field of an object or the value at a key of a map, by the name as the rule writes it.
    pub fn field(&self, name: &str) -> Option<Val<'v>> {
        match self {
            // A null field of an object is an absent one.
            Val::Object(map, Some(node)) if !is_map(Some(node)) => {
                let name = unescape(name);
                map.get(&name)
                    .filter(|value| !value.is_null())
                    .map(|value| Val::of(value, node.properties.get(&name)))
            }
            Val::Object(map, node) => map
                .get(name)
                .map(|value| Val::of(value, node.and_then(|node| node.field(name)))),
            Val::Map(entries) => entries
                .iter()
                .find(|(key, _)| key.text() == Some(name))
                .map(|(_, value)| value.clone()),
            _ => None,
        }
    }

    /// Whether `self` and `other` are equal; numbers by value, sets and list maps whatever their order.
    pub fn equals(&self, other: &Val<'v>) -> bool {
        match (self, other) {
            (Val::Null, Val::Null) => true,
            (Val::Bool(a), Val::Bool(b)) => a == b,
            (Val::Bytes(a), Val::Bytes(b)) => a == b,
            (Val::Duration(a), Val::Duration(b)) => a == b,
            (Val::Timestamp(a), Val::Timestamp(b)) => a == b,
            (Val::Type(a), Val::Type(b)) => a == b,
            (Val::Optional(None), Val::Optional(None)) => true,
            (Val::Optional(Some(a)), Val::Optional(Some(b))) => a.equals(b),
            (Val::Foreign(a), Val::Foreign(b)) => a == b,
            _ => {
                if let (Some(a), Some(b)) = (self.text(), other.text()) {
                    return a == b;
                }
                if self.is_number() && other.is_number() {
                    return self.order(other) == Some(Ordering::Equal);
                }
                self.lists_equal(other)
                    .or_else(|| self.maps_equal(other))
                    .unwrap_or(false)
            }
        }
    }

    fn is_number(&self) -> bool {
        matches!(self, Val::Int(_) | Val::Uint(_) | Val::Double(_))
    }

    fn lists_equal(&self, other: &Val<'v>) -> Option<bool> {
        let unordered =
            matches!(self, Val::Array(_, Some(node)) if node.list_type != ListType::Atomic);
        let (a, b) = (self.elements()?, other.elements()?);
        if self.size() != other.size() {
            return Some(false);
        }
        if !unordered {
            return Some(a.zip(b).all(|(a, b)| a.equals(&b)));
        }
        let b: Vec<Val<'v>> = b.collect();
        Some(a.into_iter().all(|a| b.iter().any(|b| a.equals(b))))
    }

    fn maps_equal(&self, other: &Val<'v>) -> Option<bool> {
        let (a, b) = (self.entries()?, other.entries()?);
        Some(
            a.len() == b.len()
                && a.iter().all(|(key, value)| {
                    b.iter()
                        .any(|(other, with)| key.equals(other) && value.equals(with))
                }),
        )
    }

    /// The order of two values, where there is one.
    pub fn order(&self, other: &Val<'v>) -> Option<Ordering> {
        match (self, other) {
            (Val::Bool(a), Val::Bool(b)) => Some(a.cmp(b)),
            (Val::Int(a), Val::Int(b)) => Some(a.cmp(b)),
            (Val::Uint(a), Val::Uint(b)) => Some(a.cmp(b)),
            (Val::Double(a), Val::Double(b)) => a.partial_cmp(b),
            (Val::Int(a), Val::Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Val::Uint(a), Val::Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Val::Int(a), Val::Double(b)) => (*a as f64).partial_cmp(b),
            (Val::Double(a), Val::Int(b)) => a.partial_cmp(&(*b as f64)),
            (Val::Uint(a), Val::Double(b)) => (*a as f64).partial_cmp(b),
            (Val::Double(a), Val::Uint(b)) => a.partial_cmp(&(*b as f64)),
            (Val::Bytes(a), Val::Bytes(b)) => Some(a.cmp(b)),
            (Val::Duration(a), Val::Duration(b)) => Some(a.cmp(b)),
            (Val::Timestamp(a), Val::Timestamp(b)) => Some(a.cmp(b)),
            _ => match (self.text(), other.text()) {
                (Some(a), Some(b)) => Some(a.cmp(b)),
                _ => None,
            },
        }
    }
}

/// Whether an object is a map to rules: its keys are data, not field names.
pub fn is_map(node: Option<&Node>) -> bool {
    node.is_none_or(|node| {
        !matches!(node.additional, Additional::Absent) && node.properties.is_empty()
    })
}

/// The elements of a list, as values.
pub enum Elements<'e, 'v> {
    /// Of the object.
    Json(std::slice::Iter<'v, Value>, Option<&'v Node>),
    /// Of a list that was made.
    Made(std::slice::Iter<'e, Val<'v>>),
}

impl<'v> Iterator for Elements<'_, 'v> {
    type Item = Val<'v>;

    fn next(&mut self) -> Option<Val<'v>> {
        match self {
            Elements::Json(items, node) => items.next().map(|item| Val::of(item, *node)),
            Elements::Made(items) => items.next().cloned(),
        }
    }
}

fn number_of<'v>(number: &Number, node: Option<&Node>) -> Val<'v> {
    let double = node.is_some_and(|node| node.type_ == Some(Type::Number));
    match number.as_i64() {
        Some(integer) if !double => Val::Int(integer),
        _ => {
            let float = number.as_f64().unwrap_or(f64::NAN);
            let whole =
                node.is_some_and(|node| node.type_ == Some(Type::Integer)) && float.fract() == 0.0;
            if whole && float.abs() < 9.2e18 {
                Val::Int(float as i64)
            } else {
                Val::Double(float)
            }
        }
    }
}

fn string_of<'v>(text: &'v str, node: Option<&Node>) -> Val<'v> {
    use base64::Engine as _;
    let Some(node) = node.filter(|node| node.type_ == Some(Type::String) && !node.int_or_string)
    else {
        return Val::Str(text);
    };
    let typed = match node.checks.format {
        Some(Format::Duration) => go_duration_nanos(text).map(Val::Duration),
        Some(Format::DateTime) => text.parse().ok().map(Val::Timestamp),
        Some(Format::Date) => format!("{text}T00:00:00Z").parse().ok().map(Val::Timestamp),
        Some(Format::Byte) => base64::engine::general_purpose::STANDARD
            .decode(text)
            .ok()
            .map(|bytes| Val::Bytes(bytes.into())),
        _ => None,
    };
    typed.unwrap_or(Val::Str(text))
}
