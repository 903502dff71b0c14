//! Takes fields out of an object.
//!
//! Owns removal by a set of fields, and what is left of a container that it empties. It must not decide what is to be removed.

use std::collections::BTreeMap;

use serde_json::{Map as Object, Value};

use super::super::fields::{FieldSet, PathElement};
use super::super::schema::{List, ListRelation, Map, Shape, Type, TypeRef};
use super::item_element;

/// What is left of a container whose last content is removed while the container itself stays.
#[derive(Clone, Copy, Debug)]
pub(in crate::apply) enum Emptied<'v> {
    /// Null: how structured-merge-diff reasons about ownership.
    Null,
    /// For the result: null if the configuration here says null, or says nothing and the field is nullable; else empty. A
    /// plain null would be refused by validation, and applying `{}` twice would never settle.
    AsConfigured(Option<&'v Value>),
}

impl<'v> Emptied<'v> {
    fn at_key(self, key: &str) -> Self {
        match self {
            Self::Null => Self::Null,
            Self::AsConfigured(config) => {
                Self::AsConfigured(config.and_then(|config| config.get(key)))
            }
        }
    }

    /// What the configuration has for each item, indexed once because both lists may be long.
    fn by_item(self, list: &List) -> BTreeMap<PathElement, &'v Value> {
        let Self::AsConfigured(config) = self else {
            return BTreeMap::new();
        };
        let items = config.and_then(Value::as_array).into_iter().flatten();
        items
            .filter_map(|item| Some((item_element(list, item).ok()?, item)))
            .collect()
    }

    fn at_item(self, items: &BTreeMap<PathElement, &'v Value>, element: &PathElement) -> Self {
        match self {
            Self::Null => Self::Null,
            Self::AsConfigured(_) => Self::AsConfigured(items.get(element).copied()),
        }
    }

    fn leave(self, ty: &Type, value: &Value) -> Value {
        match (self, value) {
            (Self::Null, _) | (Self::AsConfigured(Some(Value::Null)), _) => Value::Null,
            (Self::AsConfigured(None), _) if ty.nullable => Value::Null,
            (Self::AsConfigured(_), Value::Array(_)) => Value::Array(Vec::new()),
            (Self::AsConfigured(_), Value::Object(_)) => Value::Object(Object::new()),
            (Self::AsConfigured(_), other) => other.clone(),
        }
    }
}

/// The value without the fields of the set.
pub(in crate::apply) fn remove(
    ty: &TypeRef,
    value: &Value,
    set: &FieldSet,
    emptied: Emptied<'_>,
) -> Value {
    let ty = ty.resolve();
    let left = match (ty.shape(Some(value)), value) {
        (Shape::Scalar(_), _) => return value.clone(),
        (Shape::List(list), Value::Array(items)) if list.relation != ListRelation::Atomic => {
            remove_items(list, items, set, emptied)
        }
        (Shape::Map(map), Value::Object(object)) if !map.atomic => {
            remove_keys(map, object, set, emptied)
        }
        // A leaf has nothing below it that could go.
        (Shape::List(_) | Shape::Map(_), _) => match emptied {
            Emptied::Null => None,
            Emptied::AsConfigured(_) => return value.clone(),
        },
    };
    left.unwrap_or_else(|| emptied.leave(ty, value))
}

fn remove_items(
    list: &List,
    items: &[Value],
    set: &FieldSet,
    emptied: Emptied<'_>,
) -> Option<Value> {
    let configured = emptied.by_item(list);
    let mut out = Vec::new();
    for item in items {
        let Ok(element) = item_element(list, item) else {
            out.push(item.clone());
            continue;
        };
        if set.members.contains(&element) {
            continue;
        }
        out.push(match set.children.get(&element) {
            Some(below) => remove(
                &list.element,
                item,
                below,
                emptied.at_item(&configured, &element),
            ),
            None => item.clone(),
        });
    }
    (!out.is_empty()).then_some(Value::Array(out))
}

fn remove_keys(
    map: &Map,
    object: &Object<String, Value>,
    set: &FieldSet,
    emptied: Emptied<'_>,
) -> Option<Value> {
    let mut out = Object::new();
    for (key, item) in object {
        let element = PathElement::field(key);
        if set.members.contains(&element) {
            continue;
        }
        let left = match set.children.get(&element) {
            Some(below) => remove(map.at(key), item, below, emptied.at_key(key)),
            None => item.clone(),
        };
        out.insert(key.clone(), left);
    }
    (!out.is_empty()).then_some(Value::Object(out))
}
